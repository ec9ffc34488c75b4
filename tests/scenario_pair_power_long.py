#!/usr/bin/env python3
"""The power fails for all at once, fifty times at random moments, under load and with --durable: primary and backup, and
the hub (and the disk's server) in some of them, are killed together; `understudy recover` goes on from whichever log is of the last epoch. In the
end the clients' history must be linearizable, with no acknowledged write lost. UNDERSTUDY_ROUNDS sets how often (50),
UNDERSTUDY_SEED when."""
# labels: long
import os
import random
import sys
import time

import pair_rig
from nbd_rig import DiskServer, missing_records, records_in
from scenario_pair_disk import PASSED, DiskPair
from pair_rig import Clients, Pair, require, serves, until

ROUNDS = int(os.environ.get('UNDERSTUDY_ROUNDS', '50'))
SEED = int(os.environ.get('UNDERSTUDY_SEED', '1'))


class Site:
    """A pair's machine, through its power failures."""

    def __init__(self, pair, chance):
        self.pair, self.chance = pair, chance
        self.logs = 0
        self.live = self.standby = None

    def _durable(self):
        self.logs += 1
        return ('--durable', '--log', os.path.join(self.pair.scratch, f'log{self.logs}'), '--snapshot-every', '300')

    def start(self):
        self.live = self.pair.primary(*self._durable())
        self.live.arguments = self.logs

    def join(self):
        self.standby = self.pair.backup(*self._durable())
        self.standby.arguments = self.logs

    def fail(self, server=None):
        """True if the hub was among those that were lost."""
        victims = [self.live, self.standby]
        if self.chance.random() < 0.3:
            victims.append(self.pair.hub)
        if server and self.chance.random() < 0.5:
            victims.append(server)
        hub_too = self.pair.hub in victims
        self.chance.shuffle(victims)
        for victim in victims:
            victim.process.kill()
        for victim in victims:
            victim.process.wait()
        if server in victims:
            server.start_file()
        if hub_too:
            self.pair.start_hub()
        return hub_too

    def recover(self):
        """From one of the two logs, or from the other where the first is refused as not of the last epoch."""
        candidates = [self.live, self.standby]
        self.chance.shuffle(candidates)
        said = []
        for node in candidates:
            folder = os.path.join(self.pair.scratch, f'log{node.arguments}')
            again = self.pair._start('recover', '--durable', '--log', folder, '--snapshot-every', '300')
            again.arguments = node.arguments
            until('it recovers, or says why not', lambda: again.process.poll() is not None or
                  (again.status() or {}).get('state') == 'alone')
            if again.process.poll() is None:
                self.live = again
                return
            require(again.process.returncode == 2, f'recover ended with {again.process.returncode}: {again.said()[-800:]}')
            said.append(again.said()[-400:])
        raise AssertionError(f'neither log can be gone on from: {said}')


def power_failures(folder):
    chance = random.Random(SEED)
    with Pair(folder) as pair:
        site = Site(pair, chance)
        site.start()
        pair.ready()
        clients = Clients(pair, seed=SEED)
        hubs = 0
        for round_ in range(ROUNDS):
            site.join()
            if chance.random() < 0.8:
                site.standby.is_in('lock-step')
                serves(clients, f'in lock step, round {round_ + 1}')
            time.sleep(chance.random() * 0.7)
            hubs += site.fail()
            site.recover()
            serves(clients, f'after power failure {round_ + 1}')
        summary = clients.stop()
        pair.check_reigns()
        return f'{hubs} with the hub; {summary}'


def power_failures_with_a_disk(folder):
    """The guest keeps a journal on a shared disk, and finds at its end what it wrote."""
    chance = random.Random(SEED)
    with DiskServer(folder).start_file() as server, DiskPair(folder, server, records=300 * ROUNDS) as pair:
        site = Site(pair, chance)
        site.start()
        rounds = 0

        def goes_on(what):
            before = max(records_in(server.image))
            until(f'the guest writes {what}', lambda: max(records_in(server.image)) > before + 20 or over())

        def over():
            return site.live.process.poll() is not None
        goes_on('at first')
        while rounds < ROUNDS and not over():
            site.join()
            if chance.random() < 0.8:
                until('lock step', lambda: over() or 'in lock step' in site.standby.said())
            time.sleep(chance.random() * 0.7)
            if over():
                break
            site.fail(server)
            rounds += 1
            site.recover()
            goes_on(f'after power failure {rounds}')
        # A hundred records a second, that the failures left of them.
        while not over():
            goes_on('to its end')
        require(rounds > ROUNDS / 2, f'the guest was over after {rounds} power failures')
        require(site.live.code() == PASSED, f'the guest ended with {site.live.process.returncode}: {pair.console()[-300:]}')
        require(missing_records(server.image, 1, pair.records) == [], 'records are missing in the image')
        return f'{rounds} power failures, {pair.records} records'


if __name__ == '__main__':
    sys.exit(pair_rig.main([power_failures, power_failures_with_a_disk]))
