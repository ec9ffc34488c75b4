#!/usr/bin/env python3
"""A node dies at exactly the moments of the protocol at which it is most interesting: what clients were told is true
afterwards, whichever it was."""
import os
import sys

import pair_rig
from pair_rig import Clients, Pair, require, serves, until

# After so many of them, under load.
COUNT = int(os.environ.get('UNDERSTUDY_COUNT', '200'))


def dies_at(moment):
    def test(folder):
        with Pair(folder) as pair:
            live = pair.primary('--kill-at', f'{moment}:{COUNT}')
            pair.ready()
            standby = pair.backup()
            until('lock step', lambda: 'in lock step' in standby.said())
            clients = Clients(pair, seed=COUNT)
            require(live.code() == -9, f'the primary ended with {live.process.returncode}: {live.said()[-500:]}')
            serves(clients, f'after {moment}')
            require(standby.status()['role'] == 'primary', 'the backup is not live')
            summary = clients.stop()
            require(summary['reconnects'] == 0, f'connections were lost: {summary}')
            pair.check_reigns()
    test.__name__ = moment.replace('-', '_')
    return test


def backup_dies_in_transfer(folder):
    with Pair(folder) as pair:
        live = pair.primary()
        pair.ready()
        clients = Clients(pair, seed=7)
        serves(clients, 'alone')
        standby = pair.backup('--kill-at', 'transfer:1')
        require(standby.code() == -9, 'the backup did not die in the transfer')
        serves(clients, 'without the backup')
        pair.backup().is_in('lock-step')
        require(live.status()['epoch'] == 1, 'a backup that never was one cost an epoch')
        clients.stop()


def successor_dies(moment):
    """Both nodes are gone then; a durable log has everything."""
    def test(folder):
        with Pair(folder) as pair:
            logs = [os.path.join(folder, name) for name in ('north', 'south')]
            live = pair.primary('--durable', '--log', logs[0])
            pair.ready()
            standby = pair.backup('--durable', '--log', logs[1], '--kill-at', moment)
            standby.is_in('lock-step')
            clients = Clients(pair, seed=8)
            serves(clients, 'in lock step')
            live.kill()
            require(standby.code() == -9, f'the successor ended with {standby.process.returncode}')
            # It had won the epoch, and its log may not know: its own name at the arbiter is enough for its log, and
            # against the other's.
            refused = pair._start('recover', '--durable', '--log', logs[0])
            require(refused.code() == 2 and 'reigned last, in epoch 2' in refused.said(), f'{refused.said()}')
            recovered = pair._start('recover', '--durable', '--log', logs[1])
            recovered.is_in('alone')
            require(recovered.status()['epoch'] == 3, f'{recovered.status()}')
            serves(clients, 'after the recovery')
            again = pair._start('recover', '--durable', '--log', logs[1])
            require(again.code() == 2 and 'still writes this log' in again.said(), f'{again.said()}')
            clients.stop()
    test.__name__ = 'successor_dies_at_' + moment.replace('-', '_')
    return test


if __name__ == '__main__':
    sys.exit(pair_rig.main([*(dies_at(moment) for moment in (
        'input-not-logged', 'logged-not-sent', 'sent-not-acknowledged', 'acknowledged-not-sent', 'output-sent')),
        backup_dies_in_transfer, *(successor_dies(moment) for moment in ('takeover-won', 'takeover-live'))]))
