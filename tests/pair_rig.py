"""Real processes of a pair: a hub, nodes that are live or follow, and clients of kv_server behind the hub's network."""
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import kv_load  # noqa: E402
import linearizable  # noqa: E402

COMMAND = os.environ['UNDERSTUDY']
GUEST = os.path.join(os.environ['UNDERSTUDY_FIRMWARE'], 'kv_server.elf')
LIMIT = 120  # host seconds for anything that takes a few
# On a host that is busy with other things, silence has to last before it means something.
TIMEOUT_MS = int(os.environ.get('UNDERSTUDY_TIMEOUT_MS', '1500'))


def require(condition, text):
    if not condition:
        raise AssertionError(text)


def until(what, condition, limit=LIMIT):
    deadline = time.monotonic() + limit
    while not (result := condition()):
        require(time.monotonic() < deadline, f'after {limit} s still not: {what}')
        time.sleep(0.01)
    return result


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def start_etcd(folder, client, peer, before_command=()):
    """A cluster of one, which answers at the address `client`; the process."""
    server = subprocess.Popen([*before_command, 'etcd', '--data-dir', os.path.join(folder, 'etcd'), '--listen-client-urls', client,
                               '--advertise-client-urls', client, '--listen-peer-urls', peer,
                               '--initial-advertise-peer-urls', peer, '--initial-cluster', f'default={peer}'],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until('etcd answers', lambda: subprocess.run([COMMAND, 'arbiter', f'etcd:{client}'], stdout=subprocess.DEVNULL,
                                                 stderr=subprocess.DEVNULL).returncode == 0)
    return server


class Node:
    """One process of the service; its standard error is kept in a file."""

    def __init__(self, pair, name, *arguments):
        self.name = name
        self.pair = pair
        self.control = f'ipc://{pair.scratch}/{name}.control'
        self.address = f'ipc://{pair.scratch}/{name}.log'
        self.log = os.path.join(pair.scratch, name + '.log-folder')
        self.said_in = os.path.join(pair.scratch, name + '.stderr')
        with open(self.said_in, 'ab') as said:
            self.process = subprocess.Popen([*pair.before_command(name), COMMAND, *arguments, '--control', self.control],
                                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)

    def said(self):
        with open(self.said_in, errors='replace') as file:
            return file.read()

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()

    def code(self):
        try:
            return self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f'{self.name} does not end: {self.said()[-2000:]}') from None

    def status(self):
        asker = self.pair.keys.of_asker(self.name) if self.pair.keys else ()
        done = subprocess.run([COMMAND, 'status', '--json', '--timeout', '2000', self.control, *asker], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
        answer = json.loads(done.stdout)[0]
        return answer.get('status')

    def is_in(self, *states):
        def there():
            require(self.process.poll() is None, f'{self.name} ended with {self.process.poll()}: {self.said()[-2000:]}')
            status = self.status()
            return status if status and status.get('state') in states else None
        return until(f'{self.name} in {states}; it says {self.said()[-1500:]}', there)


class Pair:
    """A hub, and nodes as they are asked for."""

    def __init__(self, scratch, guest=GUEST, options=('--nic', 'virtio'), arbiter=None, keys=None, net=None, hub=None,
                 hub_options=(), console=None):
        """`guest`: an image, or the options that say what boots; `net`: the hub's, in place of kv_server's; `hub`:
        where it listens."""
        self.keys = keys
        self.scratch = scratch
        self.guest = [guest] if isinstance(guest, str) else guest
        self.options = list(options)
        self.port = free_port()
        self.address = ('127.0.0.1', self.port)  # of kv_server, for clients
        self.nodes = []
        self.hub_address = hub or f'ipc://{scratch}/hub'
        self.journal = os.path.join(scratch, 'hub.journal')
        self.arbiter = arbiter or f'file:{scratch}/arbiter'
        self.number = 0
        self.hub_arguments = ['--listen', self.hub_address, '--journal', self.journal, '--net',
                              net or f'user,hostfwd=tcp:127.0.0.1:{self.port}-:7000', '--console', console or f'file:{scratch}/console',
                              *hub_options]
        self.start_hub()

    def start_hub(self):
        self.hub = Node(self, 'hub', 'hub', *self.hub_arguments, *(self.keys.of_hub() if self.keys else ()),
                        *self.every_command())
        until('a hub', lambda: self.hub.status())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for node in [*self.nodes, self.hub]:
            if node.process.poll() is None:
                node.process.kill()
                node.process.wait()

    def _start(self, role, *arguments):
        self.number += 1
        name = f'node{self.number}'
        address = self.log_address(name)
        node = Node(self, name, role, *arguments, *self.network_options(name), '--arbiter', self.arbiter, '--log-to', address,
                    '--node', name, '--timeout', str(TIMEOUT_MS), *(self.keys.of_node(name) if self.keys else ()),
                    *self.every_command())
        node.address = self.way_to(name, address)
        self.nodes.append(node)
        return node

    # What scenarios with a network of their own say otherwise.
    def before_command(self, name):
        return []

    def every_command(self):
        return []

    def log_address(self, name):
        return f'tcp://127.0.0.1:{free_port()}' if self.keys else f'ipc://{self.scratch}/{name}.log'

    def network_options(self, name):
        """Where this node's machine has its network and console."""
        return ['--hub', self.hub_for(name)]

    def way_to(self, name, address):
        """What others join, to reach this node's log."""
        return address

    def hub_for(self, name):
        return self.hub_address

    def primary(self, *more):
        return self._start('primary', *self.guest, *self.options, *more)

    def backup(self, *more):
        joins = ','.join(node.address for node in reversed(self.nodes[-8:]))  # the newest is the likeliest
        return self._start('backup', '--join', joins, *more)

    def ctl(self, node, *words):
        return subprocess.run([COMMAND, 'ctl', node.control, *words], stdout=subprocess.DEVNULL).returncode

    def ready(self):
        until('the guest is ready', lambda: 'ready' in self.console())

    def console(self):
        path = os.path.join(self.scratch, 'console')
        return open(path, errors='replace').read() if os.path.exists(path) else ''

    def lock_step(self, primary=(), backup=()):
        """A primary and a backup, with these options more, and clients that ask."""
        live = self.primary(*primary)
        self.ready()
        standby = self.backup(*backup)
        until(f'lock step; {standby.said()[-1500:]}', lambda: 'in lock step' in standby.said())
        clients = Clients(self)
        serves(clients, 'in lock step')
        return live, standby, clients

    def one_of(self, *nodes):
        """One of them is alone and live, the other ends with exit code 6."""
        def decided():
            ended = [node for node in nodes if node.process.poll() is not None]
            return ended and next(node for node in nodes if node not in ended)
        winner = until(f'one is live, the other ends: {[node.said()[-300:] for node in nodes]}', decided)
        loser = next(node for node in nodes if node is not winner)
        require(loser.process.returncode == 6, f'{loser.name} ended with {loser.process.returncode}: {loser.said()[-500:]}')
        winner.is_in('alone')
        return winner

    def reigns(self):
        with open(self.journal) as file:
            return [event for line in file if (event := json.loads(line))['event'] == 'reign']

    def check_reigns(self, may_diverge=False):
        """Never two live machines: what the hub saw of one ended before it heard of the next."""
        reigns = self.reigns()
        for node in self.nodes:
            require(may_diverge or 'diverged' not in node.said(), f'{node.name} diverged: {node.said()[-1500:]}')
        for before, after in zip(reigns, reigns[1:]):
            require(before['epoch'] < after['epoch'], f'epochs out of order: {before} {after}')
            last = after.get('before', {}).get('last_output_ns', 0)
            require(last <= after['mono_ns'], f'an output of {before} came after {after}')
        return reigns


class Keys:
    """A key pair for the hub, for each of two nodes, and for who asks them."""

    def __init__(self, folder):
        self.folder = folder
        for name in ('hub', 'node1', 'node2', 'asker', 'stranger'):
            subprocess.run([COMMAND, 'keys', 'new', name, '--dir', folder], check=True, stdout=subprocess.DEVNULL)

    def file(self, name, half='public'):
        return os.path.join(self.folder, f'{name}.{half}')

    def _of(self, name, peers):
        return ['--key', self.file(name, 'secret'), *(part for peer in peers for part in ('--peer', self.file(peer)))]

    def of_hub(self):
        return self._of('hub', ('node1', 'node2', 'asker'))

    def of_node(self, name):
        other = {'node1': 'node2', 'node2': 'node1'}.get(name, 'node1')
        own = name if name in ('node1', 'node2') else 'stranger'
        return [*self._of(own, (other,)), '--hub-key', self.file('hub')]

    def of_asker(self, name):
        return self._of('asker', (name,))


class Clients:
    """Four clients that ask without a pause, until stopped; the history must be linearizable then."""

    def __init__(self, pair, clients=4, keys=8, seed=1):
        self.history = open(os.path.join(pair.scratch, f'history.{seed}'), 'w')
        self.load = kv_load.Load(pair.address, clients, keys, seed, 30, None, self.history).start()

    def stop(self):
        summary = self.load.stop()
        self.history.close()
        try:
            checked = linearizable.check(self.load.history)
        except linearizable.Violation as violation:
            raise AssertionError(f'not linearizable: {violation}') from None
        require(checked['operations'] > 0, 'nothing was answered')
        return summary


def serves(clients, what):
    before = len(clients.load.history)
    until(f'the service goes on {what}', lambda: len(clients.load.history) > before + 20)


def scratch():
    return tempfile.TemporaryDirectory(prefix='understudy-pair-')


def main(tests):
    failed = 0
    for test in tests:
        begin = time.monotonic()
        with scratch() as folder:
            try:
                note = test(folder)
                print(f'ok   {test.__name__} ({time.monotonic() - begin:.1f} s){": " + note if note else ""}', flush=True)
            except AssertionError as error:
                failed += 1
                print(f'FAIL {test.__name__}: {error}', flush=True)
    return 1 if failed else 0
