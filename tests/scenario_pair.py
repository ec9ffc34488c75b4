#!/usr/bin/env python3
"""A pair under load, as processes: the primary is killed, repaired and killed again; handed over on request; stopped and
continued. Each time every acknowledged write must be there and the clients' histories linearizable, and the hub's
journal must show one live machine at a time. UNDERSTUDY_ROUNDS sets how many kills (3)."""
import os
import random
import signal
import subprocess
import sys
import time

import kv_load
import pair_rig
from pair_rig import COMMAND, Clients, Pair, require, serves, until

ROUNDS = int(os.environ.get('UNDERSTUDY_ROUNDS', '3'))
SEED = int(os.environ.get('UNDERSTUDY_SEED', '1'))


def kills(folder):
    chance = random.Random(SEED)
    with Pair(folder) as pair:
        live = pair.primary()
        pair.ready()
        clients = Clients(pair, seed=SEED)
        for round_ in range(ROUNDS):
            standby = pair.backup()
            standby.is_in('lock-step')
            serves(clients, 'in lock step')
            time.sleep(chance.random() * 0.5)
            live.kill()
            serves(clients, f'after kill {round_ + 1}')
            live = standby
        summary = clients.stop()
        require(summary['reconnects'] == 0, f'connections were lost: {summary}')
        reigns = pair.check_reigns()
        require(len(reigns) == ROUNDS + 1, f'{len(reigns)} reigns for {ROUNDS} kills')
        require(pair.console().count('ready') == 1, f'the console said: {pair.console()!r}')
        return f'{summary}'


def newcomer(folder):
    """Who connects while nobody is live need not knock a second time, which slirp does after six seconds: of all that
    the dead primary was sent, his is the last."""
    with Pair(folder) as pair:
        north = pair.primary()
        pair.ready()
        south = pair.backup()
        south.is_in('lock-step')
        clients = Clients(pair, clients=3, seed=6)
        until('much has been asked', lambda: len(clients.load.history) > 1000)
        north.kill()
        began = time.monotonic()
        connection = kv_load.Connection(('127.0.0.1', pair.port), pair_rig.LIMIT)
        connection.ask('GET newcomer')
        waited = time.monotonic() - began
        connection.close()
        clients.stop()
        require(waited < pair_rig.TIMEOUT_MS / 1000 + 3, f'he waited {waited:.1f} s')
        return f'{waited:.2f} s'


def handed_over(folder):
    with Pair(folder) as pair:
        north = pair.primary()
        pair.ready()
        south = pair.backup()
        south.is_in('lock-step')
        clients = Clients(pair, seed=2)
        serves(clients, 'before')
        subprocess.run([COMMAND, 'ctl', north.control, 'switchover'], check=True)
        require(north.code() == 0, f'the old primary ended with {north.process.returncode}: {north.said()[-500:]}')
        serves(clients, 'after the handover')
        require(south.status()['role'] == 'primary', 'the backup is not live')
        clients.stop()
        pair.check_reigns()


def stopped_and_continued(folder):
    with Pair(folder) as pair:
        north = pair.primary()
        pair.ready()
        south = pair.backup()
        south.is_in('lock-step')
        clients = Clients(pair, seed=3)
        serves(clients, 'before')
        north.kill(signal.SIGSTOP)
        until('the backup is live', lambda: (south.status() or {}).get('role') == 'primary')
        serves(clients, 'with the backup')
        north.kill(signal.SIGCONT)
        require(north.code() == 6, f'the deposed primary ended with {north.process.returncode}: {north.said()[-500:]}')
        serves(clients, 'after the old primary woke up')
        clients.stop()
        require([reign['epoch'] for reign in pair.check_reigns()] == [1, 2], 'other reigns than two')


def backup_lost(folder):
    with Pair(folder) as pair:
        north = pair.primary()
        pair.ready()
        south = pair.backup()
        south.is_in('lock-step')
        clients = Clients(pair, seed=4)
        serves(clients, 'in lock step')
        south.kill()
        north.is_in('alone')
        serves(clients, 'without a backup')
        require(north.status()['epoch'] == 2, 'going on alone takes an epoch')
        pair.backup().is_in('lock-step')
        serves(clients, 'with the next backup')
        clients.stop()


def recovered(folder):
    """Both are killed at once; a node's log has everything."""
    with Pair(folder) as pair:
        logs = [os.path.join(folder, name) for name in ('north', 'south')]
        north = pair.primary('--durable', '--log', logs[0])
        pair.ready()
        south = pair.backup('--durable', '--log', logs[1])
        south.is_in('lock-step')
        clients = Clients(pair, seed=5)
        serves(clients, 'in lock step')
        north.kill()
        south.kill()
        which = SEED % 2
        pair._start('recover', '--durable', '--log', logs[which]).is_in('alone')
        serves(clients, 'after the recovery')
        clients.stop()


if __name__ == '__main__':
    sys.exit(pair_rig.main([kills, newcomer, handed_over, stopped_and_continued, backup_lost, recovered]))
