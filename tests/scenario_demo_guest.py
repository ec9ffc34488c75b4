#!/usr/bin/env python3
# labels: long
"""Records the demo's guest on each network card while it is used as people use a server: files come and go by HTTP, ssh
and plain TCP, in both directions and at the same time, and it is pinged and pings. Each byte must arrive, and the
recording must replay equal, to the last digest. UNDERSTUDY_NICS='ne2k' picks a card, UNDERSTUDY_SEEDS='1 2 3' does it
more often."""
import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import demo_guest
from demo_guest import Failure, ssh
from host_server import HostServer

COMMAND = os.environ['UNDERSTUDY']
NICS = os.environ.get('UNDERSTUDY_NICS', 'virtio ne2k').split()
SEEDS = os.environ.get('UNDERSTUDY_SEEDS', '1').split()
# Bytes one way; the second card is a 10 Mbit/s one.
DOWNLOAD = {'virtio': None, 'ne2k': 6_000_000}
TRANSFER = {'virtio': 8_000_000, 'ne2k': 2_000_000}


def require(condition, text):
    if not condition:
        raise Failure(text)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Together:
    """Runs functions at the same time; the first failure is raised at the end."""

    def __init__(self, *functions):
        self._failures = []
        threads = [threading.Thread(target=self._run, args=(function,)) for function in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def _run(self, function):
        try:
            function()
        except Exception as failure:
            self._failures.append(failure)


def use(nic, ssh_port, http_port, data):
    """A session's worth of traffic."""
    host = HostServer(data)
    port = host.port
    said = ssh(ssh_port, 'uname -m; ping -c 3 -W 5 10.0.2.2; cat /proc/net/dev').decode()
    require('3 packets received' in said and 'eth0' in said, f'the ping from the guest: {said}')

    def big_file():
        got, seconds = demo_guest.download(http_port, DOWNLOAD[nic])
        want = demo_guest.big_file_sum()
        if DOWNLOAD[nic]:
            want = ssh(ssh_port, f'head -c {DOWNLOAD[nic]} /srv/100M | sha256sum').decode().split()[0]
        require(got == want, 'the big file changed on its way')
        print(f'{nic}: {(DOWNLOAD[nic] or demo_guest.BIG_FILE_BYTES) / seconds / 1e6:.1f} MB/s', flush=True)

    def upload_by_ssh():
        got = ssh(ssh_port, 'cat >/srv/uploaded; sha256sum </srv/uploaded', data).decode().split()[0]
        require(got == sha256(data), 'an upload by ssh changed on its way')
        require(ssh(ssh_port, 'cat /srv/uploaded') == data, 'a download by ssh changed on its way')

    def guest_fetches():
        got = ssh(ssh_port, f'wget -q -O /srv/fetched http://10.0.2.2:{port}/ && sha256sum </srv/fetched').decode().split()[0]
        require(got == sha256(data), 'what the guest fetched changed on its way')

    def guest_sends():
        said = ssh(ssh_port, f'head -c {len(data)} /srv/100M >/srv/sent && nc 10.0.2.2 {port} </srv/sent; sha256sum </srv/sent')
        require([sha256(upload) for upload in host.uploads] == said.decode().split()[:1], 'what the guest sent changed on its way')

    big_file()
    Together(upload_by_ssh, guest_fetches, guest_sends, big_file)
    host.shutdown()


def await_ready(process, console):
    until = time.monotonic() + 600
    while True:
        with open(console, 'rb') as file:
            if demo_guest.READY.encode() in file.read():
                return
        require(process.poll() is None, f'understudy record ended with {process.returncode}')
        require(time.monotonic() < until, 'the guest did not get ready in ten minutes')
        time.sleep(0.05)


def run(nic, seed, scratch):
    folder, console = os.path.join(scratch, nic), os.path.join(scratch, nic + '.console')
    ssh_port, http_port = free_port(), free_port()
    data = random.Random(f'{nic} {seed}').randbytes(TRANSFER[nic])
    open(console, 'w').close()
    started = time.monotonic()
    process = subprocess.Popen([COMMAND, 'record', folder, *demo_guest.boot_options(), '--nic', nic, '--net',
                                demo_guest.forwards(ssh_port, http_port), '--serial', 'file:' + console, '--json',
                                folder + '.recorded'], stdin=subprocess.DEVNULL)
    try:
        await_ready(process, console)
        print(f'{nic}: ready after {time.monotonic() - started:.1f} s', flush=True)
        use(nic, ssh_port, http_port, data)
        # Its connection is cut by what it does.
        subprocess.run(demo_guest.ssh_command(ssh_port, 'poweroff -f'), stdin=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=demo_guest.LIMIT)
        require(process.wait(120) == 0, f'understudy record: exit code {process.returncode}')
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    recorded = time.monotonic() - started
    started = time.monotonic()
    done = subprocess.run([COMMAND, 'replay', folder, '--verify', '--serial', 'file:' + console + '2', '--json',
                           folder + '.replayed'], stdout=subprocess.PIPE)
    require(done.returncode == 0, f'{nic}: understudy replay: exit code {done.returncode}')
    want, got = (json.load(open(folder + end)) for end in ('.recorded', '.replayed'))
    require(all(got[key] == want[key] for key in ('icount', 'virtual_ns', 'digest')), f'{nic}: the replay ended otherwise')
    require(open(console, 'rb').read() == open(console + '2', 'rb').read(), f'{nic}: its console says something else')
    print(f'{nic}: {want["net"]["bytes_in"]} bytes in, {want["net"]["bytes_out"]} out; recorded in {recorded:.1f} s, replayed '
          f'in {time.monotonic() - started:.1f} s: ' + done.stdout.decode().strip().split(': ')[-1], flush=True)


def main():
    missing = demo_guest.missing()
    if missing or not shutil.which('ssh') or not shutil.which('curl'):
        print(f'scenario: {missing or "ssh or curl"} is missing: run tools/images, tools/setup', file=sys.stderr)
        return 77
    for nic in NICS:
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as scratch:
                run(nic, seed, scratch)
    return 0


if __name__ == '__main__':
    sys.exit(main())
