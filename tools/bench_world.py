"""The rows of tools/bench that are about a paced guest and the world: what a network card moves to and from the host and
how fast it answers, with and without a recording, and what the log of an idle guest takes. Their measure is the host's
time, as that is what a client of the guest sees; the same sessions' CPU time says what recording costs on a host that is
too busy for that. A round makes a plain run and a recording, one after the other.
"""
import os
import random
import re
import resource
import shutil
import socket
import statistics
import subprocess
import threading
import time

CARDS = {'virtio': 16_000_000, 'ne2k': 4_000_000}  # and the bytes that go each way; the second is a 10 Mbit/s card
PINGS = 20
SETTLE_S = 10  # at most, after the prompt: the kernel refines its clock until then


class Failed(Exception):
    """A session did not do what it should have."""


class Peer:
    """The host's end. GET is answered with `size` bytes that do not compress, all else is taken; MB/s by the way of the
    bytes."""

    def __init__(self, size):
        self.size, self.rates = size, {}
        self._bytes = random.Random(size).randbytes(size)
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        self._listener.close()

    def _serve(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                with client:
                    self._talk(client)
            except OSError:
                pass  # the guest went away: a rate is missing

    def _talk(self, client):
        began = time.monotonic()
        first = client.recv(65536)
        if first.startswith(b'GET '):
            client.sendall(b'HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n' % self.size)
            client.sendall(self._bytes)
            moved = self.size
            # The guest closes when it has all of it.
            while client.recv(65536):
                pass
            way = 'receive'
        else:
            moved, some = 0, first
            while some:
                moved += len(some)
                some = client.recv(1 << 20)
            way = 'send'
        if moved == self.size:
            self.rates[way] = moved / 1e6 / (time.monotonic() - began)


def children_cpu_s():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def command(understudy, images, directory, *options):
    return [understudy, 'record' if directory else 'run', *([directory] if directory else []),
            os.path.join(images, 'vmlinuz-amd64'), '--initrd', os.path.join(images, 'initramfs-amd64.img'), '--memory', '128',
            '--paced', '--serial', 'stdio', *options]


def network(understudy, images, scratch, card, recorded, timeout_s):
    """MB/s each way, the median ping's milliseconds and the process's CPU seconds."""
    directory = os.path.join(scratch, 'network')
    shutil.rmtree(directory, ignore_errors=True)
    peer = Peer(CARDS[card])
    before = children_cpu_s()
    try:
        work = (f'ip link set eth0 up; ip address add 10.0.2.15/24 dev eth0; ping -c {PINGS} -A 10.0.2.2; '
                f'wget -q -O /tmp/data http://10.0.2.2:{peer.port}/; nc 10.0.2.2 {peer.port} </tmp/data')
        done = subprocess.run(command(understudy, images, directory if recorded else None, '--nic', card, '--net', 'user',
                                      '--append', f'console=ttyS0 quiet understudy.run="{work}"'),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=timeout_s, check=False)
    finally:
        peer.close()
    pings = [float(ms) for ms in re.findall(r'time=([0-9.]+) ms', done.stdout)]
    if done.returncode != 0 or set(peer.rates) != {'receive', 'send'} or len(pings) != PINGS:
        raise Failed(f'exit code {done.returncode}, transfers {sorted(peer.rates)}, {len(pings)} of {PINGS} pings answered: '
                     + (done.stderr.strip() or done.stdout[-300:].strip()))
    return {**peer.rates, 'ping': statistics.median(pings), 'cpu': children_cpu_s() - before}


def idle(understudy, images, scratch, prompt, watched_s, timeout_s):
    """kbit/s of log while the guest, whose timer ticks 250 times a second, waits at its prompt."""
    directory = os.path.join(scratch, 'idle')
    shutil.rmtree(directory, ignore_errors=True)

    def log_bytes():
        return sum(entry.stat().st_size for entry in os.scandir(directory) if entry.name.endswith('.seg'))

    # A pipe that nobody writes to, so that the shell has a line to wait at.
    with subprocess.Popen(command(understudy, images, directory, '--append', 'console=ttyS0 quiet'), stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        give_up = threading.Timer(timeout_s, process.kill)
        give_up.start()
        try:
            output = b''
            while prompt.encode() not in output:
                some = os.read(process.stdout.fileno(), 65536)
                if not some:
                    raise Failed('it ended before its prompt')
                output += some
            time.sleep(min(SETTLE_S, watched_s))
            before, began = log_bytes(), time.monotonic()
            time.sleep(watched_s)
            grown, took = log_bytes() - before, time.monotonic() - began
        finally:
            give_up.cancel()
            process.terminate()
    return grown * 8 / 1000 / took


class WorldRow:
    """Of `host`: net-virtio, net-ne2k or idle."""

    def __init__(self, host, what, unit, goal):
        self.host, self.what, self.unit, self.goal = host, what, unit, goal
        self.name = f'{host}/{what}'


def rows():
    for card in CARDS:
        yield WorldRow(f'net-{card}', 'receive', 'ratio', 0.95)
        yield WorldRow(f'net-{card}', 'send', 'ratio', 0.95)
        yield WorldRow(f'net-{card}', 'ping', 'ms', None)
        yield WorldRow(f'net-{card}', 'cpu', 'ratio', 0.95)
    yield WorldRow('idle', 'log-rate', 'kbit/s', 2)


def measure(wanted, understudy, scratch, prompt, options, rounds, say):
    """The figures of the rows, as tools/bench has them."""
    seen, problems = {}, {}  # lists by (host, recorded, what); by host
    for host in dict.fromkeys(row.host for row in wanted):
        try:
            for name in ('vmlinuz-amd64', 'initramfs-amd64.img'):
                if not os.path.exists(os.path.join(options.images, name)):
                    raise FileNotFoundError(f'{name} is missing: tools/images makes it')
            if not os.path.exists(understudy):
                raise FileNotFoundError('understudy is missing: tools/build makes it')
            for number in range(1, rounds + 1):
                for recorded in ((True,) if host == 'idle' else (False, True)):
                    if host == 'idle':
                        figures = {'log-rate': idle(understudy, options.images, scratch, prompt, options.idle, options.timeout)}
                    else:
                        figures = network(understudy, options.images, scratch, host.removeprefix('net-'), recorded, options.timeout)
                    said = ', '.join(f'{what} {value:.2f}' for what, value in sorted(figures.items()))
                    say(f'{host} {"record" if recorded else "run"}, round {number} of {rounds}: {said}')
                    for what, value in figures.items():
                        seen.setdefault((host, recorded, what), []).append(value)
        except (FileNotFoundError, Failed, subprocess.TimeoutExpired) as reason:
            problems[host] = reason
            say(f'{host}: {reason}')
    for row in wanted:
        figures = {'row': row.name, 'unit': row.unit, 'goal': row.goal, 'aim': None}
        if row.host in problems:
            missing = isinstance(problems[row.host], FileNotFoundError)
            yield {**figures, 'verdict': 'not measured', 'failed': not missing, 'reason': str(problems[row.host]).splitlines()[0]}
            continue
        ours, plain = (seen.get((row.host, recorded, row.what), []) for recorded in (True, False))
        figures.update(ours=statistics.median(ours), ours_all=ours)
        if plain:
            figures.update(other=statistics.median(plain), other_all=plain)
        better, worse = ('other', 'ours') if row.what == 'cpu' else ('ours', 'other')
        figures['value'] = figures[better] / figures[worse] if row.unit == 'ratio' else figures['ours']
        met = row.goal is not None and (figures['value'] >= row.goal if row.unit == 'ratio' else figures['value'] <= row.goal)
        yield {**figures, 'verdict': '' if row.goal is None else 'met' if met else 'MISSED'}
