#!/usr/bin/env python3
"""Systems that people really boot, from the command line to what they say: Debian's kernels directly, GRUB from a disk
through SeaBIOS, memtest86+, iPXE, GRUB's rescue media and a floppy. scenario_boots_long.py has the slow ones."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile

from guest_console import Guest, expect, image, main

KEPT = "written by the guest"


def linux(flavour, *options, append="console=ttyS0"):
    return [image(f"vmlinuz-{flavour}"), "--initrd", image(f"initramfs-{flavour}.img"), "--append", append, *options]


def debian(flavour, machine, memory):
    with Guest(*linux(flavour, "--memory", memory)) as guest:
        guest.wait_serial("understudy: shell ready")
        expect(guest.shell("uname -m") == f"{machine}\n", "uname says something else")
        expect(guest.shell("echo $((6 * 7)) | sed s/^/is:/") == "is:42\n", "the shell reckons wrongly")
        guest.type_serial("poweroff -f\n")
        guest.finish()


def host_checks(disk):
    """The file system on the disk holds the guest's file and is whole, as the host's own tools see it."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    place = f"{disk}?offset={1 << 20}"
    said = subprocess.run(
        [shutil.which("debugfs", path=path), "-R", "cat /kept", place], capture_output=True, text=True
    )
    expect(said.stdout == KEPT + "\n", f"debugfs finds {said.stdout!r} in the file ({said.stderr.strip()})")
    check = subprocess.run([shutil.which("e2fsck", path=path), "-fn", place], capture_output=True, text=True)
    expect(check.returncode == 0, f"e2fsck: {check.stdout}{check.stderr}")


def keep_a_file(guest):
    """At the shell: the kernel has found the IDE disk; its ext4 file system is mounted and written to."""
    guest.wait_serial("understudy: shell ready")
    expect("ata1.00: ATA" in guest.shell("dmesg | grep ata1"), "no IDE disk in the kernel's messages")
    expect(guest.shell("mount -t ext4 /dev/sda1 /mnt && ls /mnt/boot | grep grub") == "grub\n", "no ext4")
    guest.shell(f"echo {KEPT} >/mnt/kept && umount /mnt && sync")
    guest.type_serial("poweroff -f\n")
    guest.finish()


@contextlib.contextmanager
def disk_copy():
    with tempfile.TemporaryDirectory(prefix="understudy-") as folder:
        yield shutil.copy(image("disk.img"), folder)


def debian_686_writes_to_its_disk():
    with disk_copy() as disk:
        with Guest(*linux("686", "--disk", disk, "--disk-mode", "write", "--memory", 64)) as guest:
            guest.wait_serial("understudy: shell ready")
            expect(guest.shell("uname -m") == "i686\n", "uname says something else")
            keep_a_file(guest)
        host_checks(disk)


def grub_on_the_disk():
    """Its menu on the serial line, and the entry that switches off."""
    with Guest("--disk", image("disk.img"), "--disk-mode", "snapshot", "--memory", 64, paced=True) as guest:
        guest.wait_serial_screen("Debian 12 amd64")
        guest.type_serial("\x1b[B\x1b[B")
        guest.wait_serial_screen(r"\*Power off")
        guest.type_serial("\r")
        guest.finish()


def memtest():
    """Its first three tests and the next one's start, on the smallest machine it takes."""
    with Guest(image("memtest86+x64.bin"), "--append", "console=ttyS0,115200", "--memory", 8, screen=True) as guest:
        guest.wait_serial_screen(r"#[3-9]  \[")
        expect(re.search(r"Errors: 0\b", guest.serial.screen()), f"no 'Errors: 0':\n{guest.serial.screen()}")
        guest.wait_screen(r"#[3-9]  \[")
        guest.leave()


def ipxe_prompt():
    with Guest("--cdrom", image("ipxe.iso"), "--memory", 64, paced=True, screen=True, serial=False) as guest:
        guest.wait_screen("Press Ctrl-B")
        guest.type_keys("\x02")
        guest.wait_screen("^iPXE> *$")
        guest.type_keys("echo ${buildarch} here\r")
        guest.wait_screen("^i386 here")
        guest.leave()


def grub_rescue_cd():
    with Guest("--cdrom", image("grub-rescue-cdrom.iso"), "--memory", 64, paced=True, screen=True, serial=False) as guest:
        guest.wait_screen("GNU GRUB +version 2")
        guest.wait_screen("Memtest86")
        guest.leave()


def grub_rescue_floppy():
    with Guest("--floppy", image("grub-rescue-floppy.img"), "--memory", 64, paced=True, screen=True, serial=False) as guest:
        guest.wait_screen("GNU GRUB +version 2")
        guest.leave()


def floppy():
    with Guest("--floppy", image("floppy.img"), "--memory", 16, screen=True) as guest:
        guest.finish(code=33, ended="debug-exit")
        for where in (guest.serial.text, guest.screen.screen()):
            expect("floppy: PASS" in where, f"no verdict in:\n{where}")


if __name__ == "__main__":
    main(
        {
            "debian_amd64": lambda: debian("amd64", "x86_64", 96),
            "debian_686_writes_to_its_disk": debian_686_writes_to_its_disk,
            "grub_on_the_disk": grub_on_the_disk,
            "memtest": memtest,
            "ipxe_prompt": ipxe_prompt,
            "grub_rescue_cd": grub_rescue_cd,
            "grub_rescue_floppy": grub_rescue_floppy,
            "floppy": floppy,
        }
    )
