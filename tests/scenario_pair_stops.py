#!/usr/bin/env python3
"""A node of a pair is stopped (SIGSTOP) under load and continued after a while: it wakes up deposed, says so, and changes
nothing in the world. A stop shorter than the timeout costs nothing. UNDERSTUDY_STOPS='1 10 60' are the seconds (1)."""
import os
import signal
import sys
import time

import pair_rig
from pair_rig import Pair, require, serves

STOPS = [float(seconds) for seconds in os.environ.get('UNDERSTUDY_STOPS', '1').split()]
# Shorter than the shortest stop, if the host allows.
pair_rig.TIMEOUT_MS = min(pair_rig.TIMEOUT_MS, 600)


def of_either(folder):
    """In turn the primary and the backup; each is replaced by a new node."""
    with Pair(folder) as pair:
        live, standby, clients = pair.lock_step()
        epochs = 1
        for seconds in STOPS:
            for of_primary in (True, False):
                stopped, other = (live, standby) if of_primary else (standby, live)
                serves(clients, 'in lock step')
                began = time.monotonic()
                stopped.kill(signal.SIGSTOP)
                other.is_in('alone')
                serves(clients, 'with the other node')
                time.sleep(max(0, began + seconds - time.monotonic()))
                stopped.kill(signal.SIGCONT)
                require(stopped.code() == 6, f'{stopped.name} ended with {stopped.process.returncode}: {stopped.said()[-500:]}')
                serves(clients, f'after {stopped.name} woke up')
                epochs += 1
                require(other.status()['epoch'] == epochs, f'{other.status()} after {epochs - 1} stops')
                live, standby = other, pair.backup()
                standby.is_in('lock-step')
        summary = clients.stop()
        require(summary['reconnects'] == 0, f'connections were lost: {summary}')
        reigns = pair.check_reigns()
        nodes = {reign['node'] for reign in reigns}
        require(reigns[-1]['epoch'] == epochs, f'{reigns}')
        return f'{epochs - 1} stops, {len(nodes)} nodes reigned; {summary}'


def short_of_the_timeout(folder):
    pair_rig.TIMEOUT_MS, before = 4000, pair_rig.TIMEOUT_MS
    try:
        with Pair(folder) as pair:
            *nodes, clients = pair.lock_step()
            for node in nodes:
                serves(clients, 'in lock step')
                node.kill(signal.SIGSTOP)
                time.sleep(0.5)
                node.kill(signal.SIGCONT)
            serves(clients, 'after both')
            require(nodes[0].status()['state'] == 'lock-step' and nodes[0].status()['epoch'] == 1, 'the pair was broken over it')
            clients.stop()
    finally:
        pair_rig.TIMEOUT_MS = before


if __name__ == '__main__':
    sys.exit(pair_rig.main([of_either, short_of_the_timeout]))
