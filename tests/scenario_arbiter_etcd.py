#!/usr/bin/env python3
"""A real etcd as the arbiter: one winner an epoch, on one node and on three of which one, then two are killed or stopped.
Without a majority nothing is won, and a claim that was cut off is found again when the cluster is back."""
import concurrent.futures
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

COMMAND = os.environ['UNDERSTUDY']
PATIENCE = 60


def require(condition, text):
    if not condition:
        raise RuntimeError(text)


def understudy(spec, *arguments, want=0, timeout_ms=PATIENCE * 1000):
    done = subprocess.run([COMMAND, 'arbiter', spec, '--json', '--timeout', str(timeout_ms), *arguments],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=2 * PATIENCE)
    said = done.stderr.decode().strip()
    require(want is None or done.returncode == want, f'{spec} {arguments}: exit code {done.returncode}, {said}')
    require(len(said.splitlines()) == (1 if done.returncode else 0) - (done.returncode == 6), f'said {said!r}')
    return done.returncode, json.loads(done.stdout)


def claim(spec, epoch, node, **options):
    return understudy(spec, '--acquire', str(epoch), '--node', node, **options)


def reign(spec):
    return understudy(spec)[1]['reign']


class Etcd:
    """A cluster on loopback ports that the system gives."""

    def __init__(self, scratch, name, count):
        self.ports = self.free_ports(2 * count)
        self.directory = os.path.join(scratch, name)
        self.peers = ','.join(f'n{i}=http://127.0.0.1:{self.ports[2 * i + 1]}' for i in range(count))
        self.members = [None] * count
        os.mkdir(self.directory)
        for i in range(count):
            self.start(i)

    @staticmethod
    def free_ports(count):
        sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(count)]
        ports = [each.getsockname()[1] for each in sockets]
        for each in sockets:
            each.close()
        return ports

    def url(self, i):
        return f'http://127.0.0.1:{self.ports[2 * i]}'

    def spec(self, *order, prefix=''):
        return 'etcd:' + ','.join(self.url(i) for i in order or range(len(self.members))) + prefix

    def start(self, i):
        peer = f'http://127.0.0.1:{self.ports[2 * i + 1]}'
        with open(os.path.join(self.directory, f'n{i}.log'), 'ab') as log:
            self.members[i] = subprocess.Popen(
                ['etcd', '--name', f'n{i}', '--data-dir', os.path.join(self.directory, f'n{i}'),
                 '--listen-client-urls', self.url(i), '--advertise-client-urls', self.url(i),
                 '--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer,
                 '--initial-cluster', self.peers, '--heartbeat-interval', '100', '--election-timeout', '1000'],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self, i, how=signal.SIGKILL):
        self.members[i].send_signal(how)
        if how == signal.SIGKILL:
            self.members[i].wait()

    def stop(self):
        for member in self.members:
            member.kill()
            member.wait()


def race(spec_of, first, last, nodes, all_told=True):
    """Every node claims every next epoch. Where answers get lost, a win may be overtaken before its node hears of it."""
    def run(node):
        wins, epoch = [], first
        while epoch <= last:
            code, said = claim(spec_of(node), epoch, f'node-{node}', want=None)
            require(code in (0, 6), f'claim of {epoch}: {said}')
            if code == 0:
                wins.append(epoch)
            epoch = (epoch if code == 0 else said['holder']['epoch']) + 1
        return wins
    with concurrent.futures.ThreadPoolExecutor(nodes) as pool:
        won = list(pool.map(run, range(nodes)))
    wins = sorted(sum(won, []))
    require(len(wins) == len(set(wins)) and set(wins) <= set(range(first, last + 1)), f'wins: {won}')
    require(not all_told or len(wins) == last + 1 - first, f'wins: {won}')


def one_node(scratch):
    etcd = Etcd(scratch, 'one', 1)
    try:
        spec = etcd.spec()
        require(reign(spec) is None, 'a reign before the first')
        code, said = claim(spec, 2, 'a', want=8, timeout_ms=5000)
        require('the first has epoch 1' in said['reason'], said)
        claim(spec, 1, 'a')
        claim(spec, 1, 'a')
        require(claim(spec, 1, 'b', want=6)[1]['holder'] == {'epoch': 1, 'node': 'a'}, 'the holder')
        race(lambda node: spec, 2, 30, 3)
        require(reign(spec)['epoch'] == 30, 'the newest reign')
        # Another prefix is another machine.
        require(reign(etcd.spec(prefix='/lab/two')) is None, 'prefixes are not apart')
        claim(etcd.spec(prefix='/lab/two'), 1, 'x')
        # Durable: the same answer after a crash.
        etcd.kill(0)
        code, said = claim(spec, 31, 'a', want=8, timeout_ms=500)
        require(etcd.url(0) in said['reason'], said)
        etcd.start(0)
        require(reign(spec)['epoch'] == 30, 'after a crash')
        claim(spec, 31, 'a')
    finally:
        etcd.stop()


def three_nodes(scratch):
    etcd = Etcd(scratch, 'three', 3)
    try:
        claim(etcd.spec(), 1, 'a')
        race(lambda node: etcd.spec(node % 3, (node + 1) % 3, (node + 2) % 3), 2, 20, 3)
        # One fails in the middle of a race. Killed or frozen, whoever leads: the others decide.
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            racing = pool.submit(race, lambda node: etcd.spec(node % 3, (node + 1) % 3, (node + 2) % 3), 21, 60, 3,
                                 all_told=False)
            while reign(etcd.spec(1))['epoch'] < 30:
                pass
            etcd.kill(0)
            racing.result()
        require(reign(etcd.spec())['epoch'] == 60, 'after one was killed')
        # Two: no majority, whichever way it is asked.
        etcd.kill(1)
        start = time.monotonic()
        code, said = claim(etcd.spec(), 61, 'a', want=8, timeout_ms=1500)
        require(all(etcd.url(i) in said['reason'] for i in range(3)), said)
        code, said = understudy(etcd.spec(2), want=8, timeout_ms=1500)
        require(not said['reachable'] and said['reign'] is None, said)
        etcd.start(1)
        require(reign(etcd.spec())['epoch'] in (60, 61), 'two again')
        # Or frozen, with the connections up.
        etcd.kill(1, signal.SIGSTOP)
        claim(etcd.spec(1, 2), 61, 'a', want=8, timeout_ms=1500)
        require(time.monotonic() - start < 2 * PATIENCE, 'the timeout did not hold')
        # Back again. The claim that was cut off may have been won meanwhile: by its own node, if by anyone.
        etcd.kill(1, signal.SIGCONT)
        require(claim(etcd.spec(), 60, 'nobody', want=6)[1]['holder']['epoch'] in (60, 61), 'the holder')
        claim(etcd.spec(), 61, 'a')
        require(claim(etcd.spec(2, 1), 61, 'b', want=6)[1]['holder'] == {'epoch': 61, 'node': 'a'}, 'one winner')
        etcd.start(0)
        require(reign(etcd.spec(0)) == {'epoch': 61, 'node': 'a'}, 'the one that came back')
    finally:
        etcd.stop()


def main():
    if shutil.which('etcd') is None:
        print('no etcd here')
        return 77
    with tempfile.TemporaryDirectory() as scratch:
        try:
            one_node(scratch)
            three_nodes(scratch)
        except Exception:
            for folder, _, names in os.walk(scratch):
                for name in (name for name in names if name.endswith('.log')):
                    with open(os.path.join(folder, name), errors='replace') as log:
                        print(f'--- {name}\n' + ''.join(log.readlines()[-15:]), file=sys.stderr)
            raise
    print('etcd decides: one winner an epoch, none without a majority')
    return 0


if __name__ == '__main__':
    sys.exit(main())
