"""A disk server as a process, and what a journal of firmware/disk_journal.c looks like from outside."""
import binascii
import os
import struct
import subprocess
import time

RECORD = 4096
MAX_SLOTS = 256


def until(what, condition, limit=60):
    deadline = time.monotonic() + limit
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f'after {limit} s still not: {what}')
        time.sleep(0.01)
    return result


class DiskServer:
    """nbdkit with an image, at a Unix socket."""

    def __init__(self, folder, mib=2, name='disk'):
        self.image = os.path.join(folder, f'{name}.img')
        self.socket = os.path.join(folder, f'{name}.sock')
        self.uri = f'nbd+unix:///?socket={self.socket}'
        self.process = None
        if not os.path.exists(self.image):
            with open(self.image, 'wb') as image:
                image.truncate(mib << 20)

    def start(self, *options):
        # The socket is there before anybody listens on it; this file is written behind that.
        ready = f'{self.socket}.pid'
        for old in (self.socket, ready):
            if os.path.exists(old):
                os.unlink(old)
        self.process = subprocess.Popen(['nbdkit', '-f', '--exit-with-parent', '--pidfile', ready, '--unix', self.socket,
                                         *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until('the disk server listens', lambda: os.path.exists(ready))
        return self

    def start_file(self):
        return self.start('file', self.image)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.kill()


def records_in(image):
    """The number of the good record in each slot (0: there is none), the race's slot last."""
    found = []
    with open(image, 'rb') as file:
        size = os.fstat(file.fileno()).st_size
        slots = min(size // RECORD - 2, MAX_SLOTS)
        for slot in range(slots + 1):
            file.seek(RECORD * (1 + slot))
            record = file.read(RECORD)
            magic, number, seed, crc = struct.unpack_from('<IIII', record)
            good = magic == 0x4c4e524a and crc == binascii.crc32(record[16:], binascii.crc32(record[4:12]))
            found.append(number if good else 0)
    return found


def missing_records(image, first, last):
    """Of the records that must be there, or newer ones in their slots, those that are not."""
    found = records_in(image)
    slots = len(found) - 1
    return [number for number in range(max(first, last - slots + 1), last + 1)
            if found[(number - 1) % slots] < number or (found[(number - 1) % slots] - number) % slots]
