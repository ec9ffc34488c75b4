#!/usr/bin/env python3
# labels: long
"""A trace of 10 million instructions of the CPU-bound guest agrees with QEMU for the first million of them."""
import sys

import scenario_trace_qemu

if __name__ == '__main__':
    sys.exit(scenario_trace_qemu.main(compared=1_000_000, traced=10_000_000))
