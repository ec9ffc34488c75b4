"""A machine under test: `understudy run` with its serial line on a socket and its screen on a pseudo terminal.

Both are followed as an ANSI terminal would show them, so that a test can wait for what a person would see, and type.
Every wait has a limit in host seconds; running into it fails the test with what was on the screen.
"""

import codecs
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

COMMAND = os.environ["UNDERSTUDY"]
IMAGES = pathlib.Path(os.environ["UNDERSTUDY_IMAGES"])
COLUMNS, ROWS = 80, 25


class Failure(Exception):
    """What a test expected and did not see."""


def image(name):
    """The path of a guest image; without it the whole test is skipped."""
    path = IMAGES / name
    if not path.exists():
        print(f"scenario: {name} is missing: run tools/images", file=sys.stderr)
        sys.exit(77)
    return str(path)


class Terminal:
    """All text that came, and the screen as it stands: cursor positioning and erasing, colours ignored."""

    SEQUENCE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b[()][0-9A-B]|\x1b[^\[()]")
    UNFINISHED = re.compile(r"\x1b([\[()][0-9;?]*)?$")

    def __init__(self):
        self.text = ""
        self.raw = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._waiting = ""
        self._rows = [[" "] * COLUMNS for _ in range(ROWS)]
        self._row = self._column = 0

    def feed(self, data):
        text = self._decoder.decode(data)
        self.raw += text
        text = self._waiting + text
        self._waiting = ""
        unfinished = self.UNFINISHED.search(text)
        if unfinished:
            self._waiting = text[unfinished.start() :]
            text = text[: unfinished.start()]
        at = 0
        while at < len(text):
            sequence = self.SEQUENCE.match(text, at)
            if sequence:
                self._control(sequence.group(1), sequence.group(2))
                at = sequence.end()
            else:
                self._put(text[at])
                at += 1

    def _control(self, parameters, final):
        numbers = [int(n) if n.isdigit() else 0 for n in (parameters or "").split(";")]
        if final in ("H", "f"):
            self._row = min(max(numbers[0], 1), ROWS) - 1
            self._column = min(max(numbers[1] if len(numbers) > 1 else 1, 1), COLUMNS) - 1
        elif final == "J":
            self._rows = [[" "] * COLUMNS for _ in range(ROWS)]
        elif final == "K":
            self._rows[self._row][self._column :] = [" "] * (COLUMNS - self._column)

    def _put(self, character):
        self.text += character
        if character == "\r":
            self._column = 0
        elif character == "\n":
            if self._row == ROWS - 1:
                self._rows = self._rows[1:] + [[" "] * COLUMNS]
            self._row = min(self._row + 1, ROWS - 1)
        elif character == "\b":
            self._column = max(self._column - 1, 0)
        elif character >= " ":
            if self._column < COLUMNS:
                self._rows[self._row][self._column] = character
            self._column += 1

    def screen(self):
        return "\n".join("".join(row).rstrip() for row in self._rows)


class Guest:
    """One run of the command. `screen` shows the text screen, `serial` what the first serial line says. `record` names
    the folder of a recording that it makes; `resume` is one to go on from, and the instruction."""

    def __init__(self, *options, paced=False, screen=False, serial=True, record=None, resume=None):
        self.folder = tempfile.mkdtemp(prefix="understudy-")
        self.screen, self.serial = Terminal(), Terminal()
        self.result = None
        self._socket = self._terminal = None
        path = os.path.join(self.folder, "serial")
        command = [COMMAND, *(["record", str(record)] if record else ["run"])]
        if resume:
            command = [COMMAND, "resume", resume[0], "--at", str(resume[1]), "--into", str(record)]
        command += [*map(str, options), "--paced" if paced else "--unpaced"]
        command += ["--json", os.path.join(self.folder, "json"), "--serial", f"unix:{path}" if serial else "none"]
        self._errors = open(os.path.join(self.folder, "errors"), "w+")
        ends = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        if screen:
            command += ["--screen", "text"]
            self._terminal, other = pty.openpty()
            ends = {"stdin": other, "stdout": other}
        self._process = subprocess.Popen(command, stderr=self._errors, **ends)
        if screen:
            os.close(other)
        if serial:
            self._connect(path)

    def _connect(self, path):
        until = time.monotonic() + 30
        while True:
            self._socket = socket.socket(socket.AF_UNIX)
            try:
                return self._socket.connect(path)
            except OSError:
                self._socket.close()
                self._socket = None
            try:
                self._process.wait(0.01)
                raise Failure(f"it ended before its serial line was there: {self._said()}")
            except subprocess.TimeoutExpired:
                if time.monotonic() > until:
                    raise Failure("its serial line never came") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for end in (self._socket, self._errors):
            if end is not None:
                end.close()
        if self._terminal is not None:
            os.close(self._terminal)
        shutil.rmtree(self.folder)

    def _said(self):
        self._errors.seek(0)
        return self._errors.read().strip()

    def memory_mib(self):
        """What it has of the host's memory, and what it has asked for: of that, the guest's RAM and the engine's buffers
        count whole from the beginning."""
        with open(f"/proc/{self._process.pid}/status") as status:
            said = dict(line.split(":", 1) for line in status)
        return tuple(int(said[name].split()[0]) / 1024 for name in ("VmRSS", "VmData"))

    def children(self):
        """The processes that it has started."""
        with open(f"/proc/{self._process.pid}/task/{self._process.pid}/children") as file:
            return [int(pid) for pid in file.read().split()]

    def _read(self, seconds):
        """Takes what came; False when both ends are closed."""
        ends = [end for end in (self._socket, self._terminal) if end is not None]
        if not ends:
            return False
        for end in select.select(ends, [], [], max(seconds, 0))[0]:
            try:
                data = self._socket.recv(65536) if end is self._socket else os.read(end, 65536)
            except OSError:
                data = b""
            if end is self._socket:
                self.serial.feed(data)
                if not data:
                    self._socket.close()
                    self._socket = None
            else:
                self.screen.feed(data)
                if not data:
                    os.close(self._terminal)
                    self._terminal = None
        return True

    def wait(self, condition, what, seconds=240):
        """Until condition() holds; its value."""
        until = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > until:
                raise Failure(f"{what}: not within {seconds} s; {self._picture()}")
            if not self._read(until - time.monotonic()):
                self._process.wait()
                raise Failure(f"{what}: it ended with {self._process.returncode} ({self._said()}); {self._picture()}")

    def _picture(self):
        return f"the screen:\n{self.screen.screen()}\nthe serial line's end:\n{self.serial.text[-1500:]}"

    def wait_screen(self, pattern, seconds=240):
        return self.wait(lambda: re.search(pattern, self.screen.screen(), re.M), f"'{pattern}' on the screen", seconds)

    def wait_serial_screen(self, pattern, seconds=240):
        return self.wait(lambda: re.search(pattern, self.serial.screen(), re.M), f"'{pattern}' on the line", seconds)

    def wait_serial(self, pattern, start=0, seconds=240):
        return self.wait(lambda: re.search(pattern, self.serial.text[start:]), f"'{pattern}' on the line", seconds)

    def type_serial(self, text):
        self._socket.sendall(text.encode())

    def type_keys(self, text):
        os.write(self._terminal, text.encode())

    def shell(self, command, prompt=r"understudy:\S*# $", seconds=240):
        """What a command at the shell's prompt says."""
        self.wait_serial(prompt, max(len(self.serial.text) - 40, 0), seconds)
        start = len(self.serial.text)
        self.type_serial(command + "\n")
        self.wait(lambda: re.search(r"\n", self.serial.text[start:]), f"the echo of '{command}'", seconds)
        self.wait_serial(prompt, start, seconds)
        said = self.serial.text[start:].replace("\r", "")
        return said[said.index("\n") + 1 : said.rindex("\n") + 1]

    def finish(self, code=0, ended="shutdown", seconds=120):
        """The machine ends by itself, in this way; its JSON result."""
        until = time.monotonic() + seconds
        while self._read(until - time.monotonic()):
            if time.monotonic() > until:
                raise Failure(f"it did not end within {seconds} s; {self._picture()}")
        self._process.wait(max(until - time.monotonic(), 1))
        return self._ended(code, ended)

    def fails(self, code, seconds=120):
        """It ends with this exit code; what it says about that."""
        until = time.monotonic() + seconds
        while self._read(until - time.monotonic()):
            expect(time.monotonic() < until, f"it did not end within {seconds} s; {self._picture()}")
        self._process.wait(max(until - time.monotonic(), 1))
        expect(self._process.returncode == code, f"exit code {self._process.returncode}, not {code}: {self._said()}")
        return self._said()

    def leave(self):
        """We have seen enough: it is told to stop."""
        self._process.send_signal(signal.SIGTERM)
        while self._read(60):
            pass
        self._process.wait(60)
        return self._ended(130, "quit")

    def _ended(self, code, ended):
        if self._process.returncode != code:
            raise Failure(f"exit code {self._process.returncode}, not {code}: {self._said()}; {self._picture()}")
        with open(os.path.join(self.folder, "json")) as file:
            self.result = json.load(file)
        expect(self.result["exit"] == ended, f"it ended by {self.result['exit']}, not {ended}")
        return self.result


def expect(truth, what):
    if not truth:
        raise Failure(what)


def main(tests):
    """Runs the named tests, or all; each failure is told, none stops the rest."""
    wanted = sys.argv[1:] or list(tests)
    failed = 0
    for name in wanted:
        before = os.times()
        try:
            tests[name]()
            verdict = "ok"
        except Failure as failure:
            failed += 1
            verdict = f"FAILED: {failure}"
        after = os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        print(f"scenario: {name}: {verdict} ({cpu:.1f} CPU s)", flush=True)
    sys.exit(1 if failed else 0)
