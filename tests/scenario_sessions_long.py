#!/usr/bin/env python3
# labels: long
"""Sessions at Debian's kernels, amd64 and 686, with each network card, recorded on a loaded host: logged in at the serial
line, typed at random real moments; files fetched from and sent to the host; a disk written; pings. Each recording
replays equal to the last digest and console byte, on the loaded host and after it. Then the machine is resumed at
random points of a session: it answers, and the recording of its second life replays.
UNDERSTUDY_SEEDS='1 2 3', UNDERSTUDY_FLAVOURS='686', UNDERSTUDY_NICS='ne2k', UNDERSTUDY_POINTS=20 do more or less of it."""
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

from guest_console import COMMAND, Failure, Guest, expect, image, main
from host_server import HostServer

SEEDS = [int(text) for text in os.environ.get("UNDERSTUDY_SEEDS", "1").split()]
FLAVOURS = os.environ.get("UNDERSTUDY_FLAVOURS", "amd64 686").split()
NICS = os.environ.get("UNDERSTUDY_NICS", "virtio ne2k").split()
POINTS = int(os.environ.get("UNDERSTUDY_POINTS", "20"))
BYTES = 1_000_000
PROMPT = r"understudy:\S*# $"


class Load:
    """Two processes that take what they get of the host."""

    def __enter__(self):
        self._busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]

    def __exit__(self, *_):
        for process in self._busy:
            process.kill()
            process.wait()


def type_command(guest, chance, line):
    """As a person types it; what it says."""
    guest.wait_serial(PROMPT, max(len(guest.serial.text) - 40, 0))
    start = len(guest.serial.text)
    for character in line + "\n":
        guest.type_serial(character)
        # The rhythm is what is tested: the moments must be the host's.
        time.sleep(chance.choice([0, 0, 0, 0.001, 0.004, 0.02]))
    guest.wait_serial(r"\n", start)
    guest.wait_serial(PROMPT, start)
    return guest.serial.text[start:].replace("\r", "")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def use(guest, chance, disk):
    """A session; the host's side of each transfer is checked."""
    data = chance.randbytes(BYTES)
    with HostServer(data) as host:
        for line in ("ip link set eth0 up; ip address add 10.0.2.15/24 dev eth0", f"mount -t ext2 /dev/{disk} /mnt", "date"):
            type_command(guest, chance, line)
        said = type_command(guest, chance, "ping -c 3 -W 10 10.0.2.2")
        expect("3 packets received" in said, f"ping: {said}")
        said = type_command(guest, chance, f"wget -q -O /mnt/got http://10.0.2.2:{host.port}/; sha256sum /mnt/got")
        expect(sha256(data) in said, f"the fetched file changed on its way: {said}")
        said = type_command(guest, chance, f"head -c {BYTES} /bin/busybox >/tmp/out; nc 10.0.2.2 {host.port} </tmp/out; sha256sum /tmp/out")
        expect([sha256(upload) in said for upload in host.uploads] == [True], f"the sent file changed on its way: {said}")
        said = type_command(guest, chance, "cp /mnt/got /mnt/two; umount /mnt; mount -t ext2 /dev/" + disk + " /mnt; sha256sum /mnt/two")
        expect(sha256(data) in said, f"the disk lost something: {said}")


def replay(recording, want, what):
    console = recording + ".replayed-console"
    done = subprocess.run([COMMAND, "replay", recording, "--verify", "--json", recording + ".replayed", "--serial", "file:" + console],
                          stdout=subprocess.PIPE, check=False)
    expect(done.returncode == 0, f"{what}: understudy replay: exit code {done.returncode}")
    with open(recording + ".replayed") as file:
        got = json.load(file)
    expect(all(got[key] == want[key] for key in ("icount", "virtual_ns", "digest")), f"{what}: the replay ended in another state")
    with open(console, "rb") as file:
        return file.read(), done.stdout.decode().strip().split(": ")[-1]


def boot(flavour):
    return ["--memory", "128", "--initrd", image(f"initramfs-{flavour}.img"), "--append", "console=ttyS0 quiet", image(f"vmlinuz-{flavour}")]


def sessions():
    for flavour in FLAVOURS:
        for nic in NICS:
            for seed in SEEDS:
                what = f"{flavour}, {nic}, seed {seed}"
                chance = random.Random(f"{flavour} {nic} {seed}")
                with tempfile.TemporaryDirectory() as scratch:
                    recording = os.path.join(scratch, "recording")
                    disk = ["--virtio-disk" if nic == "virtio" else "--disk", image("scratch.img")]
                    with Load(), Guest(*boot(flavour), *disk, "--nic", nic, "--net", "user", paced=True, record=recording) as guest:
                        began = time.monotonic()
                        use(guest, chance, "vda" if nic == "virtio" else "sda")
                        guest.type_serial("poweroff -f\n")
                        want = guest.finish()
                        said = guest.serial.raw.encode()
                        recorded = time.monotonic() - began
                        loaded, _ = replay(recording, want, what + ", loaded")
                    quiet, proof = replay(recording, want, what)
                    expect(loaded == said and quiet == said, f"{what}: the consoles differ")
                    print(f"{what}: recorded in {recorded:.0f} s, {proof}", flush=True)


def resumed():
    for flavour in FLAVOURS:
        chance = random.Random(flavour)
        with tempfile.TemporaryDirectory() as scratch:
            recording = os.path.join(scratch, "recording")
            with Guest(*boot(flavour), "--snapshot-every", "200", record=recording) as guest:
                for line in ("uname -a", "ls -lR /proc/sys | wc -l", "for i in 1 2 3; do sha256sum /bin/busybox; done", "dmesg | tail -3"):
                    type_command(guest, chance, line)
                guest.type_serial("poweroff -f\n")
                end = guest.finish()["icount"]
            for number in range(POINTS):
                at = chance.randrange(1, end * 99 // 100)
                second = os.path.join(scratch, "second")
                with Guest(record=second, resume=(recording, at)) as guest:
                    # An interrupted command line, or none at all yet: it is asked until it answers.
                    for _ in range(60):
                        guest.type_serial("\x03\necho alive $((6*7))\n")
                        try:
                            guest.wait_serial("alive 42", seconds=2)
                            break
                        except Failure:
                            continue
                    guest.wait_serial("alive 42")
                    guest.wait_serial(PROMPT)
                    guest.type_serial("poweroff -f\n")
                    want = guest.finish()
                replay(second, want, f"{flavour}, resumed at {at}")
                shutil.rmtree(second)
                print(f"{flavour}: resumed at {at} of {end}, {number + 1} of {POINTS}: answers and replays", flush=True)


main({"sessions": sessions, "resumed": resumed})
