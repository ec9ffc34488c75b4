"""`understudy debug` and its clients, for scenarios: stock gdb in batch mode with tests/gdb_side.py loaded, and a client
of our own that speaks the protocol byte by byte."""
import os
import re
import socket
import subprocess
import tempfile
import time

COMMAND = os.environ['UNDERSTUDY']
HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE_S = 60


def record(directory, *arguments, code=0, timeout=PATIENCE_S):
    serial = [] if '--serial' in arguments else ['--serial', 'none']
    done = subprocess.run([COMMAND, 'record', directory, *serial, *arguments], stdin=subprocess.DEVNULL, timeout=timeout)
    if done.returncode != code:
        raise RuntimeError(f'understudy record {arguments}: exit code {done.returncode}, not {code}')


class Debugged:
    """A process that waits for gdb: `understudy debug DIR ...`, or another command that does."""

    def __init__(self, *arguments, command='debug', **options):
        self.process = subprocess.Popen([COMMAND, command, *arguments], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
        self.said = ''
        while not (found := re.search(r"target remote ([^']+)'", self.said)):
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError(f'understudy {command} {arguments} ended: {self.said}')
            self.said += line
        self.target = found.group(1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def wait(self, code=0):
        self.said += self.process.stdout.read()
        if self.process.wait(PATIENCE_S) != code:
            raise RuntimeError(f'exit code {self.process.returncode}, not {code}: {self.said}')

    def gdb(self, script, *files, timeout=600, expect=''):
        """Runs a Python script in gdb, connected. It fails unless it comes to its end."""
        script = f'exec(open({HERE + "/gdb_side.py"!r}).read())\ngdb.execute("target remote {self.target}")\n' \
                 + script + '\nprint("came to its end")\n'
        with tempfile.NamedTemporaryFile('w', suffix='.py', encoding='utf-8') as file:
            file.write(script)
            file.flush()
            done = subprocess.run(['gdb', '-nx', '-q', '-batch', '-x', file.name, *files], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
        if 'came to its end' not in done.stdout or expect not in done.stdout:
            raise RuntimeError(f'gdb says:\n... {done.stdout[-3000:]}')
        return done.stdout

    def client(self):
        return Client(self.target)


class Client:
    """A client that is not gdb."""

    def __init__(self, target):
        if target.startswith(('/', '.')):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(target)
        else:
            host, port = target.rsplit(':', 1)
            self.socket = socket.create_connection((host, int(port)))
        self.socket.settimeout(PATIENCE_S)
        self.received = b''

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, payload):
        payload = payload if isinstance(payload, bytes) else payload.encode()
        self.socket.sendall(b'$' + payload + b'#%02x' % (sum(payload) & 0xff))

    def answer(self):
        while not (found := re.search(rb'\$([^#]*)#[0-9a-f]{2}', self.received, re.DOTALL)):
            chunk = self.socket.recv(4096)
            if not chunk:
                raise RuntimeError(f'the connection closed: {self.received!r}')
            self.received += chunk
        self.received = self.received[found.end():]
        self.socket.sendall(b'+')
        return re.sub(rb'(.)\*(.)', lambda m: m[1] * (m[2][0] - 28), found.group(1), flags=re.DOTALL).decode('latin-1')

    def ask(self, payload):
        self.send(payload)
        return self.answer()

    def stop(self):
        """The next answer that is no text for the user, and the text."""
        text = ''
        while True:
            answer = self.answer()
            if answer[:1] != 'O' or answer == 'OK':
                return answer, text
            text += bytes.fromhex(answer[1:]).decode()

    def run(self, payload):
        self.send(payload)
        return self.stop()

    def monitor(self, command):
        self.send('qRcmd,' + command.encode().hex())
        return self.stop()[1]

    def interrupt(self):
        self.socket.sendall(b'\x03')

    def closed(self):
        """Whether the other side has hung up."""
        try:
            while chunk := self.socket.recv(4096):
                self.received += chunk
        except ConnectionResetError:
            pass
        return True


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f'waited in vain: {what}')
        time.sleep(0.01)
