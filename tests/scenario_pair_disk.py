#!/usr/bin/env python3
"""A pair whose disk is shared, at a server behind the hub, under a guest that keeps a journal on it: nodes are killed at
random and at the moments of a disk write, stopped and continued, the hub and the disk's server killed. Each time the guest
goes on to its end and finds what it wrote, what it said is safe is in the image, and who was deposed changes nothing
there. And a pair of which each node has a copy of its own, of a qcow2 image. UNDERSTUDY_ROUNDS sets how many kills (2)."""
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pair_rig
from nbd_rig import DiskServer, missing_records
from pair_rig import Pair, require, until

ROUNDS = int(os.environ.get('UNDERSTUDY_ROUNDS', '2'))
SEED = int(os.environ.get('UNDERSTUDY_SEED', '1'))
JOURNAL = os.path.join(os.environ['UNDERSTUDY_FIRMWARE'], 'disk_journal.elf')
EVERY = 10
PASSED = 33  # the guest's verdict


class JournalPair(Pair):
    """Its guest writes records to a disk, and says of every tenth that it is safe."""

    def __init__(self, folder, disk, kind, records, **more):
        self.records = records
        super().__init__(folder, [JOURNAL, '--append', f'disk={kind} records={records} every={EVERY} pause=1'],
                         ('--virtio-disk' if kind == 'virtio' else '--disk', disk, '--memory', '16'), **more)

    def safe(self):
        """What the guest has said last, once."""
        lines = [line for line in self.console().splitlines(keepends=True) if line.startswith('safe') and line.endswith('\n')]
        said = [int(line.split()[1]) for line in lines]
        require(said == list(range(EVERY, EVERY * len(said) + 1, EVERY)), f'the console said {said}')
        return said[-1] if said else 0

    def goes_on(self, what, by=3 * EVERY):
        before = self.safe()
        until(f'the guest goes on {what}; {[node.said()[-600:] for node in [self.hub, *self.nodes]]}',
              lambda: self.safe() >= min(before + by, self.records))

    def lock_step(self, primary=(), backup=()):
        live = self.primary(*primary)
        self.goes_on('alone', EVERY)
        standby = self.backup(*backup)
        standby.is_in('lock-step')
        return live, standby

    def finish(self, live):
        require(live.code() == PASSED, f'the guest ended with {live.process.returncode}: {self.console()[-300:]} '
                                       f'{live.said()[-500:]}')
        require(f'records {max(1, self.records - 255)} to {self.records} are there' in self.console(), self.console()[-300:])
        self.check_reigns()


class DiskPair(JournalPair):
    def __init__(self, folder, server, kind='virtio', records=250):
        self.server = server
        super().__init__(folder, 'hub:data', kind, records, hub_options=('--disk', f'data={server.socket}'))

    def check_image(self, last):
        # The oldest of them are just being written over.
        missing = missing_records(self.server.image, max(1, last - 200), last)
        require(not missing, f'said to be safe, and not in the image: {missing}')

    def finish(self, live):
        super().finish(live)
        require(missing_records(self.server.image, 1, self.records) == [], 'records are missing in the image')


def kills(kind):
    def test(folder):
        chance = random.Random(SEED)
        with DiskServer(folder).start_file() as server, DiskPair(folder, server, kind, records=300 * ROUNDS) as pair:
            live = pair.primary()
            for round_ in range(ROUNDS):
                standby = pair.backup()
                standby.is_in('lock-step')
                pair.goes_on('in lock step')
                time.sleep(chance.random() * 0.2)
                live.kill()
                pair.check_image(pair.safe())
                pair.goes_on(f'after kill {round_ + 1}')
                live = standby
            pair.finish(live)
            require(len(pair.reigns()) == ROUNDS + 1, 'other reigns than kills')
            disk = pair.hub.status()['disks'][0]
            return f'{disk["writes"]} writes, {disk["reads"]} reads, {disk["superseded"]} superseded'
    test.__name__ = f'kills_{kind}'
    return test


def dies_at(moment, kind='virtio'):
    """The moments come while the primary is alone, too: if it dies before the backup is there, it gets more of them."""
    def test(folder):
        for number, count in enumerate((150, 500, 2000)):
            place = os.path.join(folder, str(number))
            os.mkdir(place)
            with DiskServer(place).start_file() as server, DiskPair(place, server, kind, records=200 + count) as pair:
                live = pair.primary('--kill-at', f'{moment}:{count + random.Random(SEED).randrange(50)}')
                standby = pair.backup()
                require(live.code() == -9, f'the primary ended with {live.process.returncode}: {live.said()[-500:]}')
                until('the backup is live, or never was one', lambda: any(words in standby.said() for words in (
                    'live at icount', 'cannot take over', 'was lost before', 'no live node answers')))
                if 'live at icount' in standby.said():
                    pair.check_image(pair.safe())
                    pair.finish(standby)
                    return f'the {count}th and some'
        raise AssertionError('the primary died each time before the backup was there')
    test.__name__ = moment.replace('-', '_')
    return test


def stopped_and_continued(folder):
    """The old primary comes back when the new one has ended: not a byte of the image changes."""
    with DiskServer(folder).start_file() as server, DiskPair(folder, server) as pair:
        north, south = pair.lock_step()
        pair.goes_on('in lock step')
        north.kill(signal.SIGSTOP)
        until('the backup is live', lambda: (south.status() or {}).get('role') == 'primary')
        pair.finish(south)
        with open(server.image, 'rb') as image:
            before = image.read()
        north.kill(signal.SIGCONT)
        require(north.code() == 6, f'the deposed primary ended with {north.process.returncode}: {north.said()[-500:]}')
        with open(server.image, 'rb') as image:
            require(image.read() == before, 'the deposed primary changed the image')
        return f'fenced: {pair.hub.status()["fenced"]}'


def backup_lost(folder):
    with DiskServer(folder).start_file() as server, DiskPair(folder, server) as pair:
        north, south = pair.lock_step()
        pair.goes_on('in lock step')
        south.kill()
        north.is_in('alone')
        pair.goes_on('without a backup')
        pair.finish(north)


def hub_lost(folder):
    with DiskServer(folder).start_file() as server, DiskPair(folder, server) as pair:
        north, south = pair.lock_step()
        pair.goes_on('in lock step')
        pair.hub.kill()
        # Its console's file begins anew; what the guest says is not lost, but that is another scenario's.
        os.rename(os.path.join(folder, 'console'), os.path.join(folder, 'console.first'))
        pair.start_hub()
        north.kill()
        require(south.code() == PASSED, f'the guest ended with {south.process.returncode}: {south.said()[-500:]}')
        require(missing_records(server.image, 1, pair.records) == [], 'records are missing in the image')


def server_lost(folder):
    """The primary dies while the disk's server is away."""
    with DiskServer(folder).start_file() as server, DiskPair(folder, server) as pair:
        north, south = pair.lock_step()
        pair.goes_on('in lock step')
        server.kill()
        until('requests wait', lambda: pair.hub.status()['disks'][0]['waiting'])
        until('the user is told', lambda: 'is gone' in pair.hub.said())
        until('the node says what it waits for', lambda: 'the guest has waited for it' in north.said())
        north.kill()
        until('the backup is live', lambda: (south.status() or {}).get('role') == 'primary')
        server.start_file()
        pair.finish(south)


def recovered(folder):
    """All are killed at once; a durable log and the disk have everything."""
    with DiskServer(folder).start_file() as server, DiskPair(folder, server) as pair:
        logs = [os.path.join(folder, name) for name in ('north', 'south')]
        north, south = pair.lock_step(('--durable', '--log', logs[0]), ('--durable', '--log', logs[1]))
        pair.goes_on('in lock step')
        north.kill()
        south.kill()
        live = pair._start('recover', '--durable', '--log', logs[SEED % 2])
        live.is_in('alone')
        pair.goes_on('after the recovery')
        pair.finish(live)


def copies_of_qcow2(folder):
    """The guest's writes stay with the machine, and move with it to whoever joins; the image is opened to be read only."""
    if not shutil.which('qemu-img') or not shutil.which('qemu-nbd'):
        return 'left out: qemu-img and qemu-nbd are missing'
    image = os.path.join(folder, 'disk.qcow2')
    subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', image, '8M'], check=True)
    with open(image, 'rb') as file:
        before = file.read()
    with JournalPair(folder, image, 'virtio', records=300 * ROUNDS) as pair:
        live = pair.primary()
        for round_ in range(ROUNDS):
            standby = pair.backup()
            standby.is_in('lock-step')
            pair.goes_on('in lock step')
            live.kill()
            pair.goes_on(f'after kill {round_ + 1}')
            live = standby
        pair.finish(live)
        require(len(pair.reigns()) == ROUNDS + 1, 'other reigns than kills')
    with open(image, 'rb') as file:
        require(file.read() == before, 'the image was written')


if __name__ == '__main__':
    sys.exit(pair_rig.main([kills('virtio'), *(dies_at(moment) for moment in ('disk-request-sent', 'disk-answer-not-logged')),
                            stopped_and_continued, hub_lost, server_lost, recovered, copies_of_qcow2]))
