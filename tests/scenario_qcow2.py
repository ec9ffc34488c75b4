#!/usr/bin/env python3
"""Machines with qcow2 disks: they end as they do with the same disk as a raw image, also in write mode; their recordings
replay equal, from power-on and from snapshots, are resumed and travel packed; a changed image is refused, and a run whose
qemu-nbd is killed ends with one line. scenario_qcow2_long.py boots Debian from one."""
import json
import os
import pathlib
import signal
import subprocess
import tempfile

from guest_console import COMMAND, Guest, expect, image, main

FIRMWARE = pathlib.Path(os.environ["UNDERSTUDY_FIRMWARE"])
PASSED = 33


def understudy(*arguments, want=0):
    done = subprocess.run([COMMAND, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=1200, check=False)
    done.said = done.stderr.strip()
    expect(done.returncode == want, f"{arguments}: exit code {done.returncode}, {done.said}")
    return done


def end_state(path):
    result = json.loads(pathlib.Path(path).read_text())
    return {key: result[key] for key in ("icount", "virtual_ns", "digest")}


def qemu_img(*arguments):
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def sum_of(path):
    return subprocess.run(["sha256sum", path], check=True, stdout=subprocess.PIPE).stdout.split()[0]


def firmware():
    """The guest which tries all of an IDE disk's commands."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        raw, disk, result = scratch / "disk.raw", scratch / "disk.qcow2", scratch / "json"
        guest = ("--kernel", FIRMWARE / "disk.elf", "--memory", 32, "--serial", "none", "--unpaced", "--json", result)
        qemu_img("create", "-q", "-f", "raw", raw, "8M")
        qemu_img("create", "-q", "-f", "qcow2", disk, "8M")
        before = sum_of(disk)
        understudy("run", *guest, "--disk", raw, want=PASSED)
        want = end_state(result)
        understudy("run", *guest, "--disk", disk, want=PASSED)
        expect(end_state(result) == want, "the guest ended otherwise than with a raw disk")
        understudy("record", scratch / "recording", *guest, "--disk", disk, "--snapshot-every", 1, want=PASSED)
        expect(end_state(result) == want, "the recorded guest ended otherwise")
        for begin in ("start", "nearest"):
            understudy("replay", scratch / "recording", "--verify", "--from", begin, "--json", result)
            expect(end_state(result) == want, f"the replay from {begin} ended otherwise")
        understudy("resume", scratch / "recording", "--at", want["icount"] // 2, "--into", scratch / "second", "--serial",
                   "none", "--unpaced", "--json", result, want=PASSED)
        expect(end_state(result) == want, "the resumed guest ended otherwise")
        understudy("replay", scratch / "second", "--verify")
        expect(sum_of(disk) == before, "the image was written to")

        understudy("pack", scratch / "recording", scratch / "packed")
        os.rename(disk, scratch / "elsewhere")
        said = understudy("replay", scratch / "recording", want=2).said
        expect(f"{disk}: no such file" in said, said)
        understudy("unpack", scratch / "packed", scratch / "unpacked")
        understudy("replay", scratch / "unpacked", "--verify", "--json", result)
        expect(end_state(result) == want, "the replay after the journey ended otherwise")

        qemu_img("create", "-q", "-f", "qcow2", disk, "8M")
        subprocess.run(["qemu-io", "-c", "write -P 7 4M 512", disk], check=True, stdout=subprocess.DEVNULL)
        said = understudy("replay", scratch / "recording", want=2).said
        expect("disk0.xxh3" in said and len(said.splitlines()) == 1, said)
        os.replace(scratch / "elsewhere", disk)

        # Written to, in both formats: the same guest leaves the same disk.
        for path in (raw, disk):
            understudy("run", *guest, "--disk", path, "--disk-mode", "write", want=PASSED)
        qemu_img("compare", "-q", "-f", "raw", "-F", "qcow2", raw, disk)
        expect(sum_of(disk) != before, "nothing was written")


def killed():
    """The child that reads the image: without it the machine cannot go on, and says so."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        qemu_img("convert", "-q", "-O", "qcow2", image("disk.img"), scratch / "disk.qcow2")
        # GRUB's menu comes from the disk, so it is being read.
        with Guest(scratch / "disk.qcow2", "--memory", 64, record=scratch / "recording", paced=True) as guest:
            guest.wait_serial_screen("Debian 12 amd64")
            children = guest.children()
            expect(len(children) == 1, f"children: {children}")
            os.kill(children[0], signal.SIGKILL)
            guest.type_serial("\r")
            said = guest.fails(4)
            expect(f"{scratch}/disk.qcow2: qemu-nbd is gone" in said and len(said.splitlines()) == 1, said)
        # What was recorded until then is whole.
        understudy("replay", scratch / "recording", "--verify")


if __name__ == "__main__":
    main({"firmware": firmware, "killed": killed})
