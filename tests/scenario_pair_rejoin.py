#!/usr/bin/env python3
"""Nodes with --rejoin: whoever has lost its reign, or its place as the backup, is a backup again in the same process, so
that failover and repair go round without anyone being started. And joining asks every address at once.
UNDERSTUDY_ROUNDS sets how often they go round (2)."""
import os
import signal
import socket
import sys
import time

import pair_rig
from pair_rig import Clients, Pair, require, serves, until

ROUNDS = int(os.environ.get('UNDERSTUDY_ROUNDS', '2'))
pair_rig.TIMEOUT_MS = min(pair_rig.TIMEOUT_MS, 600)


def address(pair, number):
    return f'ipc://{pair.scratch}/node{number}.log'


def standby_of(other, node):
    """It is in lock step as the other's backup, as both see it: who has slept may still believe what was."""
    def there():
        require(node.process.poll() is None, f'{node.name} ended with {node.process.poll()}: {node.said()[-1500:]}')
        status, reigning = node.status() or {}, other.status() or {}
        return (status.get('role') == 'backup' and reigning.get('role') == 'primary' and
                status.get('state') == reigning.get('state') == 'lock-step' and status['epoch'] == reigning['epoch'])
    until(f'{node.name} is the backup of {other.name}', there)


def live(node):
    until(f'{node.name} is live', lambda: (node.status() or {}).get('role') == 'primary')


def goes_round(folder):
    """Each node is stopped and continued, as primary and as backup, handed over, and at last killed."""
    with Pair(folder) as pair:
        north = pair.primary('--rejoin', '--join', address(pair, 2))
        pair.ready()
        south = pair.backup('--rejoin')
        standby_of(north, south)
        clients = Clients(pair, seed=11)
        serves(clients, 'in lock step')
        first, second = north, south
        for _ in range(ROUNDS):
            first.kill(signal.SIGSTOP)
            live(second)
            serves(clients, f'with {second.name}')
            first.kill(signal.SIGCONT)
            standby_of(second, first)
            serves(clients, f'with {first.name} as the backup')
            first, second = second, first
        second.kill(signal.SIGSTOP)
        first.is_in('alone')
        second.kill(signal.SIGCONT)
        standby_of(first, second)
        require(pair.ctl(first, 'switchover') == 0, 'no handover')
        live(second)
        standby_of(second, first)
        serves(clients, 'after the handover')
        second.kill()
        live(first)
        serves(clients, 'after the kill')
        third = pair.backup('--rejoin')
        standby_of(first, third)
        summary = clients.stop()
        require(summary['reconnects'] == 0, f'connections were lost: {summary}')
        reigns = pair.check_reigns()
        require(len(reigns) == ROUNDS + 4, f'{len(reigns)} reigns: {reigns}')
        return f'{len(reigns)} reigns, longest wait {summary["longest_wait_s"]:.2f} s'


def past_the_dead(folder):
    """An address where nobody ever speaks costs nothing, wherever it stands."""
    with Pair(folder) as pair, socket.create_server(('127.0.0.1', 0)) as silent:
        north = pair.primary()
        pair.ready()
        dead = f'tcp://127.0.0.1:{silent.getsockname()[1]}'
        south = pair._start('backup', '--join', f'{dead},{north.address},{dead}')
        began = time.monotonic()
        until('it joins', lambda: 'joining' in south.said())
        took = time.monotonic() - began
        require('no live node answers' not in south.said(), f'it waited for the dead: {south.said()}')
        south.is_in('lock-step')
        return f'{took:.2f} s until it joined'


if __name__ == '__main__':
    sys.exit(pair_rig.main([past_the_dead, goes_round]))
