#!/usr/bin/env python3
# labels: long
"""GRUB and Debian from a compressed qcow2 disk, which is written to; the recording replays. See scenario_qcow2.py."""
import pathlib
import tempfile

from guest_console import Guest, expect, image, main
from scenario_qcow2 import end_state, qemu_img, sum_of, understudy


def linux():
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        qemu_img("convert", "-q", "-c", "-O", "qcow2", image("disk.img"), scratch / "disk.qcow2")
        recording = scratch / "recording"
        with Guest(scratch / "disk.qcow2", "--memory", 128, record=recording) as guest:
            guest.wait_serial("understudy: shell ready", seconds=1200)
            said = guest.shell("mount -t ext4 /dev/sda1 /mnt && echo kept >/mnt/kept && umount /mnt && mount -t ext4 /dev/sda1 "
                               "/mnt && cat /mnt/kept; sha256sum /mnt/boot/vmlinuz*")
            expect("kept\n" in said and sum_of(image("vmlinuz-amd64")).decode() in said, said)
            guest.type_serial("poweroff -f\n")
            guest.finish()
            want = {key: guest.result[key] for key in ("icount", "virtual_ns", "digest")}
        understudy("replay", recording, "--verify", "--json", scratch / "json")
        expect(end_state(scratch / "json") == want, "the replay ended otherwise")


main({"linux": linux})
