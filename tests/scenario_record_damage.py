#!/usr/bin/env python3
"""Recordings that suffer: recorders killed at random moments, bits flipped, ends cut off, images and options that are
not the recorded ones. And the plain case: every guest of ours is recorded and replayed to the same state, whole and in
slices. With the argument `long` (scenario_record_damage_long.sh): 50 kills, 1,000 flips, 100 cuts, every guest."""
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

COMMAND = os.environ['UNDERSTUDY']
IMAGES = os.environ['UNDERSTUDY_IMAGES']
FIRMWARE = os.environ['UNDERSTUDY_FIRMWARE']
LONG = sys.argv[1:] == ['long']
SEED = int(os.environ.get('UNDERSTUDY_SEED', '1'))
KILLS, FLIPS, CUTS = (50, 1000, 100) if LONG else (5, 40, 12)
# Those that take more than a second.
SLOW = {'cpu_bench', 'cpu_bench64', 'flags', 'flags_long', 'irq_bench', 'mmio_fuzz', 'rep', 'rep_long'}
USAGE, DAMAGED, DIVERGED = 2, 5, 5


def require(condition, text):
    if not condition:
        raise RuntimeError(text)


def understudy(*arguments):
    done = subprocess.run([COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=300)
    done.said = done.stderr.decode(errors='replace').strip()
    return done


def record(directory, *options):
    return understudy('record', directory, '--serial', 'none', '--json', directory + '.recorded', *options)


def guest(name):
    return os.path.join(FIRMWARE, name + '.elf')


def result(path):
    with open(path) as file:
        return json.load(file)


def end_state(path):
    return {key: result(path)[key] for key in ('icount', 'virtual_ns', 'digest')}


def entries(directory):
    listed = understudy('log', directory, '--json')
    require(listed.returncode == 0, f'understudy log {directory}: {listed.returncode}, {listed.said}')
    return listed.stdout.splitlines()


def equal_again(directory, *slicing):
    replayed = understudy('replay', directory, '--verify', '--json', directory + '.replayed', *slicing)
    require(replayed.returncode == 0, f'replay of {directory} {slicing}: {replayed.returncode}, {replayed.said}')
    require(b"to the recording's end" in replayed.stdout, f'{directory}: not replayed to its end')
    require(end_state(directory + '.replayed') == end_state(directory + '.recorded'),
            f'{directory} {slicing}: the replay ended in another state')


def all_guests(scratch):
    names = []
    for line in open(os.path.join(os.path.dirname(__file__), '../firmware/guests.txt')):
        if not line.strip() or line.startswith('#'):
            continue
        name, _, disk_mib = line.split()[:3]
        if name in SLOW and not LONG:
            continue
        options = [guest(name), '--memory', '16']
        if disk_mib != '0':
            disk = os.path.join(scratch, name + '.img')
            with open(disk, 'wb') as file:
                file.truncate(int(disk_mib) << 20)
            options += ['--disk', disk]
        names.append((name, options))
    floppy = os.path.join(IMAGES, 'floppy.img')
    if os.path.exists(floppy):
        names.append(('floppy', ['--floppy', floppy, '--memory', '16', '--stop-at', '6000000']))
    for name, options in names:
        directory = os.path.join(scratch, name)
        recorded = record(directory, *options)
        require(os.path.exists(directory + '.recorded'), f'record {name}: {recorded.returncode}, {recorded.said}')
        equal_again(directory)
        # Slices of real_mode's kind of guest cost most where they are short: a few thousand of them, however long it is.
        slice_most = max(500, result(directory + '.recorded')['icount'] // 300)
        equal_again(directory, '--slice', str(slice_most), '--slice-seed', str(SEED))
    print(f'{len(names)} guests recorded and replayed, whole and in slices', flush=True)


def log_size(directory):
    try:
        return os.path.getsize(os.path.join(directory, 'log-00000001.seg'))
    except FileNotFoundError:
        return -1


def killed(scratch, chance):
    unwritten = 0
    options = ['--memory', '16', '--state-digest', '0.002', guest('flags_long')]
    whole = os.path.join(scratch, 'not-killed')
    began = time.monotonic()
    done = record(whole, *options)
    lasts = time.monotonic() - began
    require(log_size(whole) > 0, f'record: {done.returncode}, {done.said}')
    for number in range(KILLS):
        directory = os.path.join(scratch, f'killed-{number}')
        process = subprocess.Popen([COMMAND, 'record', directory, '--serial', 'none', '--sync',
                                    chance.choice(['none', 'interval', 'output']), *options], stdin=subprocess.DEVNULL)
        try:
            # The moment of death is the host's, which is what is tested here: some time after the log has got so long.
            enough = chance.uniform(0, 0.6) * log_size(whole)
            while log_size(directory) < enough:
                require(process.poll() is None, 'understudy record ended early')
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.15) * lasts)
            before = entries(directory)
        finally:
            process.kill()
            process.wait()
        require(process.returncode == -9, f'the recorder ended by itself: {process.returncode}')
        after = entries(directory)
        require(after[:len(before)] == before, f'{directory}: entries that were in the log are lost')
        unwritten += len(after) == len(before)
        replayed = understudy('replay', directory, '--verify', '--json', directory + '.replayed')
        require(replayed.returncode == 0, f'{directory}: replay: {replayed.returncode}, {replayed.said}')
        require('was not finished' in replayed.said, f'{directory}: replay says {replayed.said!r}')
        require(result(directory + '.replayed')['icount'] == json.loads(after[-1])['icount'],
                f'{directory}: not replayed to the last entry')
        proofs = sum(json.loads(line)['kind'] == 'state_digest' for line in after)
        require(f'{proofs} state digests equal'.encode() in replayed.stdout, f'{directory}: {replayed.stdout}')
        checked = understudy('log', directory, '--check')
        require(checked.returncode == DAMAGED and 'not finished' in checked.said,
                f'{directory}: log --check: {checked.returncode}, {checked.said}')
    print(f'{KILLS} recorders killed: each log replays to its last entry', flush=True)


def refused_as_damaged(directory, what):
    for arguments in (('log', directory, '--check'), ('replay', directory)):
        done = understudy(*arguments)
        require(done.returncode == DAMAGED, f'{what}: {arguments[0]}: exit code {done.returncode}, {done.said!r}')
        require(len(done.said.splitlines()) == 1 and 'log-00000001.seg: ' in done.said and 'at offset ' in done.said,
                f'{what}: {arguments[0]} says {done.said!r}')


def damaged(scratch, chance):
    directory = os.path.join(scratch, 'damaged')
    recorded = record(directory, guest('timer'), '--memory', '16', '--slice', '200', '--state-digest', '0.000001')
    require(os.path.exists(directory + '.recorded'), f'record: {recorded.returncode}, {recorded.said}')
    require(len(entries(directory)) > 100, 'too few entries to damage')
    equal_again(directory)
    segment = os.path.join(directory, 'log-00000001.seg')
    with open(segment, 'rb') as file:
        good = file.read()
    for _ in range(FLIPS):
        at, bit = chance.randrange(len(good)), chance.randrange(8)
        bad = bytearray(good)
        bad[at] ^= 1 << bit
        with open(segment, 'wb') as file:
            file.write(bad)
        refused_as_damaged(directory, f'bit {bit} of byte {at} flipped')
    # Also where the file would end well without its last block.
    blocks = [at for at in range(1, len(good)) if good.startswith(b'UBLK', at)]
    cuts = {0, len(good) - 1, *blocks[-3:]}
    while len(cuts) < CUTS:
        cuts.add(chance.randrange(len(good)))
    for cut in cuts:
        with open(segment, 'wb') as file:
            file.write(good[:cut])
        refused_as_damaged(directory, f'cut to {cut} of {len(good)} bytes')
    with open(segment, 'wb') as file:
        file.write(good)
    equal_again(directory)
    print(f'{FLIPS} flips and {len(cuts)} cuts: all refused', flush=True)


def refused_as_other(directory, names):
    done = understudy('replay', directory)
    require(done.returncode == USAGE, f'{directory}: replay: exit code {done.returncode}, {done.said!r}')
    require(len(done.said.splitlines()) == 1 and names in done.said, f'{directory}: replay says {done.said!r}')


def other_machines(scratch):
    kernel, disk = os.path.join(scratch, 'kernel.elf'), os.path.join(scratch, 'other.img')
    shutil.copy(guest('hello'), kernel)
    with open(disk, 'wb') as file:
        file.truncate(1 << 20)
    directory = os.path.join(scratch, 'other')
    recorded = record(directory, kernel, '--memory', '16', '--disk', disk)
    require(os.path.exists(directory + '.recorded'), f'record: {recorded.returncode}, {recorded.said}')
    equal_again(directory)
    with open(disk, 'r+b') as file:
        file.seek(700_000)
        file.write(b'x')
    refused_as_other(directory, 'disk0.xxh3 is ')
    with open(disk, 'r+b') as file:
        file.truncate(2 << 20)
    refused_as_other(directory, 'disk0.bytes is 1048576 in the recording and 2097152 in this machine')
    os.remove(disk)
    refused_as_other(directory, disk)
    with open(disk, 'wb') as file:
        file.truncate(1 << 20)
    equal_again(directory)
    shutil.copy(guest('timer'), kernel)
    refused_as_other(directory, 'boot is ')
    shutil.copy(guest('hello'), kernel)
    equal_again(directory)
    # Another memory's first segment before this log's entries: the recipe is in them, the description in the segment.
    smaller = os.path.join(scratch, 'smaller')
    record(smaller, kernel, '--memory', '8', '--disk', disk)
    with open(os.path.join(smaller, 'log-00000001.seg'), 'rb') as file:
        other = file.read()
    with open(os.path.join(directory, 'log-00000001.seg'), 'r+b') as file:
        mine = file.read()
        file.seek(0)
        file.write(other[:other.index(b'UBLK')] + mine[mine.index(b'UBLK'):])
        file.truncate()
    refused_as_damaged(directory, 'blocks behind the header of a machine with other memory')
    print('other disks, images and memory: refused', flush=True)


def diverging(scratch, chance):
    directory = os.path.join(scratch, 'diverging')
    recorded = record(directory, guest('flags'), '--memory', '16', '--state-digest', '0.1', '--snapshot-every', '150')
    require(os.path.exists(directory + '.recorded'), f'record: {recorded.returncode}, {recorded.said}')
    last = result(directory + '.recorded')['icount']
    for number in range(4 if not LONG else 20):
        # Memory that the guest does not use: the flip stays until the next digest.
        icount, address, bit = chance.randrange(1, last), chance.randrange(8 << 20, 16 << 20), chance.randrange(8)
        what = f'{icount}:{address:#x}:{bit}'
        begin = chance.choice(['start', str(icount)])
        done = understudy('replay', directory, '--from', begin, '--inject-ram-flip', what)
        require(done.returncode == DIVERGED, f'flip {what}: exit code {done.returncode}, {done.said!r}')
        require(f'first differ at instruction {icount}:' in done.said, f'flip {what}: {done.said}')
        require(f'RAM page {address & ~0xfff:#x}: 1 bytes differ, the first at {address:#x}: {1 << bit:02x} in' in done.said,
                f'flip {what}: {done.said}')
        require(' eip ' in done.said and '  0008:' in done.said, f'flip {what}: {done.said}')
    print('flipped bits of RAM: found where they were', flush=True)


def main():
    chance = random.Random(SEED)
    with tempfile.TemporaryDirectory() as scratch:
        other_machines(scratch)
        damaged(scratch, chance)
        diverging(scratch, chance)
        killed(scratch, chance)
        all_guests(scratch)
    return 0


if __name__ == '__main__':
    sys.exit(main())
