#!/usr/bin/env python3
"""Records Debian's kernel with a user who types at random real moments, and replays it: every digest, the final state
and each byte on the console must be the same, however the replay is sliced. UNDERSTUDY_SEEDS='1 2 3' and
UNDERSTUDY_FLAVOURS='amd64 686' do more of it."""
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time

COMMAND = os.environ['UNDERSTUDY']
IMAGES = os.environ['UNDERSTUDY_IMAGES']
SEEDS = [int(text) for text in os.environ.get('UNDERSTUDY_SEEDS', '1').split()]
FLAVOURS = os.environ.get('UNDERSTUDY_FLAVOURS', 'amd64').split()
LINES = ['uname -a', 'echo $((6*7)) > /tmp/x; cat /tmp/x', 'date', 'ls /proc | head -20', 'dmesg | tail -3',
         'cat /proc/interrupts', 'for i in 1 2 3; do echo line $i; done', 'time true', 'od -An -tx1 -N8 /dev/urandom']


class Console:
    """The recorded machine's serial line."""

    def __init__(self, path, process):
        self.seen = b''
        self.socket = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self.socket.connect(path)
                return
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError('understudy record ended early')
                time.sleep(0.01)

    def wait_for(self, text):
        while text not in self.seen:
            chunk = self.socket.recv(4096)
            if not chunk:
                raise RuntimeError(f'the console closed before {text!r}: {self.seen[-300:]!r}')
            self.seen += chunk
        self.seen = self.seen[self.seen.index(text) + len(text):]

    def rest(self):
        while chunk := self.socket.recv(4096):
            self.seen += chunk


def state(path):
    with open(path) as file:
        result = json.load(file)
    return {key: result[key] for key in ('icount', 'virtual_ns', 'digest')}


def run(flavour, seed, scratch):
    chance = random.Random(seed)
    directory = os.path.join(scratch, f'{flavour}-{seed}')
    serial = directory + '.sock'
    started = time.monotonic()
    process = subprocess.Popen(
        [COMMAND, 'record', directory, '--unpaced', '--memory', '128', '--serial', 'unix:' + serial,
         '--json', directory + '.recorded', '--initrd', f'{IMAGES}/initramfs-{flavour}.img',
         '--append', 'console=ttyS0 quiet', f'{IMAGES}/vmlinuz-{flavour}'], stdin=subprocess.DEVNULL)
    try:
        console = Console(serial, process)
        console.wait_for(b'understudy:/#')
        for line in chance.sample(LINES, 5):
            for character in line.encode() + b'\n':
                console.socket.sendall(bytes([character]))
                # A user's rhythm is what is tested: the moments must be the host's.
                time.sleep(chance.choice([0, 0, 0, 0.001, 0.003, 0.02]))
            console.wait_for(b'understudy:/#')
        console.socket.sendall(b'poweroff -f\n')
        console.rest()
    finally:
        if process.wait(120) != 0:
            raise RuntimeError(f'understudy record: exit code {process.returncode}')
    recorded = time.monotonic() - started
    want = state(directory + '.recorded')
    # Whole and sliced by turns.
    for slicing in ([[], ['--slice', '100000', '--slice-seed', str(seed)]][seed % 2],):
        started = time.monotonic()
        done = subprocess.run([COMMAND, 'replay', directory, '--verify', '--json', directory + '.replayed',
                               '--serial', 'file:' + directory + '.console', *slicing], stdout=subprocess.PIPE)
        if done.returncode != 0:
            raise RuntimeError(f'{flavour}, seed {seed}: understudy replay: exit code {done.returncode}')
        if state(directory + '.replayed') != want:
            raise RuntimeError(f'{flavour}, seed {seed}: the replay ended in another state')
        print(f'{flavour}, seed {seed}: recorded in {recorded:.1f} s, replayed in {time.monotonic() - started:.1f} s: '
              + done.stdout.decode().strip().split(': ')[-1], flush=True)
    checked = subprocess.run([COMMAND, 'log', directory, '--check'], stdout=subprocess.DEVNULL)
    if checked.returncode != 0:
        raise RuntimeError(f'{flavour}, seed {seed}: understudy log --check: exit code {checked.returncode}')


def main():
    with tempfile.TemporaryDirectory() as scratch:
        for flavour in FLAVOURS:
            for seed in SEEDS:
                run(flavour, seed, scratch)
    return 0


if __name__ == '__main__':
    sys.exit(main())
