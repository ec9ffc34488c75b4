# Loaded into gdb by tests/gdb_session.py: what the scenarios' scripts there are written in.
import re

import gdb

for setting in ('pagination off', 'confirm off', 'width 0', 'height 0'):
    gdb.execute('set ' + setting)


def do(command):
    return gdb.execute(command, to_string=True)


def number(expression):
    return int(gdb.parse_and_eval(expression)) & (2**64 - 1)


def icount():
    return number('$icount')


def pc():
    return number('$pc')


def state():
    return do('info all-registers')


def look_again():
    do('maintenance flush register-cache')
    do('maintenance flush dcache')


def monitor(command):
    text = do('monitor ' + command)
    look_again()
    return text


def seek(where):
    return monitor(f'seek {where}')


def check(condition, what):
    if not condition:
        raise gdb.GdbError('not so: ' + what)


def equal(got, want, what):
    if got != want:
        raise gdb.GdbError(f'{what}: {got!r}, not {want!r}')


def walk(command, steps):
    """The states in front of each of so many steps, and behind the last one."""
    states = [state()]
    for _ in range(steps):
        do(command)
        states.append(state())
    return states


def there_and_back(steps):
    """Steps forward, back and forward again: every state on the way must be the same. Gives the pcs."""
    begin = icount()
    states = walk('stepi', steps)
    back = walk('reverse-stepi', steps)
    equal(icount(), begin, 'the count after going back')
    check(back == states[::-1], f'going back from instruction {begin} meets the same states')
    check(walk('stepi', steps) == states, f'going forward from instruction {begin} again meets the same states')
    return states


stops = []
gdb.events.stop.connect(stops.append)


def go(command):
    """Whether the command came to a breakpoint or a watchpoint."""
    stops.clear()
    do(command)
    return bool(stops) and isinstance(stops[-1], gdb.BreakpointEvent)


def hits(command, most):
    """Where continuing comes to breakpoints and watchpoints, until it comes to none or has come to so many."""
    found = []
    while len(found) < most and go(command):
        found.append((icount(), pc()))
    return found
