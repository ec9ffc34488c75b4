#!/usr/bin/env python3
"""SIGTERM ends a run whatever its guest does: a halted one whose timer is masked, too. Several at once are one, and a
recording gets its end. A later one ends a process that waits for the reader of its output, and puts the terminal back."""
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


def await_boot(run):
    """SeaBIOS has handed over."""
    said = b""
    while b"Booting from 0000:7c00" not in said:
        more = os.read(run.stdout.fileno(), 65536)
        expect(more, f"ended early: {said[-500:]!r}")
        said += more


def idle():
    with tempfile.TemporaryDirectory() as folder:
        for pace in "--unpaced", "--paced":
            with subprocess.Popen([COMMAND, "run", boot_sector(folder, IDLE), pace, "--serial", "none", "--debugcon",
                                   "stdio"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as run:
                await_boot(run)
                run.send_signal(signal.SIGTERM)
                expect(run.wait(60) == QUIT, f"{pace}: exit code {run.returncode}")


def several():
    """As `timeout` does it: a signal of its own after the terminal's. A stopped process gets them in one burst."""
    with tempfile.TemporaryDirectory() as folder:
        recording = os.path.join(folder, "recording")
        with subprocess.Popen([COMMAND, "record", recording, boot_sector(folder, IDLE), "--paced", "--serial", "none",
                               "--debugcon", "stdio"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as run:
            await_boot(run)
            for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCONT):
                run.send_signal(number)
            expect(run.wait(60) == QUIT, f"exit code {run.returncode}")
        for command in (["log", recording, "--check"], ["replay", recording, "--verify"]):
            done = subprocess.run([COMMAND, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
            expect(done.returncode == 0, f"{command[0]}: exit code {done.returncode}: {done.stderr}")


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
            sent = 0
            while run.poll() is None:
                run.send_signal(signal.SIGTERM)
                sent += 1
                expect(sent < 100, "it does not end")
                try:
                    run.wait(0.2)
                except subprocess.TimeoutExpired:
                    pass
            expect(run.returncode == QUIT, f"exit code {run.returncode}")
        expect(termios.tcgetattr(terminal) == before, "the terminal was left as the guest had it")
        os.close(reader)
        os.close(keyboard)
        os.close(terminal)


main({"idle": idle, "several": several, "stuck": stuck})
