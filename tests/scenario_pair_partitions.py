#!/usr/bin/env python3
"""A pair, its clients and its arbiter (etcd, where there is one), each in a network namespace of its own, and the network
between them cut: both directions, one, only the arbiter's. Whatever is cut, there are never two live machines, by the
hub's and the arbiter's records, and no acknowledged write is lost; the service goes on wherever the design says so.
UNDERSTUDY_ONLY='both_ways' picks scenarios, 'all' takes all."""
import os
import shutil
import subprocess
import sys
import time

import netns
import pair_rig
from pair_rig import COMMAND, Pair, require, serves, until

HUB_PORT, LOG_PORT, ETCD_PORT = 7100, 7200, 2379


class PartedPair(Pair):
    """node1 is in `north`, and of the nodes after it each in the place where nobody is; the hub in `world`."""

    def __init__(self, folder):
        self.network = netns.Network('north', 'south', 'arbiter')
        self.places, self.etcd = {}, None
        arbiter = None
        if shutil.which('etcd'):
            client = f'http://{self.network.address["arbiter"]}:{ETCD_PORT}'
            self.etcd = pair_rig.start_etcd(folder, client, 'http://127.0.0.1:2380', netns.within('arbiter'))
            arbiter = f'etcd:{client}'
        super().__init__(folder, arbiter=arbiter, hub=f'tcp://{self.network.address["world"]}:{HUB_PORT}')

    def __exit__(self, *_):
        super().__exit__()
        if self.etcd:
            self.etcd.kill()
            self.etcd.wait()
        self.network.close()

    def place(self, name):
        if name == 'hub':
            return 'world'
        if name not in self.places:
            taken = {self.places[node.name] for node in self.nodes if node.process.poll() is None}
            self.places[name] = next(place for place in ('north', 'south') if place not in taken)
        return self.places[name]

    def before_command(self, name):
        return netns.within(self.place(name))

    def every_command(self):
        return ['--insecure']

    def log_address(self, name):
        return f'tcp://{self.network.address[self.place(name)]}:{LOG_PORT}'

    def arbiter_says(self):
        done = subprocess.run([COMMAND, 'arbiter', self.arbiter], stdout=subprocess.PIPE, text=True)
        return done.stdout

    def repaired(self, clients):
        self.network.heal()
        self.backup().is_in('lock-step')
        serves(clients, 'repaired')

    def over(self, clients, epochs):
        clients.stop()
        reigns = self.check_reigns()
        require([reign['epoch'] for reign in reigns] == epochs, f'reigns {reigns}, and not {epochs}')
        require(reigns[-1]['node'] in self.arbiter_says(), f'the hub says {reigns[-1]}, the arbiter {self.arbiter_says()}')


def nodes_parted(name, *cuts):
    """The nodes hear nothing, or only one the other, and both reach everybody else: one of them goes on."""
    def test(folder):
        with PartedPair(folder) as pair:
            north, south, clients = pair.lock_step()
            pair.network.cut(*cuts)
            pair.one_of(north, south)
            serves(clients, 'with one of them')
            pair.repaired(clients)
            pair.over(clients, [1, 2])
    test.__name__ = name
    return test


def primary_alone(folder):
    """The primary hears nobody: its backup takes over, and it finds that out when it hears again."""
    with PartedPair(folder) as pair:
        north, south, clients = pair.lock_step()
        pair.network.cut_off('north', 'world', 'south', 'arbiter')
        south.is_in('alone')
        serves(clients, 'with the backup')
        if pair.etcd:
            north.is_in('deciding')
        pair.network.heal()
        require(north.code() == 6, f'the old primary ended with {north.process.returncode}')
        pair.repaired(clients)
        pair.over(clients, [1, 2])


def backup_alone(folder):
    with PartedPair(folder) as pair:
        north, south, clients = pair.lock_step()
        pair.network.cut_off('south', 'world', 'north', 'arbiter')
        north.is_in('alone')
        serves(clients, 'without a backup')
        pair.network.heal()
        require(south.code() == 6, f'the old backup ended with {south.process.returncode}')
        pair.repaired(clients)
        pair.over(clients, [1, 2])


def arbiter_away(folder):
    """Nobody reaches the arbiter: lock step goes on. When the nodes lose each other then, nothing leaves before it is back."""
    with PartedPair(folder) as pair:
        if not pair.etcd:
            return 'not done: no etcd here'
        north, south, clients = pair.lock_step()
        pair.network.cut_off('arbiter', 'north', 'south')
        serves(clients, 'without an arbiter')
        pair.network.cut_off('north', 'south')
        north.is_in('deciding')
        until('the backup asks', lambda: 'arbiter cannot be asked' in south.said())
        until('outputs wait', lambda: north.status()['outputs']['held'] > 0)
        before = len(clients.load.history)
        require(north.status()['state'] == 'deciding' and south.status()['role'] == 'backup', 'somebody went live')
        require(len(clients.load.history) <= before + 4, 'answers leave although nobody may be live')
        pair.network.heal()
        pair.one_of(north, south)
        serves(clients, 'with one of them')
        pair.repaired(clients)
        pair.over(clients, [1, 2])


def stands_still(clients):
    before = len(clients.load.history)
    time.sleep(0.5)
    return len(clients.load.history) == before


def hub_away(folder):
    """The clients' side is out of the primary's reach for a while: what it held for them arrives then."""
    with PartedPair(folder) as pair:
        north, _, clients = pair.lock_step()
        pair.network.cut_off('north', 'world')
        until('the clients wait', lambda: stands_still(clients))
        pair.network.heal()
        serves(clients, 'with the hub in reach again')
        require(north.status()['state'] == 'lock-step', 'the pair was broken over it')
        pair.over(clients, [1])


TESTS = [nodes_parted('both_ways', ('north', 'south'), ('south', 'north')), nodes_parted('one_way', ('north', 'south')),
         nodes_parted('other_way', ('south', 'north')), primary_alone, backup_alone, arbiter_away, hub_away]

if __name__ == '__main__':
    netns.enter()
    only = os.environ.get('UNDERSTUDY_ONLY', 'both_ways one_way primary_alone arbiter_away').split()
    sys.exit(pair_rig.main([test for test in TESTS if test.__name__ in only or only == ['all']]))
