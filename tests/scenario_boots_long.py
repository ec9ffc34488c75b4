#!/usr/bin/env python3
# labels: long
"""The boots that take minutes: Debian's PAE kernel, its installer to the first dialog, both kernels through
GRUB from a disk, and memtest86+ through a whole pass."""

import re

from guest_console import Guest, expect, image, main
from scenario_boots import KEPT, disk_copy, host_checks, keep_a_file


def debian_pae():
    options = [image("vmlinuz-686-pae"), "--initrd", image("initramfs-686-pae.img"), "--append", "console=ttyS0"]
    with Guest(*options, "--memory", 96) as guest:
        guest.wait_serial("understudy: shell ready", seconds=1200)
        expect(guest.shell("uname -m") == "i686\n", "uname says something else")
        expect(guest.shell("uname -r").endswith("-686-pae\n"), "it is another kernel")
        guest.type_serial("poweroff -f\n")
        guest.finish()


def installer():
    options = [image("installer-vmlinuz"), "--initrd", image("installer-initrd.gz")]
    with Guest(*options, "--append", "console=ttyS0", "--memory", 1024) as guest:  # less is its low memory mode
        guest.wait_serial_screen(r"Select a language", seconds=2400)
        guest.wait_serial_screen(r"English", seconds=1200)
        guest.leave()


def disk_through_grub():
    """GRUB loads a kernel from the disk, which writes a file there; another kernel, chosen in GRUB's menu, reads it."""
    with disk_copy() as disk:
        options = ["--disk", disk, "--disk-mode", "write", "--memory", 128]
        with Guest(*options) as guest:
            guest.wait_serial("understudy: shell ready", seconds=1200)
            expect(guest.shell("uname -m") == "x86_64\n", "uname says something else")
            keep_a_file(guest)
        host_checks(disk)
        with Guest(*options, paced=True) as guest:
            guest.wait_serial_screen("Debian 12 686")
            guest.type_serial("\x1b[B\r")
            guest.wait_serial("understudy: shell ready", seconds=1200)
            expect(guest.shell("uname -m") == "i686\n", "uname says something else")
            guest.shell("mount -o ro /dev/sda1 /mnt")
            expect(guest.shell("cat /mnt/kept") == KEPT + "\n", "this boot does not find the file")
            guest.type_serial("poweroff -f\n")
            guest.finish()


def memtest_pass():
    with Guest(image("memtest86+x64.bin"), "--append", "console=ttyS0,115200", "--memory", 8, screen=True) as guest:
        guest.wait_serial_screen(r"Pass: +1\b", seconds=3000)
        expect(re.search(r"Errors: 0\b", guest.serial.screen()), f"no 'Errors: 0':\n{guest.serial.screen()}")
        guest.leave()


if __name__ == "__main__":
    main({"debian_pae": debian_pae, "installer": installer, "disk_through_grub": disk_through_grub, "memtest_pass": memtest_pass})
