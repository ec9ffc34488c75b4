"""The rows of tools/bench that are about a pair: what a backup costs the machine, its clients and the host. Ratios are of
host time, pair against single machine, one after the other in each round; a pair wants two quiet cores, as it computes
everything twice. Sizes and times are the pair's own.
"""
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import threading
import time

import bench_world

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, 'tests'))
KEY_VALUE_S = 5  # of load, for each figure
MOVED_BYTES = 16_000_000
SCRIPT = 'i=0; while [ $i -lt 400 ]; do i=$((i+1)); /bin/true; cat /proc/stat >/tmp/x; done'
TIMEOUT_MS = 250
LINUX_MB = 128  # of guest RAM
IMAGES = ('vmlinuz', 'initramfs')


class PairRow:
    def __init__(self, what, unit, goal, source, aim=None):
        self.what, self.unit, self.goal, self.source, self.aim = what, unit, goal, source, aim
        self.name = f'pair/{what}'


def rows():
    yield PairRow('cpu', 'ratio', 0.97, 'cpu')
    yield PairRow('linux-boot', 'ratio', 0.95, 'linux-boot')
    yield PairRow('shell-script', 'ratio', 0.95, 'shell-script')
    # Each byte that comes in is computed on twice and logged: VMware FT receives 604 of 940 Mbit/s and sends 855 (Scales et
    # al. 2010, table 2), with a host for each node.
    yield PairRow('receive', 'ratio', 0.64, 'network', aim=0.85)
    yield PairRow('send', 'ratio', 0.85, 'network')
    yield PairRow('log-per-byte', 'bytes', 1.1, 'network')
    # Whoever asks, waits for the answer, and asks again, waits for the backup each time: the promise is the wait's.
    yield PairRow('answers', 'ratio', None, 'answers')
    yield PairRow('output-wait', 'us', 300, 'answers')
    yield PairRow('idle-log', 'kbit/s', 10, 'idle')
    yield PairRow('memory', 'MB', 250, 'network')
    yield PairRow('stall-at-kill', 'ms', TIMEOUT_MS + 150, 'answers')
    yield PairRow('stall-at-repair', 'ms', 150, 'answers')


def linux(options, *append):
    return ['vmlinuz-amd64', '--initrd', 'initramfs-amd64.img', '--memory', str(LINUX_MB), '--append',
            ' '.join(('console=ttyS0 quiet', *append))]


def placed(options, words):
    for image in (word for word in words if word.startswith(IMAGES)):
        if not os.path.exists(os.path.join(options.images, image)):
            raise FileNotFoundError(f'{image} is missing: tools/images makes it')
    return [os.path.join(options.images, word) if word.startswith(IMAGES) else word for word in words]


class Two:
    """A primary without a hub and its backup, from power-on to the guest's end."""

    def __init__(self, understudy, scratch, words, timeout_ms=2000):
        common = ['--arbiter', f'file:{scratch}/arbiter-{time.monotonic_ns()}', '--timeout', str(timeout_ms),
                  '--log-level', 'warning']
        where = f'ipc://{scratch}/bench-{time.monotonic_ns()}'
        self.backup = subprocess.Popen([understudy, 'backup', '--join', where, '--log-to', where + '-b', '--serial', 'none',
                                        *common], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.understudy = understudy
        self.control = where + '-control'
        self.primary = subprocess.Popen([understudy, 'primary', *words, '--log-to', where, '--control', self.control, *common],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def status(self):
        done = subprocess.run([self.understudy, 'status', '--json', self.control], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, check=False)
        try:
            return json.loads(done.stdout)[0].get('status') or {}
        except ValueError:
            return {}

    def until(self, what, condition, timeout_s):
        deadline = time.monotonic() + timeout_s
        while not condition(self.status()):
            if self.primary.poll() is not None or time.monotonic() > deadline:
                raise bench_world.Failed(f'the pair never was {what}')
            time.sleep(0.2)

    def finish(self, timeout_s):
        give_up = threading.Timer(timeout_s, self.primary.kill)
        give_up.start()
        try:
            output, said = self.primary.communicate()
            self.backup.wait(timeout_s)
        finally:
            give_up.cancel()
            for process in (self.primary, self.backup):
                if process.poll() is None:
                    process.kill()
                    process.wait()
        return output, said


def whole_runs(understudy, options, scratch, words, good):
    """Seconds of a single machine and of a pair, from start to end."""
    began = time.monotonic()
    single = subprocess.run([understudy, 'run', *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, timeout=options.timeout, check=False)
    alone = time.monotonic() - began
    if single.returncode not in good:
        raise bench_world.Failed(f'run ended with {single.returncode}: {single.stderr[-300:]!r}')
    began = time.monotonic()
    two = Two(understudy, scratch, words)
    output, said = two.finish(options.timeout)
    both = time.monotonic() - began
    if two.primary.returncode != single.returncode or two.backup.returncode != single.returncode:
        raise bench_world.Failed(f'primary {two.primary.returncode}, backup {two.backup.returncode}: {said[-300:]!r}')
    return alone / both


def cpu(understudy, options, scratch):
    # Ten seconds: what two processes need to meet and to part, a tenth of a second, is not the machine's speed.
    guest = os.path.join(options.build, 'firmware', 'cpu_bench_4x.elf')
    return {'cpu': whole_runs(understudy, options, scratch, [guest, '--unpaced', '--memory', '64'], (33,))}


def linux_boot(understudy, options, scratch):
    words = placed(options, linux(options, 'understudy.run="true"'))
    return {'linux-boot': whole_runs(understudy, options, scratch, [*words, '--unpaced'], (0,))}


def shell_script(understudy, options, scratch):
    words = placed(options, linux(options, f'understudy.run="{SCRIPT}"'))
    return {'shell-script': whole_runs(understudy, options, scratch, [*words, '--unpaced'], (0,))}


def rig(understudy, options):
    """tests/pair_rig.py, which wants to know what to run."""
    os.environ.update(UNDERSTUDY=understudy, UNDERSTUDY_FIRMWARE=os.path.join(options.build, 'firmware'),
                      UNDERSTUDY_TIMEOUT_MS=str(TIMEOUT_MS))
    import pair_rig
    return pair_rig


class HttpWorld:
    """The host's end of the transfers: GET /data gives the guest bytes that do not compress, once they may start; GET /end
    holds it until the host has had its own."""

    def __init__(self):
        # Not above: a process counts the memory of the one that started it as its own, and that of others is measured.
        import http.server
        self.data = random.Random(1).randbytes(MOVED_BYTES)
        self.may_start, self.received, self.may_end = threading.Event(), threading.Event(), threading.Event()
        self.receive_s = None
        world = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                (world.may_start if self.path == '/data' else world.may_end).wait()
                began = time.monotonic()
                body = world.data if self.path == '/data' else b''
                self.send_response(200)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                # The guest closes when it has all of it.
                while body and self.rfile.read(1):
                    pass
                if body:
                    world.receive_s = time.monotonic() - began
                    world.received.set()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.may_start.set()
        self.may_end.set()
        self.server.shutdown()
        self.server.server_close()

    def moved(self, port, timeout_s):
        """MB/s of both ways, one after the other, of a guest that is there."""
        import urllib.request
        self.may_start.set()
        if not self.received.wait(timeout_s):
            raise bench_world.Failed('the guest received nothing')
        deadline = time.monotonic() + timeout_s
        while True:
            began = time.monotonic()
            try:
                with urllib.request.urlopen(f'http://127.0.0.1:{port}/data', timeout=timeout_s) as answer:
                    got = answer.read()
                break
            except OSError:
                # The guest's server does not listen yet.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        if got != self.data:
            raise bench_world.Failed('the bytes changed on their way')
        return MOVED_BYTES / 1e6 / self.receive_s, MOVED_BYTES / 1e6 / (time.monotonic() - began)


def network(understudy, options, scratch):
    """MB/s each way by HTTP behind a hub, by a pair and by a single machine; the log's bytes for each received; and the
    pair's memory after it."""
    pair_rig = rig(understudy, options)
    figures = {}
    for pair in (False, True):
        world, port = HttpWorld(), pair_rig.free_port()
        where = f'ipc://{scratch}/hub-{time.monotonic_ns()}'
        hub = subprocess.Popen([understudy, 'hub', '--listen', where, '--net', f'user,hostfwd=tcp:127.0.0.1:{port}-:80'],
                               stderr=subprocess.DEVNULL)
        work = (f'ip link set eth0 up; ip address add 10.0.2.15/24 dev eth0; wget -q -O /tmp/data http://10.0.2.2:{world.port}/data; '
                f'httpd -p 80 -h /tmp; wget -q -O /dev/null http://10.0.2.2:{world.port}/end')
        words = placed(options, ['--nic', 'virtio', *linux(options, f'understudy.run="{work}"')])
        machine = None
        try:
            if pair:
                machine = Two(understudy, scratch, [*words, '--hub', where])
                machine.until('in lock step', lambda status: status.get('state') == 'lock-step', options.timeout)
                before = machine.status()['log']['bytes_out']
                watch = threading.Thread(target=lambda: (world.received.wait(), figures.setdefault(
                    'log-per-byte', (machine.status()['log']['bytes_out'] - before) / MOVED_BYTES)))
                watch.start()
            else:
                machine = subprocess.Popen([understudy, 'run', *words, '--net', f'hub:{where}', '--serial', 'none', '--paced'],
                                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            rates = world.moved(port, options.timeout)
            if pair:
                watch.join()
                # Linux has touched its memory by now.
                figures['memory'] = max(map(peak_mb, (machine.primary, machine.backup))) - LINUX_MB * 2**20 / 1e6
        finally:
            world.received.set()
            world.close()
            if pair and machine is not None:
                machine.finish(options.timeout)
            elif machine is not None:
                machine.wait(options.timeout)
            hub.terminate()
            hub.wait()
        figures.setdefault('receive', []).append(rates[0])
        figures.setdefault('send', []).append(rates[1])
    return {what: figure[1] / figure[0] if isinstance(figure, list) else figure for what, figure in figures.items()}


def peak_mb(process):
    with open(f'/proc/{process.pid}/status') as file:
        return int(re.search(r'VmHWM:\s+(\d+)', file.read())[1]) * 1024 / 1e6


def answers(understudy, options, scratch):
    """A key-value server under four clients: alone, with a backup, over a kill and over a repair."""
    pair_rig = rig(understudy, options)

    def longest(clients, action):
        clients.load._longest_wait = 0
        action()
        time.sleep(1)
        return clients.load.summary()['longest_wait_s'] * 1000

    with pair_rig.scratch() as folder, pair_rig.Pair(folder, options=('--nic', 'virtio', '--memory', '64')) as pair:
        live = pair.primary()
        pair.ready()
        clients = pair_rig.Clients(pair)

        def rate():
            before, began = clients.load.answered, time.monotonic()
            time.sleep(KEY_VALUE_S)
            return (clients.load.answered - before) / (time.monotonic() - began)

        def repaired():
            pair.standby = pair.backup()
            pair.standby.is_in('lock-step')

        def killed():
            live.kill()
            pair_rig.until('the backup is live', lambda: (pair.standby.status() or {}).get('role') == 'primary')

        alone = rate()
        repair_ms = longest(clients, repaired)
        both = rate()
        wait_us = live.status()['outputs']['median_wait_us']
        kill_ms = longest(clients, killed)
        clients.stop()
    return {'answers': both / alone, 'output-wait': wait_us, 'stall-at-kill': kill_ms, 'stall-at-repair': repair_ms}


def idle(understudy, options, scratch):
    two = Two(understudy, scratch, [*placed(options, linux(options)), '--serial', f'file:{scratch}/idle-console'], TIMEOUT_MS)

    try:
        two.until('in lock step at its prompt', lambda status: status.get('state') == 'lock-step' and
                  'understudy:/#' in open(f'{scratch}/idle-console').read(), options.timeout)
        time.sleep(min(bench_world.SETTLE_S, options.idle))
        before, began = two.status()['log']['bytes_out'], time.monotonic()
        time.sleep(options.idle)
        grown, took = two.status()['log']['bytes_out'] - before, time.monotonic() - began
    finally:
        two.primary.send_signal(signal.SIGTERM)
        two.finish(30)
    return {'idle-log': grown * 8 / 1000 / took}


SOURCES = {'cpu': cpu, 'linux-boot': linux_boot, 'shell-script': shell_script, 'network': network, 'answers': answers,
           'idle': idle}


def measure(wanted, understudy, scratch, options, rounds, say):
    """The figures of the rows, as tools/bench has them."""
    seen, problems = {}, {}
    understudy = os.path.abspath(understudy)
    for source in dict.fromkeys(row.source for row in wanted):
        try:
            for number in range(1, rounds + 1):
                figures = SOURCES[source](understudy, options, scratch)
                said = ', '.join(f'{what} {value:.2f}' for what, value in sorted(figures.items()))
                say(f'pair {source}, round {number} of {rounds}: {said}')
                for what, value in figures.items():
                    seen.setdefault(what, []).append(value)
        except (OSError, bench_world.Failed, AssertionError, subprocess.TimeoutExpired) as reason:
            problems[source] = reason
            say(f'pair {source}: {reason}')
    for row in wanted:
        figures = {'row': row.name, 'unit': row.unit, 'goal': row.goal, 'aim': row.aim}
        if row.source in problems:
            missing = isinstance(problems[row.source], FileNotFoundError)
            yield {**figures, 'verdict': 'not measured', 'failed': not missing,
                   'reason': str(problems[row.source]).splitlines()[0]}
            continue
        all_of_them = seen[row.what]
        value = statistics.median(all_of_them)
        verdict = ''
        if row.goal is not None:
            met = value >= row.goal if row.unit == 'ratio' else value <= row.goal
            verdict = 'met' if met else 'MISSED'
            if met and row.aim is not None and value >= row.aim:
                verdict = 'aim met'
        yield {**figures, 'ours': value, 'ours_all': all_of_them, 'value': value, 'verdict': verdict}
