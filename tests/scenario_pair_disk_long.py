#!/usr/bin/env python3
"""Linux with ext4 on a shared disk, virtio or IDE: it writes files over two takeovers and repairs; then the file system is
clean and the files are whole, as the host's own tools see it. And the journal over many kills."""
# labels: long
import os
import re
import shutil
import socket
import subprocess
import sys

import pair_rig
import scenario_pair_disk
from guest_console import image
from nbd_rig import DiskServer
from pair_rig import Pair, require, until

PATH = os.environ['PATH'] + ':/usr/sbin:/sbin'
FILES = 60
LIMIT = 600


def tool(*words):
    return subprocess.run([shutil.which(words[0], path=PATH), *words[1:]], capture_output=True)


class Typist:
    """At the hub's console."""

    def __init__(self, path):
        self.said = b''
        self.socket = socket.socket(socket.AF_UNIX)
        until('the console is there', lambda: os.path.exists(path))
        self.socket.connect(path)
        self.socket.setblocking(False)

    def text(self):
        try:
            while piece := self.socket.recv(1 << 16):
                self.said += piece
        except BlockingIOError:
            pass
        return self.said.decode(errors='replace')

    def types(self, line):
        self.socket.sendall(line.encode() + b'\n')

    def sees(self, pattern):
        until(f'{pattern!r}; the console said {self.text()[-400:]!r}', lambda: re.search(pattern, self.text()), LIMIT)


def linux_with_ext4(kind):
    def test(folder):
        with DiskServer(folder, mib=48) as server:
            made = tool('mke2fs', '-q', '-t', 'ext4', server.image)
            require(made.returncode == 0, f'mke2fs: {made.stderr.decode()}')
            server.start_file()
            device = '/dev/vda' if kind == 'virtio' else '/dev/sda'
            console = os.path.join(folder, 'typist')
            guest = [image('vmlinuz-amd64'), '--initrd', image('initramfs-amd64.img'), '--append', 'console=ttyS0', '--memory',
                     '96', '--virtio-disk' if kind == 'virtio' else '--disk', 'hub:data']
            with Pair(folder, guest, (), hub_options=('--disk', f'data={server.socket}'), console=f'unix:{console}') as pair:
                live = pair.primary()
                typist = Typist(console)
                typist.sees('understudy: shell ready')
                typist.types(f'mount -t ext4 {device} /mnt && cd /mnt && echo mounted-$((1 + 1))')
                typist.sees('mounted-2')
                typist.types(f'i=0; while [ $i -lt {FILES} ]; do i=$((i+1)); dd if=/dev/urandom of=f$i bs=64k count=4 2>/dev/null; '
                             'sha1sum f$i >>sums; sync; echo kept-$i-; done; cd /; umount /mnt; echo unmounted-$((1 + 1))')
                for kept in (FILES // 3, 2 * FILES // 3):
                    standby = pair.backup()
                    standby.is_in('lock-step')
                    typist.sees(f'kept-{kept}-')
                    live.kill()
                    live = standby
                typist.sees('unmounted-2')
                typist.types('dmesg | grep -c -i "i/o error\\|ext4-fs error\\|timeout" | sed s/^/errors:/; poweroff -f')
                typist.sees('errors:0')
                require(live.code() == 0, f'Linux ended with {live.process.returncode}: {live.said()[-500:]}')
                pair.check_reigns()
            server.kill()
            check = tool('e2fsck', '-fn', server.image)
            require(check.returncode == 0, f'e2fsck: {check.stdout.decode()}{check.stderr.decode()}')
            files = os.path.join(folder, 'files')
            os.mkdir(files)
            tool('debugfs', '-R', f'rdump / {files}', server.image)
            sums = subprocess.run(['sha1sum', '--check', '--quiet', 'sums'], cwd=files, capture_output=True, text=True)
            require(sums.returncode == 0, f'sha1sum: {sums.stdout}{sums.stderr}')
            with open(os.path.join(files, 'sums')) as lines:
                require(len(lines.readlines()) == FILES, 'files are missing')
    test.__name__ = f'linux_with_ext4_on_{kind}'
    return test


if __name__ == '__main__':
    scenario_pair_disk.ROUNDS = 20
    sys.exit(pair_rig.main([
        linux_with_ext4('virtio'), linux_with_ext4('ide'), scenario_pair_disk.kills('virtio'), scenario_pair_disk.kills('ide'),
        *(scenario_pair_disk.dies_at(moment, kind) for kind in ('virtio', 'ide') for moment in (
            'disk-request-sent', 'disk-answer-not-logged', 'input-not-logged', 'logged-not-sent', 'acknowledged-not-sent')),
        scenario_pair_disk.backup_lost]))
