#!/usr/bin/env python3
# labels: long
"""Debian's kernel and initial RAM disk by iPXE and TFTP, on each network card, to the end of its boot and switched off:
recorded, and replayed equal. See scenario_netboot.py."""
from guest_console import expect, image, main
from scenario_netboot import netboot


def debian(nic):
    script = ('kernel vmlinuz-amd64 console=ttyS0 quiet understudy.run="uname -m; echo up and $((6*7))"\n'
              "initrd initramfs-amd64.img\nboot\n")
    said, result, proof = netboot(nic, script, [image("vmlinuz-amd64"), image("initramfs-amd64.img")], 0, "--memory", 128,
                                  seconds=1500)
    expect("x86_64" in said and "up and 42" in said, f"{nic}: {said[-1000:]}")
    print(f"{nic}: {result['net']['bytes_in']} bytes in, {result['icount']} instructions; {proof}", flush=True)


main({"virtio": lambda: debian("virtio"), "ne2k": lambda: debian("ne2k")})
