#!/usr/bin/env python3
"""A pair that runs Linux (tools/images demo): while the host's own curl downloads a file from the guest's httpd and the
host's own ssh is logged in, the primary is killed, repaired and killed again. The file must be whole by its checksum, and
the session the same one to the end: no reset, no byte lost. UNDERSTUDY_ROUNDS sets how many kills (1), UNDERSTUDY_BYTES how
much of the file is downloaded (8 MB), UNDERSTUDY_TIMEOUT_MS after how much silence a node takes over."""
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time

import demo_guest
import pair_rig
from pair_rig import Pair, free_port, require, until

ROUNDS = int(os.environ.get('UNDERSTUDY_ROUNDS', '1'))
BYTES = int(os.environ.get('UNDERSTUDY_BYTES', '8000000'))


class Download:
    """curl, read only as far as it is let: it is still on its way at each kill, however fast the guest is."""

    def __init__(self, port, size):
        self._process = subprocess.Popen(
            ['curl', '--silent', '--show-error', '--fail', '--range', f'0-{size - 1}', f'http://127.0.0.1:{port}/100M'],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._sum = hashlib.sha256()
        self.got = self.stall = 0
        self._may, self._changed = 0, threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self.got < self._may)
                most = self._may - self.got
            began = time.monotonic()
            piece = self._process.stdout.read1(min(most, 1 << 16))
            if not piece:
                return
            self.stall = max(self.stall, time.monotonic() - began)
            self._sum.update(piece)
            self.got += len(piece)

    def go_on(self, until_byte):
        with self._changed:
            self._may = until_byte
            self._changed.notify()

    def end(self):
        self.go_on(1 << 62)
        self._thread.join(pair_rig.LIMIT)
        require(not self._thread.is_alive(), f'the download does not end: {self.got} bytes')
        code = self._process.wait(pair_rig.LIMIT)
        require(code == 0, f'curl ended with {code} after {self.got} bytes: {self._process.stderr.read().decode()}')
        return self._sum.hexdigest()

    def close(self):
        self._process.kill()
        self._process.wait()


class Session:
    """Somebody who is logged in, and types and reads."""

    def __init__(self, port):
        self._process = subprocess.Popen(demo_guest.terminal_command(port), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT)
        self._said = b''
        self.asked, self.longest = 0, 0.0
        threading.Thread(target=self._read, daemon=True).start()
        self.types('x=one; y=session', None)

    def _read(self):
        while piece := self._process.stdout.read1(1 << 16):
            self._said += piece

    def types(self, line, answer):
        begin = time.monotonic()
        self._process.stdin.write(line.encode() + b'\n')
        self._process.stdin.flush()
        if answer is not None:
            until(f'ssh answers {answer!r}; it said {self._said[-300:]!r}', lambda: answer.encode() in self._said or self._ended())
        self.longest = max(self.longest, time.monotonic() - begin)

    def _ended(self):
        require(self._process.poll() is None, f'ssh ended with {self._process.returncode}: {self._said[-300:]!r}')

    def ask(self):
        """The shell remembers what it was told when it was opened; the terminal's echo of the line is not the answer."""
        self.asked += 1
        self.types(f'echo $x-$y-{self.asked}.', f'one-session-{self.asked}.')

    def end(self):
        self.types('exit 7', None)
        code = self._process.wait(pair_rig.LIMIT)
        require(code == 7, f'the shell ended with {code}, not as it was told: {self._said[-300:]!r}')

    def close(self):
        self._process.kill()
        self._process.wait()


def wanted_sum(ssh_port):
    if BYTES == demo_guest.BIG_FILE_BYTES:
        return demo_guest.big_file_sum()
    return demo_guest.ssh(ssh_port, f'head -c {BYTES} /srv/100M | sha256sum').decode().split()[0]


def downloads_and_sessions(folder):
    ssh_port, http_port = free_port(), free_port()
    with Pair(folder, guest=demo_guest.boot_options(), net=demo_guest.forwards(ssh_port, http_port)) as pair:
        live = pair.primary()
        until('Linux is up', lambda: demo_guest.READY in pair.console(), demo_guest.LIMIT)
        want = wanted_sum(ssh_port)
        session, download = Session(ssh_port), Download(http_port, BYTES)
        pauses = []
        try:
            session.ask()
            for round_ in range(ROUNDS):
                part = BYTES // (ROUNDS + 1)
                download.go_on(round_ * part + part // 3)
                standby = pair.backup()
                standby.is_in('lock-step')
                pauses.append(live.status()['transfer']['pause_ms'])
                session.ask()
                download.go_on(round_ * part + part * 2 // 3)
                until('the download moves in lock step', lambda: download.got > round_ * part + part // 2)
                live.kill()
                download.go_on((round_ + 1) * part)
                session.ask()
                until('the download moves after the kill', lambda: download.got == (round_ + 1) * part)
                live = standby
                live.is_in('alone')
            require(download.end() == want, 'the file changed on its way')
            session.ask()
            session.end()
        finally:
            session.close()
            download.close()
        require(len(pair.check_reigns()) == ROUNDS + 1, f'{ROUNDS} kills, and reigns {pair.reigns()}')
        require(pair.console().count(demo_guest.READY) == 1, 'the guest was started again')
        return (f'{ROUNDS} kills, {BYTES} bytes; longest stall of the download {download.stall:.2f} s, of the session '
                f'{session.longest:.2f} s; pauses at repairs {max(pauses):.0f} ms')


if __name__ == '__main__':
    missing = demo_guest.missing()
    if missing or not shutil.which('ssh') or not shutil.which('curl'):
        print(f'scenario: {missing or "ssh or curl"} is missing: run tools/images, tools/setup', file=sys.stderr)
        sys.exit(77)
    sys.exit(pair_rig.main([downloads_and_sessions]))
