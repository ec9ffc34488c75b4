#!/usr/bin/env python3
"""A hub and machines on it, as processes: a later epoch's machine takes the service over from one that is stopped and
wakes up again, or is killed; the same epoch twice, garbage, wrong keys, and a hub that is killed and started again. The
guest is kv_server, asked over the hub's user network. The hub's journal must prove that no two machines were ever live at
the same time."""
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

COMMAND = os.environ['UNDERSTUDY']
GUEST = os.path.join(os.environ['UNDERSTUDY_FIRMWARE'], 'kv_server.elf')
LIMIT = 60  # host seconds for anything that takes less than one


def require(condition, text):
    if not condition:
        raise AssertionError(text)


def until(what, condition):
    deadline = time.monotonic() + LIMIT
    while not (result := condition()):
        require(time.monotonic() < deadline, f'after {LIMIT} s still not: {what}')
        time.sleep(0.01)
    return result


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Process:
    def __init__(self, *arguments):
        self.process = subprocess.Popen([COMMAND, *arguments], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        os.set_blocking(self.process.stderr.fileno(), False)
        self.complaints = b''

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def said(self):
        self.complaints += self.process.stderr.read() or b''
        return self.complaints.decode()

    def wait_for(self, text):
        def there():
            require(text in self.said() or self.process.poll() is None, f'ended before {text!r}: {self.said()}')
            return text in self.said()
        until(text, there)


class Hub(Process):
    def __init__(self, scratch, name, service_port, *more, port=None):
        self.port = port or free_port()
        self.address = f'tcp://127.0.0.1:{self.port}'
        self.control = f'ipc://{scratch}/{name}.control'
        self.journal = os.path.join(scratch, name + '.journal')
        self.more = more
        super().__init__('hub', '--listen', self.address, '--control', self.control, '--journal', self.journal, '--net',
                         f'user,hostfwd=tcp:127.0.0.1:{service_port}-:7000', *more)
        self.wait_for('understudy: hub at')

    def status(self):
        keys = [text for text in self.more if text in ('--key', '--peer')] and self.asker
        done = subprocess.run([COMMAND, 'status', self.control, '--json', '--timeout', '30000', *(keys or [])],
                              stdout=subprocess.PIPE)
        require(done.returncode == 0, f'understudy status: exit code {done.returncode}')
        return json.loads(done.stdout)[0]['status']

    def events(self, kind):
        with open(self.journal) as file:
            return [event for line in file if (event := json.loads(line))['event'] == kind]


class Machine(Process):
    def __init__(self, scratch, hub, node, epoch, *net):
        self.json = os.path.join(scratch, node + '.json')
        super().__init__('run', GUEST, '--paced', '--memory', '32', '--nic', 'virtio', '--serial', 'none', '--json',
                         self.json, '--net', ','.join([f'hub:{hub.address}', f'node={node}', f'epoch={epoch}', *net]))

    def stop(self):
        self.signal(signal.SIGTERM)
        require(self.process.wait(LIMIT) == 130, f'exit code {self.process.returncode}: {self.said()}')
        with open(self.json) as file:
            return json.load(file)


class Client:
    """A connection to the guest; the first answer takes as long as the machine needs to be there."""

    def __init__(self, port):
        self.port = port
        self.file = until('the service', self.connect)

    def connect(self):
        try:
            self.socket = socket.create_connection(('127.0.0.1', self.port), timeout=2)
            file = self.socket.makefile('rwb')
            file.write(b'PING\n')
            file.flush()
            if file.readline() != b'PONG\n':
                return None
            self.socket.settimeout(LIMIT)
            return file
        except OSError:
            return None

    def send(self, line):
        self.file.write(line.encode() + b'\n')
        self.file.flush()

    def ask(self, line):
        self.send(line)
        return self.file.readline().decode().rstrip('\n')


def reigns_are_apart(hub, nodes):
    reigns = hub.events('reign')
    require([r['node'] for r in reigns] == nodes, [r['node'] for r in reigns])
    for earlier, later in zip(reigns, reigns[1:]):
        require(earlier['epoch'] < later['epoch'], 'epochs grow')
        before = later['before']
        require(before['node'] == earlier['node'] and before['began_ns'] <= later['mono_ns'], before)
        require(before.get('last_output_ns', 0) <= later['mono_ns'], 'an output after the next one was live')


def takes_over(scratch):
    service = free_port()
    with Hub(scratch, 'hub', service) as hub, Machine(scratch, hub, 'first', 1) as first:
        client = Client(service)
        require(client.ask('SET who first') == 'OK', 'the first machine')
        # It stops with a question on its way, and does not know for how long.
        first.signal(signal.SIGSTOP)
        client.send('GET who')
        with Machine(scratch, hub, 'second', 2) as second:
            second_client = Client(service)
            require(second_client.ask('GET who') == 'NONE', 'another machine answers')
            require(second_client.ask('SET who second') == 'OK', 'the second machine')
            out = hub.status()['frames']['out']
            first.signal(signal.SIGCONT)
            first.wait_for('this machine\'s cable is cut')
            for _ in range(100):
                require(second_client.ask('GET who') == 'VALUE second', 'undisturbed')
            counts = first.stop()['net']
            status = hub.status()
            require(counts['out_no_link'] + status['fenced']['frame'] + counts['in_queue_full'] > 0,
                    'the first machine said nothing')
            require(status['node'] == 'second' and status['epoch'] == 2, status['node'])
            require(status['reigns'][1]['frames'] >= status['frames']['out'] - out > 0, 'whose frames these are')
            until('the first is gone', lambda: len(hub.status()['replicas']) == 1)
            # The second dies with its connections open; the third is there at once.
            second.kill()
        until('the second is gone', lambda: not hub.status()['live_connected'])
        with Machine(scratch, hub, 'third', 3) as third:
            require(Client(service).ask('SET who third') == 'OK', 'the third machine')
            with Machine(scratch, hub, 'copy', 3) as copy, Machine(scratch, hub, 'late', 2) as late:
                copy.wait_for('has third live by epoch 3')
                late.wait_for('has third live by epoch 3')
            noise(hub)
            require(Client(service).ask('GET who') == 'VALUE third', 'unharmed')
            status = hub.status()
            require(status['same_epoch_refused'] == 1 and status['fenced']['announce'] == 2, status['fenced'])
            # The hub dies and comes back with what it wrote down: the same machine, and nobody older.
            hub.kill()
            with Hub(scratch, 'hub', service, port=hub.port) as again:
                require(Client(service).ask('GET who') == 'VALUE third', 'the same machine')
                with Machine(scratch, again, 'late', 2) as late:
                    late.wait_for('has third live by epoch 3')
                third.stop()
                again.signal(signal.SIGTERM)
                require(again.process.wait(LIMIT) == 0, f'exit code {again.process.returncode}')
        reigns_are_apart(hub, ['first', 'second', 'third'])
        gone = [(event['node'], event['live']) for event in hub.events('disconnect')]
        require(('first', False) in gone and ('second', True) in gone, gone)
        require({event['why'] for event in hub.events('refused')} == {'older epoch', 'epoch of another'}, 'refusals')
        print('takes over, fences off, and comes back')


def noise(hub):
    before = hub.status()['connections']
    greeting = bytes([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0])
    for text in (b'GET / HTTP/1.1\r\n\r\n', greeting + b'x' * 52, greeting + b'NULL' + bytes(48) + b'\x00\xff' * 500,
                 bytes(1000), b'\xff' * 1000):
        with socket.create_connection(('127.0.0.1', hub.port)) as peer:
            peer.sendall(text)
    after = until('noise is counted', lambda: (now := hub.status()['connections'])['bad_peers'] > before['bad_peers']
                  and now)
    require(after['bad_peers'] + after['bad_messages'] > before['bad_peers'] + before['bad_messages'], after)


def keys_are_asked_for(scratch):
    for name in ('keyhub', 'left', 'stranger'):
        subprocess.run([COMMAND, 'keys', 'new', name, '--dir', scratch], check=True, stdout=subprocess.DEVNULL)

    def file(name):
        return os.path.join(scratch, name)

    open_hub = subprocess.run([COMMAND, 'hub', '--listen', 'tcp://0.0.0.0:0'], stderr=subprocess.PIPE)
    require(open_hub.returncode == 2 and b'without keys' in open_hub.stderr, open_hub.stderr)
    service = free_port()
    Hub.asker = ['--key', file('left.secret'), '--peer', file('keyhub.public')]
    with Hub(scratch, 'keyhub', service, '--key', file('keyhub.secret'), '--peer', file('left.public')) as hub:
        peer = f'peer={file("keyhub.public")}'
        with Machine(scratch, hub, 'bare', 7), \
             Machine(scratch, hub, 'stranger', 8, f'key={file("stranger.secret")}', peer), \
             Machine(scratch, hub, 'left', 1, f'key={file("left.secret")}', peer):
            require(Client(service).ask('SET who left') == 'OK', 'who has the right keys')
            status = until('the others are counted', lambda: (now := hub.status()) and
                           now['connections']['refused_keys'] > 0 and now['connections']['bad_peers'] > 0 and now)
            require(status['reign_count'] == 1 and status['node'] == 'left', status['node'])
    print('keys are asked for')


def main():
    with tempfile.TemporaryDirectory() as scratch:
        takes_over(scratch)
        keys_are_asked_for(scratch)
    return 0


if __name__ == '__main__':
    sys.exit(main())
