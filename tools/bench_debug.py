"""The rows of tools/bench that are about moving along a recording of Linux in the debugger: steps back some 10^9
instructions into it, a seek by a process that has seen nothing yet, and what a breakpoint and a watchpoint that are never
hit cost a run forward. Their measure is the debugger's CPU time, as that is what its user waits for on a quiet host.
"""
import os
import re
import shutil
import socket
import statistics
import subprocess

FORWARD = 200_000_000  # instructions of a run forward
STEPS = 100
SNAPSHOT_EVERY = '100'  # million instructions
DEEP = 1_000_000_000
# Until there is enough of it, the guest reads and compresses its own kernel's symbols.
WORK = 'while [ $(cut -d. -f1 /proc/uptime) -lt 3000 ]; do gzip -c /proc/kallsyms | sha256sum; done'


class Failed(Exception):
    """The debugger did not do what it should have."""


class Debugger:
    """`understudy debug`, as gdb speaks with it."""

    def __init__(self, understudy, recording, timeout_s):
        self.process = subprocess.Popen([understudy, 'debug', recording, '--gdb', ':0'], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, text=True)
        said = ''
        while not (found := re.search(r"target remote ([^:']*):(\d+)", said)):
            line = self.process.stdout.readline()
            if not line:
                raise Failed(f'understudy debug ended: {said}')
            said += line
        self.last = int(re.search(r'instructions \d+ to (\d+)', said)[1])
        self.link = socket.create_connection((found[1] or '127.0.0.1', int(found[2])), timeout_s)
        self.received = b''

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.link.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def cpu_s(self):
        """All its threads' time on a CPU so far."""
        total = 0
        for thread in os.scandir(f'/proc/{self.process.pid}/task'):
            with open(os.path.join(thread.path, 'schedstat')) as file:
                total += int(file.read().split()[0])
        return total / 1e9

    def ask(self, payload):
        """The answer, and the seconds it took; text for the user comes first."""
        before = self.cpu_s()
        self.link.sendall(f'${payload}#{sum(payload.encode()) & 0xff:02x}'.encode())
        while True:
            while not (packet := re.search(rb'\$([^#]*)#..', self.received)):
                some = self.link.recv(65536)
                if not some:
                    raise Failed(f'{payload}: the connection closed')
                self.received += some
            self.received = self.received[packet.end():]
            self.link.sendall(b'+')
            # A character, `*` and another: how often it comes again.
            answer = re.sub(rb'(.)\*(.)', lambda run: run[1] * (run[2][0] - 28), packet[1], flags=re.DOTALL).decode('latin-1')
            if answer[:1] != 'O' or answer == 'OK':
                if answer[:1] == 'E':
                    raise Failed(f'{payload}: {answer}')
                return answer, self.cpu_s() - before

    def monitor(self, command):
        return self.ask('qRcmd,' + command.encode().hex())[1]

    def seek(self, icount):
        return self.monitor(f'seek {icount}')


class DebugRow:
    def __init__(self, what, unit, goal):
        self.what, self.unit, self.goal = what, unit, goal
        self.name = f'debug/{what}'


def rows():
    yield DebugRow('step-back', 'ms', 100)
    yield DebugRow('step-back-worst', 'ms', 500)
    yield DebugRow('seek-cold', 'ms', 1000)
    yield DebugRow('breakpoint', 'ratio', 0.95)
    yield DebugRow('write-watch', 'ratio', 0.33)


def record(understudy, images, scratch, timeout_s):
    directory = os.path.join(scratch, 'debugged')
    shutil.rmtree(directory, ignore_errors=True)
    subprocess.run([understudy, 'record', directory, os.path.join(images, 'vmlinuz-amd64'), '--initrd',
                    os.path.join(images, 'initramfs-amd64.img'), '--memory', '128', '--unpaced', '--serial', 'none',
                    '--append', f'console=ttyS0 quiet understudy.run="{WORK}"', '--stop-at', str(DEEP + DEEP // 10),
                    '--snapshot-every', SNAPSHOT_EVERY], stdin=subprocess.DEVNULL, timeout=timeout_s, check=True)
    return directory


def figures(understudy, recording, timeout_s):
    """By row: the value, and for ratios what it is a ratio of."""
    found = {}
    with Debugger(understudy, recording, timeout_s) as debugger:
        # Between two of the recording's snapshots, so that some of it must be replayed.
        found['seek-cold'] = (debugger.seek(DEEP - 50_000_000) * 1000,)
        debugger.seek(DEEP)
        steps = sorted(debugger.ask('bs')[1] * 1000 for _ in range(STEPS))
        found['step-back'], found['step-back-worst'] = (statistics.median(steps),), (steps[-1],)
    with Debugger(understudy, recording, timeout_s) as debugger:
        def forward():
            """To the recording's end; nothing if something was hit before."""
            debugger.seek(debugger.last - FORWARD)
            answer, seconds = debugger.ask('vCont;c')
            return seconds if 'replaylog:end' in answer else None

        forward()  # its snapshots are there for all that follow
        plain = forward()
        # An address at which nothing ever runs, and a byte that nothing writes to in a page that is written to a lot: the
        # one that the stack pointer is in.
        debugger.ask('Z1,ffffffffffffff00,1')
        found['breakpoint'] = (forward(), plain)
        debugger.ask('z1,ffffffffffffff00,1')
        forward()  # without the breakpoint in its code
        stack_pointer = int.from_bytes(bytes.fromhex(debugger.ask('p7')[0]), 'little')
        for offset in range(0, 4096, 64):
            watch = f'{(stack_pointer & ~0xfff) + offset:x},1'
            debugger.ask(f'Z2,{watch}')
            watched = forward()
            debugger.ask(f'z2,{watch}')
            if watched is not None:
                break
        else:
            raise Failed('the whole page of the stack is written to')
        found['write-watch'] = (watched, plain)
    return found


def measure(wanted, understudy, scratch, options, rounds, say):
    """The figures of the rows, as tools/bench has them."""
    seen, problem = {}, None
    try:
        for name in ('vmlinuz-amd64', 'initramfs-amd64.img'):
            if not os.path.exists(os.path.join(options.images, name)):
                raise FileNotFoundError(f'{name} is missing: tools/images makes it')
        if not os.path.exists(understudy):
            raise FileNotFoundError('understudy is missing: tools/build makes it')
        recording = record(understudy, options.images, scratch, options.timeout) if wanted else None
        for number in range(1, rounds + 1 if wanted else 1):
            found = figures(understudy, recording, options.timeout)
            say(f'debug, round {number} of {rounds}: ' + ', '.join(f'{what} {values[0]:.2f}' for what, values in found.items()))
            for what, values in found.items():
                seen.setdefault(what, []).append(values)
    except (FileNotFoundError, Failed, OSError, subprocess.SubprocessError) as reason:
        problem = reason
        say(f'debug: {reason}')
    for row in wanted:
        result = {'row': row.name, 'unit': row.unit, 'goal': row.goal, 'aim': None}
        if problem is not None:
            missing = isinstance(problem, FileNotFoundError)
            yield {**result, 'verdict': 'not measured', 'failed': not missing, 'reason': str(problem)}
            continue
        ours = [values[0] for values in seen[row.what]]
        result.update(ours=statistics.median(ours), ours_all=ours)
        if row.unit == 'ratio':
            other = [values[1] for values in seen[row.what]]
            result.update(other=statistics.median(other), other_all=other, value=statistics.median(other) / statistics.median(ours))
        else:
            result['value'] = result['ours']
        met = result['value'] >= row.goal if row.unit == 'ratio' else result['value'] <= row.goal
        yield {**result, 'verdict': 'met' if met else 'MISSED'}
