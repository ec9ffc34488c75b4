#!/usr/bin/env python3
# labels: long
"""Debian's kernel recorded at the host's pace for an hour (UNDERSTUDY_MINUTES=N: so long), idle and busy by turns: its
own clock, which it reads from the time-stamp counter, keeps within 10 ms of the host's; log and memory do not grow but
by their rates; and the whole hour replays in minutes."""
import os
import re
import subprocess
import tempfile
import time

from guest_console import COMMAND, Guest, expect, image, main

MINUTES = float(os.environ.get("UNDERSTUDY_MINUTES", "60"))
LIMIT = 0.010
FLAVOUR = os.environ.get("UNDERSTUDY_FLAVOUR", "amd64")
WORK = ["true", "sha256sum /bin/busybox", "dd if=/dev/zero of=/dev/null bs=64k count=2000", "find / -xdev | sort | wc -l"]


def host_is_busy():
    return os.getloadavg()[0] > os.cpu_count()


def host_less_guest(guest, first=None):
    """Seconds between the two clocks. The answer takes its way: the shortest of several is the best. A host that is
    busy with others, and so does not keep up just now, is asked some more."""
    best = None
    for tries in range(100 if host_is_busy() and first is not None else 12):
        if tries >= 12 and abs(best - first) < LIMIT:
            break
        said = guest.shell("head -n 3 /proc/timer_list")
        heard = time.monotonic()
        now = re.search(r"now at (\d+) nsecs", said)
        expect(now, f"no time in {said!r}")
        offset = heard - int(now.group(1)) / 1e9
        best = offset if best is None else min(best, offset)
    return best


def folder_bytes(folder):
    return sum(entry.stat().st_size for entry in os.scandir(folder))


def hour():
    with tempfile.TemporaryDirectory() as scratch:
        recording = os.path.join(scratch, "recording")
        with Guest("--initrd", image(f"initramfs-{FLAVOUR}.img"), "--append", "console=ttyS0 quiet",
                   image(f"vmlinuz-{FLAVOUR}"), paced=True, record=recording) as guest:
            guest.wait_serial(r"understudy:\S*# $")
            # The kernel refines its idea of the counter's rate in its first seconds, from 10 ms of them on.
            time.sleep(10)
            first = host_less_guest(guest)
            began, bytes_then, memory_then = time.monotonic(), folder_bytes(recording), guest.memory_mib()
            worst, turn, busy, memory_amid = 0.0, 0, False, None
            while time.monotonic() - began < MINUTES * 60:
                guest.shell(WORK[turn % len(WORK)])
                turn += 1
                if memory_amid is None and time.monotonic() - began > MINUTES * 30:
                    memory_amid = guest.memory_mib()
                # Idle time is what is tested, too.
                time.sleep(15)
                off = host_less_guest(guest, first) - first
                worst, busy = max(worst, abs(off)), busy or host_is_busy()
                print(f"{time.monotonic() - began:6.0f} s: guest {off * 1000:+.2f} ms behind, {guest.memory_mib()[0]:.0f} "
                      f"MiB, log {folder_bytes(recording)} bytes", flush=True)
            minutes = (time.monotonic() - began) / 60
            grown, memory = folder_bytes(recording) - bytes_then, guest.memory_mib()
            guest.type_serial("poweroff -f\n")
            pace = guest.finish()["pace"]
        of_which = ", ".join(f"{resident:.1f} of {asked:.1f}" for resident, asked in (memory_then, memory_amid, memory))
        print(f"{minutes:.1f} minutes: at worst {worst * 1000:.2f} ms, {pace}; log {grown * 8 / minutes / 60000:.2f} "
              f"kbit/s, memory {of_which} MiB", flush=True)
        # Where the host had more to do than it could, only that nothing adds up.
        expect(worst < (10 * LIMIT if busy else LIMIT), f"the guest's clock was {worst * 1000:.1f} ms off")
        expect(pace["lost_ns"] == 0, "time was lost")
        # The commands' bytes are in it, too.
        expect(grown * 8 / (minutes * 60) < 8000, "the log grows too fast")
        # The engine's code buffer (96 MiB), the blocks' table (20 MiB) and the guest's RAM fill by and by: that is no
        # growth, as their size is fixed.
        expect(memory[1] - memory_amid[1] < 1, "memory grows")
        began = time.monotonic()
        replay = subprocess.run([COMMAND, "replay", recording, "--verify"], stdout=subprocess.PIPE, check=False)
        expect(replay.returncode == 0, f"the replay ended with {replay.returncode}")
        print(f"replayed in {time.monotonic() - began:.0f} s: {replay.stdout.decode().strip()}", flush=True)


main({"hour": hour})
