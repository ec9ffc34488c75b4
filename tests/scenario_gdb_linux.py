#!/usr/bin/env python3
# labels: long
"""Stock gdb on recordings of systems: Debian's amd64 kernel with a disk and a network card at work, and a boot through
SeaBIOS. Breakpoints at kernel functions by their addresses alone, a thousand steps back and forth, the last hits of
breakpoints and of a watchpoint on the physical page of the card's ring, and windows over interrupts, page faults, system
calls, REP, HLT and the switches from real to protected to long mode. UNDERSTUDY_STEPS does less of the thousand."""
import os
import re
import shutil
import sys
import tempfile

from gdb_session import Debugged, record
from guest_console import Guest, expect, image, main
from host_server import HostServer

STEPS = int(os.environ.get("UNDERSTUDY_STEPS", "1000"))
# What each window is about: a function that the kernel enters for it.
WINDOWS = {"an interrupt": "asm_sysvec_apic_timer_interrupt", "a device's interrupt": "asm_common_interrupt",
           "a page fault": "asm_exc_page_fault", "a system call": "entry_SYSCALL_64", "HLT": "default_idle"}
FUNCTIONS = ["tcp_v4_rcv", *WINDOWS.values()]


def session(recording):
    """A boot and some traffic; the addresses of the kernel's functions."""
    data = os.urandom(200_000)
    with HostServer(data) as host, Guest(
            "--memory", "128", "--initrd", image("initramfs-amd64.img"), "--append", "console=ttyS0 quiet", image("vmlinuz-amd64"),
            "--disk", image("scratch.img"), "--nic", "virtio", "--net", "user", "--snapshot-every", "200", record=recording) as guest:
        guest.shell("ip link set eth0 up; ip address add 10.0.2.15/24 dev eth0; mount -t ext2 /dev/sda /mnt")
        said = guest.shell(f"wget -q -O /mnt/got http://10.0.2.2:{host.port}/ && sync && cmp /mnt/got /mnt/got && echo kept")
        expect("kept" in said, said)
        names = "|".join(FUNCTIONS)
        said = guest.shell(f"grep -E ' ({names})$' /proc/kallsyms; echo marker")
        guest.type_serial("poweroff -f\n")
        guest.finish()
    addresses = {name: int(address, 16) for address, name in re.findall(r"^([0-9a-f]{16}) \w (\w+)$", said, re.M)}
    expect(all(addresses.get(name) for name in FUNCTIONS), f"addresses: {said}")
    return addresses


def linux():
    with tempfile.TemporaryDirectory() as scratch:
        recording = os.path.join(scratch, "recording")
        addresses = session(recording)
        with Debugged(recording) as debugged:
            said = debugged.gdb(f"""
addresses = {addresses!r}
windows = {WINDOWS!r}
seek('output marker')
# The recording begins in protected mode: the registers are wider now.
do('unset tdesc filename')
equal(do('show architecture').count('x86-64'), 1, 'long mode')
end = icount()
gdb.execute(f"hbreak *{{addresses['tcp_v4_rcv']:#x}}")
check(go('reverse-continue'), 'a segment came in')
equal(pc(), addresses['tcp_v4_rcv'], 'where')
first = icount()
print('tcp_v4_rcv at', first)
check(go('reverse-continue'), 'the one before')
before = icount()
check(before < first, 'an earlier one')
check(go('continue'), 'and forward')
equal(icount(), first, 'the same one')
do('delete')
seek('-{STEPS // 2}')
there_and_back({STEPS})
print('{STEPS} steps back and forth')

# A ring of the card's: the page of the part that the device writes, which the driver writes to as well.
rings = [int(at, 0) for at in re.findall(r'device_area\\s+(\\w+)', monitor('info nic'))]
check(rings and rings[0], 'a ring')
page = rings[0] & ~0xfff
monitor(f'watch-physical {{page:#x}} 4096')
seek(end)
do('reverse-continue')
touched = icount()
check(touched < end, 'somebody wrote there')
seek(end)
check(f'instruction {{touched}}' in monitor(f'last-write physical {{page:#x}} 4096'), 'last-write finds the same')
seek(touched)
do('reverse-continue')
before = icount()
check(before < touched, 'the write before')
do('continue')
do('continue')
equal(icount(), touched + 1, 'behind the later one')
monitor('unwatch-physical')
seek(end)
said = monitor(f'last-write physical {{rings[0]:#x}} 2052')
check('By a device: virtio_net' in said, said)
print('the ring', hex(rings[0]), 'was written to before', touched, 'and', before)

for what, function in windows.items():
    seek(end)
    gdb.execute(f'hbreak *{{addresses[function]:#x}}')
    check(go('reverse-continue'), what)
    do('delete')
    at = icount()
    seek('-30')
    there_and_back(60)
    print(what, 'at', at)
""", timeout=3000)
            # The direct boot begins in protected mode.
            said += debugged.gdb(SWITCH.format(what="long mode", register="$efer", bit=1 << 10, high=100_000_000) + REP, timeout=3000)
            print("\n".join(line for line in said.splitlines() if re.search(" at |ring|steps", line)), flush=True)


# The first count at which a bit is set, by halves, and a window over it.
SWITCH = """
def is_set():
    return number('{register}') & {bit} != 0
seek(0)
check(not is_set(), 'not from the beginning')
low = 0
for high in range(0, {high} + 1, {high} // 50):
    seek(high)
    if is_set():
        break
    low = high
check(is_set(), 'some time')
while high - low > 1:
    middle = (low + high) // 2
    seek(middle)
    low, high = (low, middle) if is_set() else (middle, high)
print('{what} at', high)
seek(high - 20)
there_and_back(40)
"""

# Page tables are cleared on the way to long mode, by REP STOS: each iteration is a count, at one address.
REP = """
for inside in range(high - 2000, max(high - 100_000, 0), -2000):
    seek(inside)
    address = pc()
    seek(inside + 1)
    if pc() == address:
        break
equal(pc(), address, 'a string instruction before long mode')
outside = high
while outside - inside > 1:
    middle = (inside + outside) // 2
    seek(middle)
    inside, outside = (middle, outside) if pc() == address else (inside, middle)
print('the end of a REP at', outside)
seek(outside - 20)
there_and_back(40)
"""


def bios():
    with tempfile.TemporaryDirectory() as scratch:
        recording = os.path.join(scratch, "recording")
        record(recording, "--unpaced", "--disk", image("disk.img"), "--memory", "64", "--stop-at", "20000000", timeout=300)
        with Debugged(recording) as debugged:
            debugged.gdb(SWITCH.format(what="protected mode", register="$cr0", bit=1, high=2_000_000), timeout=1000)


if shutil.which("gdb") is None:
    print("gdb is missing", file=sys.stderr)
    sys.exit(77)
main({"linux": linux, "bios": bios})
