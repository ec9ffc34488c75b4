#!/usr/bin/env python3
"""A pair whose connections, the log's and the hub's, pass through relays (tests/relay.py) that delay, stall, throttle and
reset them, or leave them half-open. Short trouble costs nothing but time; long trouble costs one of the nodes, never two
live machines, never an acknowledged write. UNDERSTUDY_ONLY='log_reset' picks scenarios, 'all' takes all."""
import os
import sys
import time

import pair_rig
from pair_rig import Clients, Pair, free_port, require, serves, until
from relay import Relay

PATIENCE_S = pair_rig.TIMEOUT_MS / 1000
# The hub's heartbeats find a dead connection within 1.2 s; the rest is for a busy host.
HALF_OPEN_S = 3


class RelayedPair(Pair):
    def __init__(self, folder):
        self.log_relays, self.hub_relays = {}, {}
        self.hub_port = free_port()
        super().__init__(folder, hub=f'tcp://127.0.0.1:{self.hub_port}')

    def __exit__(self, *_):
        super().__exit__()
        for relay in (*self.log_relays.values(), *self.hub_relays.values()):
            relay.close()

    def log_address(self, name):
        return f'tcp://127.0.0.1:{free_port()}'

    def way_to(self, name, address):
        self.log_relays[name] = Relay(('127.0.0.1', int(address.rsplit(':', 1)[1])))
        return self.log_relays[name].address

    def hub_for(self, name):
        self.hub_relays[name] = Relay(('127.0.0.1', self.hub_port))
        return self.hub_relays[name].address

    def over(self, clients, epochs):
        summary = clients.stop()
        require(summary['reconnects'] == 0, f'connections were lost: {summary}')
        reigns = self.check_reigns()
        require([reign['epoch'] for reign in reigns] == epochs, f'reigns {reigns}, and not {epochs}')
        return f'longest wait {summary["longest_wait_s"]:.2f} s, {summary["answered_per_s"]:.0f} answers a second'


def still_a_pair(pair, north, south, clients, what):
    serves(clients, what)
    until(f'lock step {what}', lambda: (south.status() or {}).get('state') == 'lock-step')
    require(north.status()['state'] == 'lock-step', f'the pair was broken {what}: {north.said()[-500:]}')


def log_delayed(folder):
    with RelayedPair(folder) as pair:
        north, south, clients = pair.lock_step()
        log = pair.log_relays[north.name]
        log.delay.update(to=0.05, back=0.05)
        still_a_pair(pair, north, south, clients, 'delayed')
        return pair.over(clients, [1])


def answers_a_second(clients):
    before, began = len(clients.load.history), time.monotonic()
    time.sleep(0.5)
    return (len(clients.load.history) - before) / (time.monotonic() - began)


def log_throttled(folder):
    """The log gets less than it needs: the clients wait for it, and that is all."""
    with RelayedPair(folder) as pair:
        north, south, clients = pair.lock_step()
        log = pair.log_relays[north.name]
        before = answers_a_second(clients)
        log.rate.update(back=10_000)
        until('answers are few', lambda: answers_a_second(clients) < before / 2)
        still_a_pair(pair, north, south, clients, 'throttled')
        log.recover()
        still_a_pair(pair, north, south, clients, 'after that')
        return pair.over(clients, [1])


def log_reset(folder):
    with RelayedPair(folder) as pair:
        north, south, clients = pair.lock_step()
        log = pair.log_relays[north.name]
        for _ in range(10):
            before = log.connections
            log.reset()
            until('it is connected again', lambda: log.connections > before)
            still_a_pair(pair, north, south, clients, 'after a reset')
        return pair.over(clients, [1])


def log_stalls(folder):
    """Shorter than the timeout."""
    with RelayedPair(folder) as pair:
        north, south, clients = pair.lock_step()
        log = pair.log_relays[north.name]
        for way in ('to', 'back', 'to'):
            log.stalled[way] = True
            time.sleep(PATIENCE_S / 4)
            log.stalled[way] = False
            still_a_pair(pair, north, south, clients, f'after a stall, {way}')
        return pair.over(clients, [1])


def log_silent(way):
    def test(folder):
        with RelayedPair(folder) as pair:
            north, south, clients = pair.lock_step()
            log = pair.log_relays[north.name]
            log.stalled[way] = True
            pair.one_of(north, south)
            serves(clients, 'with one of them')
            log.recover()
            pair.backup().is_in('lock-step')
            serves(clients, 'repaired')
            return pair.over(clients, [1, 2])
    test.__name__ = f'log_silent_{way}'
    return test


def log_half_open(folder):
    with RelayedPair(folder) as pair:
        north, south, clients = pair.lock_step()
        log = pair.log_relays[north.name]
        log.forget()
        pair.one_of(north, south)
        serves(clients, 'with one of them')
        log.recover()
        pair.backup().is_in('lock-step')
        return pair.over(clients, [1, 2])


def joining_is_reset(folder):
    """Whatever is lost of a state transfer, it ends, or is begun anew."""
    with RelayedPair(folder) as pair:
        north = pair.primary()
        pair.ready()
        clients = Clients(pair)
        log = pair.log_relays[north.name]
        log.rate.update(back=20_000)
        south = pair.backup()
        for _ in range(5):
            before = log.connections
            time.sleep(0.3)
            log.reset()
            until('it is connected again', lambda: log.connections > before)
        log.rate.update(back=None)
        south.is_in('lock-step')
        still_a_pair(pair, north, south, clients, 'after all')
        north.kill()
        serves(clients, 'after the takeover')
        return pair.over(clients, [1, 2])


def handover_is_reset(folder):
    """The word to take over is lost on its way."""
    with RelayedPair(folder) as pair:
        north, south, clients = pair.lock_step()
        log = pair.log_relays[north.name]
        log.stalled['back'] = True
        require(pair.ctl(north, 'switchover') == 0, 'no handover')
        until('it is handing over', lambda: 'handing over' in north.said())
        log.reset()
        log.recover()
        require(north.code() == 0, f'the old primary ended with {north.process.returncode}: {north.said()[-500:]}')
        serves(clients, 'after the handover')
        return pair.over(clients, [1, 2])


def hub_trouble(folder):
    """Of the hub's connection alone: the pair is not broken over it, and the clients lose nothing but time."""
    with RelayedPair(folder) as pair:
        north, south, clients = pair.lock_step()
        hub = pair.hub_relays[north.name]
        hub.delay.update(to=0.05, back=0.05)
        still_a_pair(pair, north, south, clients, 'delayed')
        hub.recover()
        hub.rate.update(to=20_000)
        still_a_pair(pair, north, south, clients, 'throttled')
        hub.recover()
        for _ in range(3):
            before = hub.connections
            hub.reset()
            until('it is connected again', lambda: hub.connections > before)
            still_a_pair(pair, north, south, clients, 'after a reset')
        for way in ('to', 'back'):
            hub.stalled[way] = True
            time.sleep(2 * PATIENCE_S)
            hub.stalled[way] = False
            still_a_pair(pair, north, south, clients, f'after a stall, {way}')
        return pair.over(clients, [1])


def hub_half_open(folder):
    """Nobody is told that the connection is none any more; it is noticed soon, and what was lost with it is sent again."""
    with RelayedPair(folder) as pair:
        north, south, clients = pair.lock_step()
        hub = pair.hub_relays[north.name]
        hub.forget()
        # Its old connections stay as dead as they are; new ones get in.
        hub.deaf = False
        hub.stalled = {'to': False, 'back': False}
        began = time.monotonic()
        still_a_pair(pair, north, south, clients, 'after a half-open connection to the hub')
        waited = time.monotonic() - began
        require(waited < HALF_OPEN_S, f'the clients waited {waited:.1f} s')
        return pair.over(clients, [1])


TESTS = [log_delayed, log_throttled, log_reset, log_stalls, log_silent('to'), log_silent('back'), log_half_open,
         joining_is_reset, handover_is_reset, hub_trouble, hub_half_open]

if __name__ == '__main__':
    only = os.environ.get('UNDERSTUDY_ONLY', 'log_throttled log_reset log_silent_back joining_is_reset handover_is_reset hub_half_open').split()
    sys.exit(pair_rig.main([test for test in TESTS if test.__name__ in only or only == ['all']]))
