#!/usr/bin/env python3
"""SIGTERM ends a run whatever its guest does: a halted one whose timer is masked, too. A second one ends a process that
waits for the reader of its output, and puts the terminal back."""
import os
import pty
import signal
import subprocess
import tempfile
import termios

from guest_console import COMMAND, expect, main

QUIT = 130
# cli; mask both PICs; PIT counter 0, mode 2, 1000h; sti; hlt; jmp to the hlt
IDLE = bytes.fromhex("fab0ffe621e6a1b034e643b000e640b010e640fbf4ebfd")
# wait for COM1's transmitter; 'x'; and again
TALK = bytes.fromhex("bafd03eca82074fbbaf803b078eebafd03ebf0")


def boot_sector(folder, code):
    path = os.path.join(folder, "floppy.img")
    with open(path, "wb") as image:
        image.write(code.ljust(510, b"\0") + b"\x55\xaa" + bytes(1474560 - 512))
    return path


def terminates(pid):
    """Whether a SIGTERM is still to be taken."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        fields = dict(line.split(":\t", 1) for line in status.read().splitlines() if ":\t" in line)
    return int(fields["ShdPnd"], 16) >> (signal.SIGTERM - 1) & 1


def idle():
    with tempfile.TemporaryDirectory() as folder:
        for pace in "--unpaced", "--paced":
            with subprocess.Popen([COMMAND, "run", boot_sector(folder, IDLE), pace, "--serial", "none", "--debugcon",
                                   "stdio"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as run:
                # SeaBIOS has handed over.
                said = b""
                while b"Booting from 0000:7c00" not in said:
                    more = os.read(run.stdout.fileno(), 65536)
                    expect(more, f"ended early: {said[-500:]!r}")
                    said += more
                run.send_signal(signal.SIGTERM)
                expect(run.wait(60) == QUIT, f"{pace}: exit code {run.returncode}")


def stuck():
    with tempfile.TemporaryDirectory() as folder:
        keyboard, terminal = pty.openpty()
        before = termios.tcgetattr(terminal)
        reader, writer = os.pipe()
        with subprocess.Popen([COMMAND, "run", boot_sector(folder, TALK)], stdin=terminal, stdout=writer) as run:
            os.close(writer)
            os.read(reader, 1)
            expect(termios.tcgetattr(terminal)[3] != before[3], "the terminal is not raw")
            # The pipe fills, and the run waits for us: its state says so.
            while True:
                with open(f"/proc/{run.pid}/wchan", encoding="ascii") as where:
                    if "pipe" in where.read():
                        break
            run.send_signal(signal.SIGTERM)
            # Two that wait are one.
            while terminates(run.pid):
                pass
            run.send_signal(signal.SIGTERM)
            expect(run.wait(60) == QUIT, f"exit code {run.returncode}")
        expect(termios.tcgetattr(terminal) == before, "the terminal was left as the guest had it")
        os.close(reader)
        os.close(keyboard)
        os.close(terminal)


main({"idle": idle, "stuck": stuck})
