#!/usr/bin/env python3
"""The black box: a pair's primary is killed, and both its own recording and the log that its backup received open in
`understudy debug` at their last complete entry, from where one can go back."""
import os
import re
import sys

import pair_rig
from gdb_session import Debugged
from pair_rig import Clients, Pair, require, serves, until


def stint(folder):
    """The recording of a node's only stint."""
    stints = [name for name in os.listdir(folder) if name.isdigit()]
    require(len(stints) == 1, f'{folder} has {stints}')
    return os.path.join(folder, stints[0])


class Box:
    """A recording under a debugger: it opens at its end, and one can go back from there."""

    def __init__(self, folder, what):
        with Debugged(folder) as debugged, debugged.client() as client:
            said = client.monitor('seek end')
            self.last = int(re.search(r'instruction (\d+)', said)[1])
            require(f'to {self.last}\n' in debugged.said, f'{what}: {said}, {debugged.said}')
            digest = client.monitor('digest')
            stop, _ = client.run('vCont;c')
            require(stop.startswith('T05replaylog:end;'), f'{what}: {stop}')
            for _ in range(20):
                stop, _ = client.run('bs')
                require(stop.startswith('T05') and 'replaylog' not in stop, f'{what}: {stop}')
            require(f'instruction {self.last},' not in client.monitor('when'), f'{what}: it did not go back')
            client.monitor('seek end')
            require(client.monitor('digest') == digest, f'{what}: its end is another')
        self.folder = folder

    def digest(self, icount):
        with Debugged(self.folder) as debugged, debugged.client() as client:
            client.monitor(f'seek {icount}')
            return client.monitor('digest')


def killed(folder, both):
    with Pair(folder) as pair:
        logs = [os.path.join(folder, name) for name in ('north', 'south')]
        north = pair.primary('--log', logs[0])
        pair.ready()
        south = pair.backup('--log', logs[1])
        south.is_in('lock-step')
        clients = Clients(pair, seed=7)
        serves(clients, 'in lock step')
        until('much has been asked', lambda: len(clients.load.history) > 500)
        north.kill()
        if not both:
            serves(clients, 'after the kill')
        south.kill()
        primary, backup = Box(stint(logs[0]), "the primary's"), Box(stint(logs[1]), "the backup's")
        require(primary.last > 0, 'nothing is left of the primary')
        if not both:
            require(backup.last > primary.last, f'the backup went on from {primary.last} and ends at {backup.last}')
        # What both have is one machine. Of the last count, one of them may have fewer entries.
        at = min(primary.last, backup.last) - 1
        require(primary.digest(at) == backup.digest(at), f'at instruction {at} they are two machines')
        return f'they end at instructions {primary.last} and {backup.last}'


def primary_killed(folder):
    return killed(folder, both=False)


def both_killed(folder):
    return killed(folder, both=True)


if __name__ == '__main__':
    sys.exit(pair_rig.main([primary_killed, both_killed]))
