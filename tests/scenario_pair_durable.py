#!/usr/bin/env python3
"""The logs that nodes keep, as processes: bounded on both nodes' disks, each with a snapshot to go on from, and complete
whenever both nodes are killed at once. UNDERSTUDY_ROUNDS sets how often that is (1)."""
import os
import re
import sys

import pair_rig
from pair_rig import Clients, Pair, require, serves, until

ROUNDS = int(os.environ.get('UNDERSTUDY_ROUNDS', '1'))
KEEP = 2


def stints(folder):
    return sorted(name for name in os.listdir(folder) if name.isdigit())


def bounded(folder):
    """Snapshots come often here, and a recording may be a MiB: both nodes go on in new ones and drop the old."""
    with Pair(folder) as pair:
        small = ('--durable', '--snapshot-every', '5', '--log-limit', '1', '--keep-logs', str(KEEP))
        logs = [os.path.join(folder, name) for name in ('north', 'south')]
        live, standby, clients = pair.lock_step((*small, '--log', logs[0]), (*small, '--log', logs[1]))
        newest = dict.fromkeys(logs, 0)
        for round_ in range(ROUNDS):
            for node, log in ((live, logs[0]), (standby, logs[1])):
                until(f'{node.name} has gone on in other recordings', lambda: int(stints(log)[-1]) > newest[log] + 2)
                until('the old ones are gone', lambda: len(stints(log)) <= KEEP + 1)
            serves(clients, 'with pruned logs')
            waits = live.status()['outputs']
            live.kill()
            standby.kill()
            which = round_ % 2
            newest = {log: int(stints(log)[-1]) for log in logs}
            live = pair._start('recover', *small, '--log', logs[which])
            live.is_in('alone')
            serves(clients, f'recovered from {logs[which]}')
            replayed = re.search(r'replaying \S+ from instruction (\d+) to (\d+)', live.said())
            require(int(replayed[1]) > 0, f'it began at power-on: {live.said()[-500:]}')
            standby = pair.backup(*small, '--log', logs[1 - which])
            standby.is_in('lock-step')
            logs = [logs[which], logs[1 - which]]
            serves(clients, 'repaired')
        summary = clients.stop()
        pair.check_reigns()
        require(summary['reconnects'] == 0, f'connections were lost: {summary}')
        return f'outputs waited {waits["median_wait_us"]} us; {len(stints(logs[0]))} and {len(stints(logs[1]))} recordings left'


def damaged_snapshots(folder):
    """A disk may lose what came last, or a bit of it: an older snapshot and the log after it have the same machine."""
    with Pair(folder) as pair:
        log = os.path.join(folder, 'north')
        options = ('--durable', '--snapshot-every', '5', '--log', log)
        live = pair.primary(*options)
        pair.ready()
        clients = Clients(pair)
        stint = os.path.join(log, stints(log)[0])

        def snapshots():
            counts = [re.fullmatch(r'snap-(\d+)\.snap', name) for name in os.listdir(stint)]
            return [os.path.join(stint, f'snap-{n}.snap') for n in sorted(int(count[1]) for count in counts if count)]

        until('there are four snapshots', lambda: len(snapshots()) >= 4)
        serves(clients, 'with snapshots')
        live.kill()
        *_, before, newest = snapshots()
        os.truncate(newest, os.path.getsize(newest) // 2)
        os.remove(before)
        live = pair._start('recover', *options)
        live.is_in('alone')
        serves(clients, 'recovered from an older snapshot')
        said = live.said()
        require(said.count('looking further back') >= 2, f'nothing was said of the damage: {said[-800:]}')
        require(int(re.search(r'replaying \S+ from instruction (\d+)', said)[1]) > 0, f'from power-on: {said[-500:]}')
        summary = clients.stop()
        pair.check_reigns()
        require(summary['reconnects'] == 0, f'connections were lost: {summary}')
        return f'{len(snapshots())} snapshots left'


if __name__ == '__main__':
    sys.exit(pair_rig.main([bounded, damaged_snapshots]))
