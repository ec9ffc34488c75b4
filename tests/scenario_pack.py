#!/usr/bin/env python3
"""Recordings travel: packed with their images, unpacked where these images are not, replayed to the same state. And
archives that nobody packed so are refused, and leave nothing behind."""
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile

COMMAND = os.environ['UNDERSTUDY']
IMAGES = os.environ['UNDERSTUDY_IMAGES']
FIRMWARE = os.environ['UNDERSTUDY_FIRMWARE']


def require(condition, text):
    if not condition:
        raise RuntimeError(text)


def understudy(*arguments, want=0):
    done = subprocess.run([COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=300)
    done.said = done.stderr.decode(errors='replace').strip()
    require(want is None or done.returncode == want, f'{arguments}: exit code {done.returncode}, {done.said}')
    return done


def end_state(path):
    with open(path) as file:
        result = json.load(file)
    return {key: result[key] for key in ('icount', 'virtual_ns', 'digest')}


def travels(scratch, name, images, *options):
    there = os.path.join(scratch, name + '-home')
    os.mkdir(there)
    paths = {}
    for image in images:
        paths[image] = os.path.join(there, os.path.basename(image))
        shutil.copy(image, paths[image])
    home, file, away = (os.path.join(scratch, name + suffix) for suffix in ('', '.packed', '-away'))
    understudy('record', home, '--serial', 'none', '--memory', '16', '--json', home + '.json', '--snapshot-every', '1',
               *(paths.get(option, option) for option in options), want=None)
    understudy('pack', home, file)
    again = understudy('pack', home, file, want=2)
    require('exists already' in again.said, again.said)
    shutil.rmtree(there)
    understudy('replay', home, want=2)
    understudy('unpack', file, away)
    for begin in ('start', 'nearest'):
        understudy('replay', away, '--from', begin, '--json', away + '.json')
        require(end_state(away + '.json') == end_state(home + '.json'), f'{name}: another state after the journey')
    understudy('log', away, '--check')
    # Live again there, where only the copies are.
    understudy('resume', away, '--at', str(end_state(away + '.json')['icount'] // 2), '--into', away + '-live', '--serial',
               'none', '--json', away + '-live.json', '--stop-at', '4000000', want=None)
    understudy('replay', away + '-live', '--json', away + '-again.json')
    require(end_state(away + '-live.json') == end_state(away + '-again.json'), f'{name}: resumed, and not equal')
    # And on from there.
    understudy('pack', away, file + '2')
    understudy('unpack', file + '2', away + '2')
    understudy('replay', away + '2', '--json', away + '.json')
    require(end_state(away + '.json') == end_state(home + '.json'), f'{name}: another state after two journeys')
    return file


def hostile(scratch, packed):
    def refuses(what, words, *options):
        target = os.path.join(scratch, 'target')
        done = understudy('unpack', os.path.join(scratch, 'hostile'), target, *options, want=2)
        require(len(done.said.splitlines()) == 1 and words in done.said, f'{what}: {done.said!r}')
        require(not os.path.exists(target), f'{what}: something stayed there')
        require(not os.path.exists(os.path.join(scratch, 'escaped')), f'{what}: it escaped')

    def archive(*members):
        with tarfile.open(os.path.join(scratch, 'hostile'), 'w', format=tarfile.PAX_FORMAT) as tar:
            for name, kind, link, data in members:
                info = tarfile.TarInfo(name)
                info.type, info.linkname, info.size = kind, link, len(data)
                tar.addfile(info, io.BytesIO(data))

    segment = 'log-00000001.seg'
    for name in ('../escaped', '/' + os.path.join(scratch, 'escaped'), 'images/../../escaped', 'images/../lock', 'lock',
                 'log-1.seg', '.hidden', 'images/.x', 'images/a/b', 'x\ny.snap', 'other', 'images'):
        archive((name, tarfile.REGTYPE, '', b'x'))
        refuses(name, 'has a name that is no part of a recording')
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE):
        archive((segment, tarfile.REGTYPE, '', b'x'), ('images/x', kind, segment, b''))
        refuses(f'type {kind}', 'is not a plain file in it' if kind != tarfile.DIRTYPE else 'has a name that')
    archive((segment, tarfile.REGTYPE, '', b'x'), (segment, tarfile.REGTYPE, '', b'x'))
    refuses('twice', 'is in it twice')
    archive((segment, tarfile.REGTYPE, '', bytes(3 << 20)))
    refuses('too large', 'would take more than', '--max-mib', '1')
    archive(('images/x', tarfile.REGTYPE, '', b'x'))
    refuses('no log', 'there is no recording in it')
    archive((segment, tarfile.REGTYPE, '', b''), ('images/index.json', tarfile.REGTYPE, '', b'{"format": 7}'))
    refuses('another index', 'not an index of images')
    with open(packed, 'rb') as file:
        good = file.read()
    # A zstd frame's content has no checksum of its own here: the recording's are what finds changed bytes.
    for at in range(4, len(good), max(1, len(good) // 40)):
        bad = bytearray(good)
        bad[at] ^= 0x10
        with open(os.path.join(scratch, 'hostile'), 'wb') as file:
            file.write(bad)
        target = os.path.join(scratch, 'target')
        done = understudy('unpack', os.path.join(scratch, 'hostile'), target, want=None)
        require(done.returncode in (0, 2, 5), f'byte {at} changed: exit code {done.returncode}, {done.said!r}')
        if done.returncode == 0:
            # It hit what no reader looks at, such as a modification time.
            understudy('replay', target)
            shutil.rmtree(target)
        require(not os.path.exists(target), f'byte {at} changed: something stayed there')
        with open(os.path.join(scratch, 'hostile'), 'wb') as file:
            file.write(good[:at])
        done = understudy('unpack', os.path.join(scratch, 'hostile'), target, want=None)
        require(done.returncode in (2, 5), f'cut to {at}: exit code {done.returncode}, {done.said!r}')
        require(not os.path.exists(target), f'cut to {at}: something stayed there')


def main():
    with tempfile.TemporaryDirectory() as scratch:
        hello, module = (os.path.join(FIRMWARE, name + '.elf') for name in ('hello', 'timer'))
        packed = travels(scratch, 'guest', [hello, module], hello, module)
        floppy = os.path.join(IMAGES, 'floppy.img')
        if os.path.exists(floppy):
            travels(scratch, 'bios', [floppy], '--floppy', floppy, '--stop-at', '4000000')
        hostile(scratch, packed)
    print('recordings travel, and what is none is refused')
    return 0


if __name__ == '__main__':
    sys.exit(main())
