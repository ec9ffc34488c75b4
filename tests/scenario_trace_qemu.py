#!/usr/bin/env python3
"""A trace of the CPU-bound guest agrees with QEMU, instruction by instruction, for its first 20,000 instructions. The
first million: scenario_trace_qemu_long.py."""
import os
import subprocess
import sys
import tempfile

import qemu_trace


def main(compared=20_000, traced=30_000):
    if not qemu_trace.available():
        print('scenario: no QEMU here')
        return 77
    command = os.environ['UNDERSTUDY']
    image = os.path.join(os.environ['UNDERSTUDY_FIRMWARE'], 'cpu_bench.elf')
    with tempfile.TemporaryDirectory() as scratch:
        recording = os.path.join(scratch, 'recording')
        subprocess.run([command, 'record', recording, image, '--memory', '64', '--serial', 'none', '--stop-at',
                        str(traced + 1000)], stdin=subprocess.DEVNULL, check=True)
        qemu_trace.compare(command, recording, image, compared, traced)
    print(f'scenario: {traced} instructions traced, the first {compared} as on QEMU')
    return 0


if __name__ == '__main__':
    sys.exit(main())
