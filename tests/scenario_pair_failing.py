#!/usr/bin/env python3
"""A pair with a node that is there but does not do its work: a backup with a third of a CPU, one whose machine hangs, one
that gets a damaged stream, one whose memory has changed; a primary whose machine hangs. The service goes on, or slows, and
says why; a backup that has diverged is never promoted. UNDERSTUDY_ONLY='slow' picks scenarios."""
import os
import signal
import sys
import threading
import time

import pair_rig
from pair_rig import Pair, require, serves, until
from scenario_pair_relay import RelayedPair

GIVE_UP = ('--give-up', '1500')


class Limited:
    """A process that has the CPU for a part of the time."""

    def __init__(self, process, share, period=0.05):
        self._process, self._share, self._period = process, share, period
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._over.is_set():
            self._process.send_signal(signal.SIGSTOP)
            time.sleep(self._period * (1 - self._share))
            self._process.send_signal(signal.SIGCONT)
            time.sleep(self._period * self._share)

    def end(self):
        self._over.set()
        self._thread.join()


def slow(folder):
    with Pair(folder) as pair:
        live, standby, clients = pair.lock_step()
        limited = Limited(standby.process, 0.3, period=0.5)
        serves(clients, 'with a slow backup')
        until('the primary says why it is slow', lambda: "ms for the backup's acknowledgement" in live.said())
        limited.end()
        serves(clients, 'with a quick one again')
        require(live.status()['state'] == 'lock-step' and live.status()['epoch'] == 1, f'{live.said()[-500:]}')
        summary = clients.stop()
        pair.check_reigns()
        return f'{summary["answered_per_s"]} answers a second, longest wait {summary["longest_wait_s"]} s; {live.status()["slowed"]}'


def slow_at_computing(folder):
    """A server waits for its acknowledged outputs anyhow; who only computes would run away from such a backup."""
    with Pair(folder, os.path.join(os.environ['UNDERSTUDY_FIRMWARE'], 'cpu_bench.elf'), ('--unpaced', '--memory', '64')) as pair:
        live, standby = pair.primary(), pair.backup()
        until(f'lock step; {standby.said()[-1500:]}', lambda: 'in lock step' in standby.said())
        limited = Limited(standby.process, 0.3)
        until('the primary says that it waits', lambda: 'to wait for its backup' in live.said())
        slowed = live.status()['slowed']
        limited.end()
        require(live.code() == 33 and standby.code() == 33, f'ended with {live.process.returncode} and {standby.process.returncode}')
        return str(slowed)


def backup_hangs(folder):
    with Pair(folder) as pair:
        live, standby, clients = pair.lock_step(GIVE_UP, (*GIVE_UP, '--hang-at', 'entry-applied:500'))
        until('the backup is given up', lambda: 'is lost: it' in live.said())
        require('has not moved for' in live.said(), f'why? {live.said()[-500:]}')
        serves(clients, 'without the backup')
        standby.kill()
        pair.backup().is_in('lock-step')
        clients.stop()
        pair.check_reigns()


def primary_hangs(folder):
    with Pair(folder) as pair:
        live, standby, clients = pair.lock_step((*GIVE_UP, '--hang-at', 'input-not-logged:300'), GIVE_UP)
        until('the backup is live', lambda: (standby.status() or {}).get('role') == 'primary')
        require('has not moved for' in live.said(), f'why? {live.said()[-500:]}')
        serves(clients, 'with the backup')
        clients.stop()
        pair.check_reigns()


def damaged(folder):
    """Bits of the log turn over on their way; what is lost is sent again, or one of the nodes is given up."""
    with RelayedPair(folder) as pair:
        live, standby, clients = pair.lock_step()
        log = pair.log_relays[live.name]
        log.damage.update(back=0.02)
        until('a few pieces are damaged', lambda: log.damaged >= 3)
        serves(clients, 'in spite of it')
        log.recover()
        serves(clients, 'after it')
        clients.stop()
        reigns = pair.check_reigns()
        return f'{log.damaged} pieces damaged, {len(reigns)} reigns'


def diverged(folder):
    with Pair(folder) as pair:
        live, standby, clients = pair.lock_step((), ('--inject-ram-flip', '1:0x9f000:3'))
        until('it is noticed', lambda: 'diverged at icount' in standby.said())
        until('the primary hears of it', lambda: 'is lost: it says: diverged' in live.said())
        until('the same node is in lock step again', lambda: standby.said().count('in lock step') == 2)
        require(live.status()['role'] == 'primary' and standby.status()['role'] == 'backup', 'it was promoted')
        serves(clients, 'repaired')
        live.kill()
        serves(clients, 'with the repaired backup')
        summary = clients.stop()
        require(summary['reconnects'] == 0, f'connections were lost: {summary}')
        reigns = [(reign['epoch'], reign['node'].split('/')[0]) for reign in pair.check_reigns(may_diverge=True)]
        require(reigns == [(1, live.name), (2, live.name), (3, standby.name)], f'reigns {reigns}')


TESTS = [slow, slow_at_computing, backup_hangs, primary_hangs, damaged, diverged]

if __name__ == '__main__':
    only = os.environ.get('UNDERSTUDY_ONLY', ' '.join(test.__name__ for test in TESTS)).split()
    sys.exit(pair_rig.main([test for test in TESTS if test.__name__ in only]))
