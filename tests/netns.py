"""A network of network namespaces for tests: places that a router joins, each on a wire of its own, so that who hears whom
can be changed in the middle, one direction at a time, and no end is told. The test itself runs in the place `world`."""
import os
import subprocess
import sys

ENTERED = 'UNDERSTUDY_TEST_NAMESPACE'


def enter():
    """Runs this program again where it may do all that; ends with 77 where that is not permitted."""
    if os.environ.get(ENTERED):
        return
    command = ['unshare', '--map-root-user', '--net', '--mount', 'sh', '-c',
               'mount -t tmpfs none /run && ip link set lo up && exec "$@"', 'sh']
    try:
        probe = subprocess.run([*command, 'sh', '-c', 'ip netns add probe && ip link add type veth && ip rule add blackhole'],
                               capture_output=True, text=True)
        trouble = probe.stderr.strip() if probe.returncode else None
    except FileNotFoundError as error:
        trouble = str(error)
    if trouble is not None:
        print(f'scenario: no network namespaces here: {trouble}', file=sys.stderr)
        sys.exit(77)
    os.environ[ENTERED] = '1'
    os.execvp(command[0], [*command, sys.executable, *sys.argv])


def _run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f'{" ".join(command)}: {done.stderr.strip()}')


def within(place):
    """What to put before a command so that it runs there."""
    return [] if place == 'world' else ['nsenter', f'--net=/run/netns/{place}']


class Network:
    def __init__(self, *places):
        self.address = {}
        self._cuts = set()
        self._names = []
        self._add('router')
        self._in_router('sh', '-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward')
        for number, place in enumerate(('world', *places)):
            if place != 'world':
                self._add(place)
            wire, end = f'to-{place}', f'wire{number}'
            _run('ip', 'link', 'add', end, 'type', 'veth', 'peer', 'name', wire, 'netns', 'router')
            self._in_router('ip', 'address', 'add', f'10.77.{number}.1/24', 'dev', wire)
            self._in_router('ip', 'link', 'set', wire, 'up')
            if place != 'world':
                _run('ip', 'link', 'set', end, 'netns', place)
            self.address[place] = f'10.77.{number}.2'
            for command in (('address', 'add', f'10.77.{number}.2/24', 'dev', end), ('link', 'set', end, 'up'),
                            ('route', 'add', '10.77.0.0/16', 'via', f'10.77.{number}.1')):
                _run(*within(place), 'ip', *command)

    def _add(self, name):
        _run('ip', 'netns', 'add', name)
        self._names.append(name)
        _run(*within(name), 'ip', 'link', 'set', 'lo', 'up')

    @staticmethod
    def _in_router(*command):
        _run(*within('router'), *command)

    def _rule(self, what, source, target):
        self._in_router('ip', 'rule', what, 'from', self.address[source], 'to', self.address[target], 'blackhole')

    def cut(self, *ways):
        """Each way is (from, to): nothing of that arrives any more."""
        for way in ways:
            if way not in self._cuts:
                self._rule('add', *way)
                self._cuts.add(way)

    def cut_off(self, one, *others):
        self.cut(*((one, other) for other in others), *((other, one) for other in others))

    def heal(self):
        for way in self._cuts:
            self._rule('delete', *way)
        self._cuts.clear()

    def close(self):
        for name in self._names:
            subprocess.run(['ip', 'netns', 'delete', name], capture_output=True)
        # The world's end goes with the router's.
