#!/usr/bin/env python3
"""Stock gdb on recordings of our own guests: steps, breakpoints and watchpoints in both directions over interrupts,
faults, HLT, REP and switches between real, protected and long mode; monitor commands; two clients one after the other;
a recording whose writer was killed; and a client that talks nonsense."""
import os
import random
import re
import signal
import shutil
import subprocess
import sys
import tempfile

from gdb_session import COMMAND, Debugged, record, wait_until

FIRMWARE = os.environ['UNDERSTUDY_FIRMWARE']
SOURCES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'firmware')
PASSED = 33  # exit code of a guest that is content


def guest(name):
    return f'{FIRMWARE}/{name}.elf'


def symbol(name, wanted):
    for line in subprocess.run(['nm', guest(name)], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
        if line.split()[-1] == wanted:
            return int(line.split()[0], 16)
    raise RuntimeError(f'{name} has no {wanted}')


def check(condition, what):
    if not condition:
        raise RuntimeError(f'not so: {what}')


def there_and_back():
    """Each window begins right before what it is named for; the script sees that this lies in it."""
    record('timer', '--unpaced', guest('timer'), code=PASSED)
    record('real_mode', '--unpaced', guest('real_mode'), code=PASSED)
    record('ring3_long', '--unpaced', guest('ring3_long'), code=PASSED)
    with Debugged('timer') as timer:
        # The 8254's interrupt wakes the CPU from HLT.
        timer.gdb(f'''
gdb.execute('hbreak *{symbol('timer', 'on_pit')}')
check(go('continue'), 'the handler is reached')
do('delete')
seek('-60')
check('halted' in monitor('when') or any('halted' in monitor('seek +1') for _ in range(60)), 'the CPU halts')
monitor('seek -30')
there_and_back(100)
''')
    with Debugged('real_mode') as real_mode:
        real_mode.gdb(f'''
gdb.execute('hbreak *{symbol('real_mode', 'go_real')}')
check(go('continue'), 'real mode is gone to')
do('delete')
seek('-10')
modes = set()
for _ in range(60):
    modes.add(number('$cr0') & 1)
    do('stepi')
equal(modes, {{0, 1}}, 'PE on the way')
seek('-60')
there_and_back(60)
do('unset tdesc filename')
equal(do('show architecture').count('i8086'), 1, 'real mode')
rep_movsb = number('(long)$_') if 'found' in do('find /b 0x10000, +0x1000, 0xf3, 0xa4') else 0
gdb.execute(f'hbreak *{{rep_movsb}}')
check(go('continue'), 'REP')
do('delete')
seek('-5')
pcs = {{state.partition('eip')[2].split()[0] for state in there_and_back(60)}}
check(len(pcs) < 10, 'REP stays at its instruction')
equal(number('$pc'), number('$cs_base') + number('$ip'), 'where the CPU is')
''')
    with Debugged('ring3_long') as ring3_long:
        ring3_long.gdb(f'''
gdb.execute('hbreak *{symbol('ring3_long', 'trap_common')}')
check(go('continue') and go('continue'), 'two exceptions')
do('delete')
seek('-50')
levels = set()
for _ in range(100):
    levels.add(number('$cs') & 3)
    do('stepi')
equal(levels, {{0, 3}}, 'rings on the way')
seek('-100')
there_and_back(100)
do('unset tdesc filename')
equal(do('show architecture').count('x86-64'), 1, 'long mode')
''')


def breakpoints_and_watchpoints():
    ticks = symbol('timer', 'pit_ticks')
    with Debugged('timer', '--at', '20000') as timer:
        timer.gdb(f'''
gdb.execute('break *{symbol('timer', 'on_pit')}')
forward = hits('continue', 6)
equal(len(forward), 6, 'interrupts')
go('stepi')
equal(hits('reverse-continue', 6), forward[::-1], 'the same, backwards')
do('delete')
gdb.execute('watch *(int*){ticks}')
forward = hits('continue', 5)
equal(len(forward), 5, 'stores')
equal(number('*(int*){ticks}'), 5, 'the value behind the last')
# Backwards a watchpoint stops in front of the store.
equal([count for count, _ in hits('reverse-continue', 5)], [count - 1 for count, _ in forward[::-1]], 'the same, backwards')
equal(number('*(int*){ticks}'), 0, 'the value in front of the first')
do('delete')
for kind in ('rwatch', 'awatch'):
    seek(20000)
    gdb.execute(f'{{kind}} *(int*){ticks}')
    forward = hits('continue', 5)
    equal(len(forward), 5, kind)
    equal([count for count, _ in hits('reverse-continue', 5)], [count - 1 for count, _ in forward[::-1]], kind + ', backwards')
    do('delete')
seek(20000)
monitor('watch-physical {ticks} 4 access')
do('continue')
accessed = icount()
do('reverse-stepi')
equal(icount(), accessed - 1, 'one step')
do('continue')
equal(icount(), accessed, 'the same access')
monitor('unwatch-physical')
check(not go('reverse-continue'), 'nothing more in the past')
equal(icount(), 0, 'the beginning')
check(not go('continue'), 'nothing more in the future')
check(icount() > 20000, 'the end')
''')


def wild_store():
    """The guest's README session: three commands from the symptom to the store."""
    record('wild_store', '--unpaced', guest('wild_store'), code=PASSED)
    with Debugged('wild_store', '--symbols', guest('wild_store')) as debugged:
        debugged.gdb(f'''
monitor('seek output audit: account')
account = number('&bank.accounts[5].balance')
culprit = monitor(f'last-write {{account}}')
check('in count_amount' in culprit and 'wild_store.c:' in culprit, culprit)
source = open('{SOURCES}/wild_store.c').read().splitlines()
line = int(culprit.partition('wild_store.c:')[2].split()[0])
check('the bug' in source[line - 1], f'line {{line}}')
count = int(culprit.partition('instruction ')[2].partition(',')[0])
# gdb's own way there.
gdb.execute(f'watch *(int*){{account}}')
check(go('reverse-continue'), 'a store')
equal(icount(), count, 'the same store')
equal(number('bank.accounts[5].balance'), 1000000, 'the balance in front of it')
do('delete')
seek(count)
do('stepi')
equal(number('bank.accounts[5].balance'), 1000001, 'the balance behind it')
''', guest('wild_store'))


MONITOR = [
    ('help', 'last-write'),
    ('help seek', 'output REGEX'),
    ('when', r'instruction 20000, 0\.003\d+ s, in '),
    ('seek 12000', 'instruction 12000, '),
    ('checkpoint here', 'Checkpoint here at instruction 12000'),
    ('seek @0.1', r'instruction \d+, 0\.10\d+ s'),
    ('seek output RTC', 'instruction'),
    ('last-write pit_ticks', r'in on_pit\S* at .*timer\.c:\d+\n.*\n  .. 00 00 00 -> .. 00 00 00'),
    ('next-write physical ADDRESS', r'in on_(pit|rtc)'),
    ('restart here', 'instruction 12000, '),
    ('info checkpoints', r'checkpoint here +instruction 12000\nsnapshots in memory: '),
    ('info registers', r'(?s)cr0 .*idtr base'),
    ('info mmu', 'paging none'),
    ('info pic', r'pic\n  master\n    irr'),
    ('info pit', r'pit\n  channel0'),
    ('info ide', 'piix3_ide'),
    ('info nic', 'ne2k'),
    ('info timers', 'pit.rise'),
    ('events 0', r'sequence +icount[^$]*\bstate_digest\b'),
    ('xp 0x100000 16', '00100000  02 b0 ad 1b'),
    ('xp 0xfee00000', 'could change the device'),
    ('tlb main', r'physical 0x10\w+: there is no paging'),
    ('digest', r'instruction 12000: [0-9a-f]{16}, cpu'),
    ('seek +5', 'instruction 12005'),
    ('seek nowhere', 'no place'),
    ('no-such', 'monitor help'),
    ('last-write no_such', 'no symbol'),
]


def monitor_commands():
    record('nic', '--unpaced', '--nic', 'ne2k', guest('timer'), code=PASSED)
    with Debugged('nic', '--at', '20000', '--symbols', guest('timer'), '--gdb', f'unix:{os.getcwd()}/gdb.sock') as debugged:
        check(debugged.target.endswith('/gdb.sock') and guest('timer') in debugged.said, 'what to type')
        with debugged.client() as client:
            digests = set()
            for command, want in MONITOR:
                said = client.monitor(command.replace('ADDRESS', hex(symbol('timer', 'pit_ticks'))))
                check(re.search(want, said), f'monitor {command}: {said!r} has {want!r}')
            for place in ('seek 30000', 'seek 10', 'seek 30000', 'seek end', 'seek 30000'):
                client.monitor(place)
                if '30000' in place:
                    digests.add(client.monitor('digest'))
            check(len(digests) == 1, 'one point, one digest')
            client.send('k')
        debugged.wait()
    check(not os.path.exists('gdb.sock'), 'the socket is gone')


def clients():
    with Debugged('timer') as debugged:
        debugged.gdb('do("stepi 5")\nequal(icount(), 5, "steps")')
        with debugged.client() as client:  # where the first one left
            check('instruction 5, ' in client.monitor('when'), 'the place stays')
            refused = client.ask('P8=00000000')
            check(refused.startswith('E.this is a replay') and 'understudy resume' in refused, refused)
            check(client.ask('M100000,1:00').startswith('E.this is a replay'), 'memory of a replay')
            check(client.ask('m100000,4') == '02b0ad1b', 'memory as it was')
            check(client.ask('me0000000,4') == 'E0e', 'no memory')
            check(client.ask('D') == 'OK', 'detach')
        chance = random.Random(3)
        for _ in range(20):  # and none of it does any harm
            with debugged.client() as client:
                client.socket.sendall(bytes(chance.choice(b'$#+-}*\x03cgsmMXZ0,:;1f\xff') for _ in range(2000)))
                client.socket.shutdown(1)
                client.closed()
        with debugged.client() as client:  # who asks for more than it takes is cut off
            try:
                for _ in range(100):
                    client.socket.sendall(b'\x03' * 65536)
            except OSError:
                pass
            client.closed()
        debugged.gdb('check(icount() < 10**9, "still there")\ndo("kill")')
        debugged.wait()


def interrupts():
    """Ctrl-C in both directions, while nothing else would end the run."""
    record('bench', '--unpaced', '--stop-at', '400000000', guest('cpu_bench'))
    with Debugged('bench', '--at', '1000') as debugged, debugged.client() as client:
        for command in ('vCont;c', 'bc'):
            client.ask('Z1,1,1')
            client.send(command)
            client.interrupt()
            stop, _ = client.stop()
            check(stop.startswith('T02'), stop)
        check(client.ask('qC') == 'QC1', 'it goes on')
        client.send('vCont;c')
    # The client has gone in the middle of a run: the next one is served.


def black_box():
    """A recording whose writer was killed opens up to its last complete entry."""
    process = subprocess.Popen([COMMAND, 'record', 'killed', '--unpaced', '--serial', 'none', '--state-digest', '0.01',
                                guest('cpu_bench')], stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: os.path.isdir('killed') and sum(os.path.getsize(f'killed/{f}') for f in os.listdir('killed')) > 8192,
                   'some log')
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with Debugged('killed') as debugged, debugged.client() as client:
        check('The recording ends here' in client.monitor('seek 99999999999'), 'its end')
        stop, _ = client.run('vCont;c')
        check(stop.startswith('T05replaylog:end;'), stop)
        said = client.monitor('when')
        last = int(re.search(r'instruction (\d+),', said)[1])
        check(last > 0 and f'0 to {last}' in said, said)


def live():
    """A run under gdb: forward only, and it may be written to."""
    with Debugged('--unpaced', '--serial', 'none', '--gdb', ':0', '--symbols', guest('timer'), guest('timer'),
                  command='run') as running:
        with running.client() as client:
            for command in ('bs', 'bc'):
                check(client.ask(command).startswith('E.this machine is live'), command)
            check('live' in client.monitor('when') and 'live' in client.monitor('seek 5'), 'monitor commands')
            check('in _start' in client.monitor('when'), 'symbols')
            client.run('s')  # and gone: the machine stands until somebody comes
        running.gdb(f'''
equal(icount(), 1, 'where the client before left')
gdb.execute('break *{symbol('timer', 'on_pit')}')
counts = [count for count, _ in hits('continue', 3)]
equal(len(counts), 3, 'interrupts')
do('stepi 3')
equal(icount(), counts[-1] + 3, 'steps')
do('delete')
gdb.execute('watch *(int*){symbol('timer', 'pit_ticks')}')
check(go('continue'), 'a store')
do('delete')
do('set $edx = 0x1234')
do('set var *(int*){symbol('timer', 'kernel_stack')} = 0x5678')
equal((number('$edx'), number('*(int*){symbol('timer', 'kernel_stack')}')), (0x1234, 0x5678), 'what was written')
''')  # which detaches: the machine runs on, and passes
        running.wait(PASSED)
    with Debugged('--unpaced', '--serial', 'none', '--gdb', ':0', guest('hello'), command='run') as running:
        with running.client() as client:
            stop, _ = client.run('c')
            check(stop == f'W{PASSED:02x}', stop)
        running.wait(PASSED)
    with Debugged('--unpaced', '--serial', 'none', '--gdb', ':0', guest('cpu_bench'), command='run') as running:
        with running.client() as client:
            client.send('vCont;c')  # and gone in the middle of a run: the machine stands still again
        with running.client() as client:
            client.send('vCont;c')
            client.interrupt()
            stop, _ = client.stop()
            check(stop.startswith('T02'), stop)
            client.send('k')
        running.wait(130)


def bad_usage():
    for arguments, want in ((['nowhere'], 'no such directory'), (['timer', '--at', '99999999999'], 'instructions 0 to'),
                            (['timer', '--gdb', ':99999'], 'want [ADDRESS]:PORT'), (['timer', '--gdb', 'x'], 'want [ADDRESS]:PORT'),
                            (['timer', '--symbols', 'nothing'], 'nothing')):
        done = subprocess.run([COMMAND, 'debug', *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60)
        check(done.returncode == 2 and want in done.stdout, f'{arguments}: {done.returncode}, {done.stdout!r}')


def main():
    if shutil.which('gdb') is None:
        print('gdb is missing', file=sys.stderr)
        return 77
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        for test in (there_and_back, breakpoints_and_watchpoints, wild_store, monitor_commands, clients, interrupts, black_box,
                     live, bad_usage):
            test()
            print(f'{test.__name__}: ok', flush=True)
        os.chdir('/')
    return 0


if __name__ == '__main__':
    sys.exit(main())
