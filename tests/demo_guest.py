"""The guest that `tools/images demo` makes, for tests: what to boot, and a person's ways to use it: ssh, curl."""

import hashlib
import os
import pathlib
import subprocess

IMAGES = pathlib.Path(os.environ["UNDERSTUDY_IMAGES"])
FILES = ("vmlinuz-demo", "initramfs-demo.img", "demo-append", "demo-100M.sha256", "demo-login-key", "demo-known-hosts")
READY = "understudy demo: ready"
BIG_FILE_BYTES = 100_000_000
LIMIT = 600  # seconds for one command


class Failure(Exception):
    """What a person at this guest would not put up with."""


def missing():
    """A file that is not there, or None."""
    return next((name for name in FILES if not (IMAGES / name).exists()), None)


def boot_options():
    """Of `understudy run` and its relatives: all but the network."""
    return ["--memory", "256", "--kernel", str(IMAGES / "vmlinuz-demo"), "--initrd", str(IMAGES / "initramfs-demo.img"),
            "--append", (IMAGES / "demo-append").read_text().strip()]


def forwards(ssh_port, http_port):
    """The --net that leads these ports of the host's loopback to the guest."""
    return f"user,hostfwd=tcp:127.0.0.1:{ssh_port}-:22,hostfwd=tcp:127.0.0.1:{http_port}-:80"


def ssh_command(port, *remote, terminal="-T"):
    # Its -F none: nobody's own configuration has a say. -T: as a test has no terminal, it must not matter.
    return ["ssh", "-F", "none", terminal, "-p", str(port), "-i", str(IMAGES / "demo-login-key"), "-o", "IdentitiesOnly=yes",
            "-o", f"UserKnownHostsFile={IMAGES / 'demo-known-hosts'}", "-o", "HostKeyAlias=understudy-demo", "-o",
            "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "root@127.0.0.1", *remote]


def terminal_command(port):
    """A login at a terminal of the guest's, although the test has none."""
    return ssh_command(port, terminal="-tt")


def ssh(port, remote, data=b""):
    """What a command in the guest says."""
    done = subprocess.run(ssh_command(port, remote), input=data, capture_output=True, timeout=LIMIT)
    if done.returncode != 0:
        raise Failure(f"ssh '{remote}': exit code {done.returncode}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def big_file_sum():
    return (IMAGES / "demo-100M.sha256").read_text().split()[0]


def download(http_port, count=None):
    """The SHA-256 of the big file, or of its first bytes, as curl gets it, and the seconds that took."""
    ranges = [] if count is None else ["--range", f"0-{count - 1}"]
    command = ["curl", "--silent", "--show-error", "--fail", "--write-out", "%{stderr}%{time_total}", *ranges,
               f"http://127.0.0.1:{http_port}/100M"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    digest = hashlib.sha256()
    while piece := process.stdout.read(1 << 20):
        digest.update(piece)
    said = process.stderr.read().decode()
    if process.wait(LIMIT) != 0:
        raise Failure(f"curl: exit code {process.returncode}: {said}")
    return digest.hexdigest(), float(said)
