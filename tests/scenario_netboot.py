#!/usr/bin/env python3
"""iPXE, from either network card's boot ROM, gets an address and a script by DHCP and TFTP from the user network, then
what the script names: a guest of ours. Recorded while it happens; the recording replays equal, to the last digest and
console byte, from power-on and from a snapshot amid the transfer. scenario_netboot_long.py boots Debian so."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from guest_console import COMMAND, expect, main

FIRMWARE = pathlib.Path(os.environ["UNDERSTUDY_FIRMWARE"])


def end_state(path):
    result = json.loads(path.read_text())
    return {key: result[key] for key in ("icount", "virtual_ns", "digest")}


def netboot(nic, script, files, code, *options, seconds=300):
    """Serves `files` and `script`; what the recorded machine's line said, its result, and how its replay went."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        served = scratch / "tftp"
        served.mkdir()
        (served / "boot.ipxe").write_text("#!ipxe\n" + script)
        for file in files:
            shutil.copy(file, served)
        recording, console, result = scratch / "recording", scratch / "console", scratch / "json"
        done = subprocess.run(
            [COMMAND, "record", recording, "--nic", nic, "--net", f"user,tftp={served},bootfile=boot.ipxe", "--json", result,
             "--serial", f"file:{console}", "--snapshot-every", "20", *map(str, options)],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=seconds, check=False)
        said = console.read_text(errors="replace")
        expect(done.returncode == code, f"{nic}: exit code {done.returncode}: {done.stderr.strip()}\n{said[-1000:]}")
        want, whole = end_state(result), json.loads(result.read_text())
        shutil.rmtree(served)
        for begin in ("start", "nearest"):
            again = subprocess.run([COMMAND, "replay", recording, "--verify", "--from", begin, "--json", result, "--serial",
                                    f"file:{console}2"], stdout=subprocess.PIPE, text=True, timeout=seconds, check=False)
            expect(again.returncode == 0, f"{nic}: the replay from {begin} ended with {again.returncode}")
            expect(end_state(result) == want, f"{nic}: the replay from {begin} ended in another state")
            replayed = pathlib.Path(f"{console}2").read_text(errors="replace")
            expect(said.endswith(replayed) if begin == "nearest" else said == replayed, f"{nic}: the consoles differ")
        return said, whole, again.stdout.strip()


def firmware(nic):
    # The second file is only carried, so that a transfer of some length is recorded.
    said, result, _ = netboot(nic, "kernel hello.elf\nmodule cpu_bench.elf\nboot\n",
                              [FIRMWARE / "hello.elf", FIRMWARE / "cpu_bench.elf"], 33, "--memory", 32)
    expect(said.endswith("PASS\n"), f"{nic}: no verdict in {said!r}")
    size = (FIRMWARE / "cpu_bench.elf").stat().st_size
    expect(result["net"]["bytes_in"] > size, f"{nic}: less came than was served: {result['net']}")


if __name__ == "__main__":
    main({"virtio": lambda: firmware("virtio"), "ne2k": lambda: firmware("ne2k")})
