#!/usr/bin/env python3
"""A pair without a hub: each node's TAP is a port of a real Linux bridge on its own host (a network namespace), and the
hosts' bridges are joined by cables to the client's. A takeover announces itself, so that the bridges send to the new
host; a primary that was stopped and continued sends nothing. Clients' connections go on through both."""
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import netns
import pair_rig
from netns import within
from pair_rig import Clients, Pair, require, serves, until

GUEST_IP, CLIENT_IP, MAC = '10.88.0.10', '10.88.0.1', '52:54:00:12:34:56'
PLACES = {'node1': 'east', 'node2': 'west', 'node3': 'east'}
pair_rig.TIMEOUT_MS = min(pair_rig.TIMEOUT_MS, 600)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    require(done.returncode == 0, f'{" ".join(command)}: {done.stderr.strip()}')
    return done.stdout


class Bridges:
    """The client's bridge is in the world; each host has one with the node's TAP."""

    def __init__(self):
        run('ip', 'link', 'add', 'clients', 'type', 'bridge')
        run('ip', 'address', 'add', f'{CLIENT_IP}/24', 'dev', 'clients')
        run('ip', 'link', 'set', 'clients', 'up')
        for place in ('east', 'west'):
            run('ip', 'netns', 'add', place)
            run('ip', 'link', 'add', f'to-{place}', 'type', 'veth', 'peer', 'name', 'cable', 'netns', place)
            run('ip', 'link', 'set', f'to-{place}', 'master', 'clients', 'up')
            for command in (('link', 'set', 'lo', 'up'), ('link', 'add', 'ports', 'type', 'bridge'),
                            ('link', 'set', 'ports', 'up'), ('link', 'set', 'cable', 'master', 'ports', 'up'),
                            ('tuntap', 'add', 'dev', 'tap0', 'mode', 'tap'), ('link', 'set', 'tap0', 'master', 'ports', 'up')):
                run(*within(place), 'ip', *command)

    @staticmethod
    def guest_is_at():
        """Behind which cable the client's bridge believes the guest to be."""
        for line in run('bridge', 'fdb', 'show', 'br', 'clients').splitlines():
            if line.startswith(MAC):
                return line.split(' dev ')[1].split()[0].removeprefix('to-')
        return None

    @staticmethod
    def close():
        # A namespace's own end of a cable goes some time after it.
        for link in ('to-east', 'to-west', 'clients'):
            subprocess.run(['ip', 'link', 'delete', link], capture_output=True)
        for place in ('east', 'west'):
            subprocess.run(['ip', 'netns', 'delete', place], capture_output=True)


class Sniffer:
    """What comes out of one host's cable with the guest's address, as (when, bytes)."""

    def __init__(self, place):
        self.heard = []
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.bind((f'to-{place}', 0))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while True:
            try:
                frame, address = self.socket.recvfrom(2048)
            except OSError:
                return
            if address[2] != socket.PACKET_OUTGOING and frame[6:12] == bytes.fromhex(MAC.replace(':', '')):
                self.heard.append((time.monotonic(), frame))

    def close(self):
        self.socket.close()


class BridgedPair(Pair):
    """Nodes in hosts of their own; they talk to each other by Unix sockets, as over another network."""

    def __init__(self, folder):
        self.bridges = Bridges()
        super().__init__(folder, guest=[pair_rig.GUEST, '--append', f'ip={GUEST_IP}'])
        # This rig's hub is nobody's.
        self.hub.process.kill()
        self.hub.process.wait()
        self.address = (GUEST_IP, 7000)

    def __exit__(self, *_):
        super().__exit__()
        self.bridges.close()

    def before_command(self, name):
        return within(PLACES.get(name, 'world'))

    def network_options(self, name):
        return ['--net', 'tap:tap0', '--serial', f'file:{self.scratch}/{name}.console']

    def ready(self):
        until('the guest is ready', lambda: 'ready' in self.console())

    def console(self):
        path = f'{self.scratch}/node1.console'
        return open(path, errors='replace').read() if os.path.exists(path) else ''

    def check(self):
        for node in self.nodes:
            require('diverged' not in node.said(), f'{node.name} diverged: {node.said()[-1500:]}')


def kills(folder):
    """The client's connections outlive the primary's host, twice, each time to the other host."""
    with BridgedPair(folder) as pair:
        live, standby, clients = pair.lock_step()
        longest = 0
        for _ in range(2):
            live.kill()
            began = time.monotonic()
            serves(clients, f'after the kill of {live.name}')
            longest = max(longest, time.monotonic() - began)
            require(pair.bridges.guest_is_at() == PLACES[standby.name], f'the bridge has it at {pair.bridges.guest_is_at()}')
            if len(pair.nodes) < 3:
                live, standby = standby, pair.backup()
                standby.is_in('lock-step')
                serves(clients, 'repaired')
        summary = clients.stop()
        require(summary['reconnects'] == 0, f'connections were lost: {summary}')
        pair.check()
        return f'longest wait {summary["longest_wait_s"]:.2f} s'


def is_announced(folder):
    """A guest that says nothing by itself is found at its new host."""
    with BridgedPair(folder) as pair:
        live = pair.primary()
        pair.ready()
        standby = pair.backup()
        standby.is_in('lock-step')
        sniffer = Sniffer('west')
        live.kill()
        until('the backup is live', lambda: (standby.status() or {}).get('role') == 'primary')
        began = time.monotonic()
        until('it is announced', lambda: any(frame[12:14] == b'\x80\x35' for _, frame in list(sniffer.heard)))
        until('the bridge knows', lambda: pair.bridges.guest_is_at() == 'west')
        sniffer.close()
        return f'within {max(0, sniffer.heard[0][0] - began):.2f} s'


def stopped_and_continued(folder):
    """Nothing of what it still held leaves the old primary's host."""
    with BridgedPair(folder) as pair:
        live, standby, clients = pair.lock_step()
        for _ in range(3):
            sniffer = Sniffer(PLACES[live.name])
            live.kill(signal.SIGSTOP)
            until('it is stopped', lambda: 'T' in open(f'/proc/{live.process.pid}/stat').read().split(')')[1].split()[0])
            stopped = time.monotonic()
            until('the backup is live', lambda: (standby.status() or {}).get('role') == 'primary')
            serves(clients, 'with the backup')
            continued = time.monotonic()
            live.kill(signal.SIGCONT)
            require(live.code() == 6, f'the deposed primary ended with {live.process.returncode}: {live.said()[-500:]}')
            late = [(when - continued, frame.hex()) for when, frame in sniffer.heard if when > stopped + 0.5]
            sniffer.close()
            require(not late, f'it sent when it was continued: {late[:3]}')
            serves(clients, 'after the old primary woke up')
            require(pair.bridges.guest_is_at() == PLACES[standby.name], 'the bridge was misled')
            if len(pair.nodes) == 3:
                break
            live, standby = standby, pair.backup()
            standby.is_in('lock-step')
        summary = clients.stop()
        require(summary['reconnects'] == 0, f'connections were lost: {summary}')
        pair.check()


def skip_without_tap():
    """A host may have namespaces and no TAP."""
    probe = subprocess.run(['ip', 'tuntap', 'add', 'dev', 'probe', 'mode', 'tap'], capture_output=True, text=True)
    if probe.returncode:
        print(f'scenario: no TAP here: {probe.stderr.strip()}', file=sys.stderr)
        sys.exit(77)
    run('ip', 'link', 'delete', 'probe')


if __name__ == '__main__':
    netns.enter()
    skip_without_tap()
    sys.exit(pair_rig.main([kills, is_announced, stopped_and_continued]))
