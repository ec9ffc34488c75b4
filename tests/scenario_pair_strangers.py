#!/usr/bin/env python3
"""A pair with keys, on TCP: it works, and who has no key, a wrong key, or nothing but garbage to say is turned away and
counted while the service goes on. A pair whose arbiter is etcd. And addresses that are somebody else's."""
import os
import random
import shutil
import socket
import subprocess
import sys

import pair_rig
from pair_rig import COMMAND, Clients, Keys, Node, Pair, free_port, require, serves, until


def garbage(port, seed):
    chance = random.Random(seed)
    for _ in range(50):
        try:
            with socket.create_connection(('127.0.0.1', port), timeout=5) as stranger:
                stranger.sendall(chance.choice((b'', b'\xff' + bytes(8) + b'\x01\x7f')) + chance.randbytes(chance.randrange(2000)))
        except OSError:
            pass  # cut off while it was talking


def with_keys(folder):
    keys = Keys(folder)
    with Pair(folder, keys=keys) as pair:
        north, _, clients = pair.lock_step()
        port = int(north.address.rsplit(':', 1)[1])
        garbage(port, 1)
        # node3 has the stranger's keys, the other one none.
        stranger = pair.backup()
        nobody = Node(pair, 'nobody', 'backup', '--join', north.address, '--arbiter', pair.arbiter, '--node', 'nobody')
        pair.nodes.append(nobody)
        until('both are told that nobody answers',
              lambda: all('no live node answers' in node.said() for node in (stranger, nobody)))
        serves(clients, 'with strangers at the door')
        require('lost' not in north.said(), f'the backup was lost over it: {north.said()}')
        north.kill()
        serves(clients, 'after the takeover')
        clients.stop()
        pair.check_reigns()


def plain_garbage(folder):
    """Without keys everybody on this host may talk: what is no message is counted, and nothing else happens."""
    with Pair(folder) as pair:
        address = f'tcp://127.0.0.1:{free_port()}'
        north = Node(pair, 'north', 'primary', *pair.guest, *pair.options, '--hub', pair.hub_address, '--arbiter', pair.arbiter,
                     '--log-to', address, '--node', 'north')
        north.address = address
        pair.nodes.append(north)
        pair.ready()
        clients = Clients(pair)
        garbage(int(address.rsplit(':', 1)[1]), 2)
        serves(clients, 'after garbage')
        pair.backup().is_in('lock-step')
        serves(clients, 'in lock step')
        clients.stop()


def arbiter_is_etcd(folder):
    if shutil.which('etcd') is None:
        return 'not done: no etcd here'
    client, peer = (f'http://127.0.0.1:{free_port()}' for _ in range(2))
    server = pair_rig.start_etcd(folder, client, peer)
    try:
        arbiter = f'etcd:{client}'
        with Pair(folder, arbiter=arbiter) as pair:
            north, south, clients = pair.lock_step()
            north.kill()
            serves(clients, 'after the takeover')
            require(south.status()['epoch'] == 2, 'the takeover has an epoch')
            # Without an arbiter nobody goes on alone, and nothing leaves.
            next_ = pair.backup()
            next_.is_in('lock-step')
            serves(clients, 'in lock step again')
            server.kill()
            server.wait()
            next_.kill()
            south.is_in('deciding')
            before = len(clients.load.history)
            held = until('outputs wait', lambda: (south.status() or {}).get('outputs', {}).get('held', 0))
            require(len(clients.load.history) <= before + 4, f'answers left with {held} outputs held')
    finally:
        server.kill()
        server.wait()


def taken_address(folder):
    """An address that somebody else has: found before an epoch is claimed; after a takeover, said, and lived with."""
    with Pair(folder) as pair, socket.socket() as somebody:
        somebody.bind(('127.0.0.1', 0))
        somebody.listen()
        pair.log_address = lambda name: f'tcp://127.0.0.1:{somebody.getsockname()[1]}'
        turned_away = pair.primary()
        require(turned_away.code() == 2, f'exit code {turned_away.process.returncode}: {turned_away.said()}')
        require('Address already in use' in turned_away.said(), f'it says {turned_away.said()}')
        require(not pair.reigns(), f'it reigned: {pair.reigns()}')
        del pair.log_address
        north = pair.primary()
        pair.ready()
        require(north.status()['epoch'] == 1, 'an epoch was lost')
        port = free_port()
        pair.log_address = lambda name: f'tcp://127.0.0.1:{port}'
        south = pair.backup()
        south.is_in('lock-step')
        with socket.socket() as other:
            other.bind(('127.0.0.1', port))
            other.listen()
            clients = Clients(pair)
            serves(clients, 'in lock step')
            north.kill()
            serves(clients, 'after the takeover')
            require('no backup can join' in south.said(), f'it says {south.said()}')
            clients.stop()
            pair.check_reigns()


if __name__ == '__main__':
    sys.exit(pair_rig.main([with_keys, plain_garbage, arbiter_is_etcd, taken_address]))
