#!/usr/bin/env python3
"""Traces whole recordings of our guests: every instruction once and in order, the replay underneath proven by the digest
at its end, and memory as it must be: what an instruction reads is what was last written there, as far as the trace
knows. (Interrupts write frames that are no instruction's: after each, nothing is known.)"""
import os
import re
import subprocess
import sys
import tempfile

COMMAND = os.environ['UNDERSTUDY']
FIRMWARE = os.environ['UNDERSTUDY_FIRMWARE']
INSTRUCTIONS = 40_000
GUESTS = ['hello64', 'fpu_sse', 'flags', 'flags_long', 'v86', 'real_mode', 'paging_long', 'paging_pae', 'smc',
          'cmpxchg8b_long', 'rep', 'ring3_long', 'timer', 'intr_window', 'debug', 'fp_exceptions']
TOUCHED = re.compile(r'  ([rw])(\d+)\[([0-9a-f]+)\](?:=([0-9a-f]+))?')


def check(guest, scratch):
    recording = os.path.join(scratch, guest)
    recorded = subprocess.run([COMMAND, 'record', recording, f'{FIRMWARE}/{guest}.elf', '--memory', '16', '--serial',
                               'none', '--stop-at', str(INSTRUCTIONS)], stdin=subprocess.DEVNULL)
    if recorded.returncode not in (0, 33):
        raise RuntimeError(f'{guest}: understudy record: exit code {recorded.returncode}')
    trace = subprocess.Popen([COMMAND, 'trace', recording, '--regs', '--mem'], stdout=subprocess.PIPE, text=True)
    memory = {}
    following = compared = 0
    for line in trace.stdout:
        event, faults = line[14:16] == '--', line.endswith('(faults)\n')
        if event or faults:
            memory.clear()
        if int(line[:12]) != following:
            raise RuntimeError(f'{guest}: instruction {following} was to follow: {line}')
        if event or faults:
            continue
        following += 1
        for kind, size, address, value in TOUCHED.findall(line):
            first = int(address, 16)
            touched = bytes.fromhex(value)[::-1] if value else [None] * int(size)
            for at, byte in enumerate(touched, first):
                known = memory.get(at)
                if kind == 'r' and known is not None and byte is not None:
                    compared += 1
                    if known != byte:
                        raise RuntimeError(f'{guest}: {known:02x} was last written at {at:#x}: {line}')
                memory[at] = byte
    if trace.wait() != 0:
        raise RuntimeError(f'{guest}: understudy trace: exit code {trace.returncode}')
    return following, compared


def main():
    with tempfile.TemporaryDirectory() as scratch:
        for guest in GUESTS:
            instructions, compared = check(guest, scratch)
            if instructions < 5000 or compared < 50:
                raise RuntimeError(f'{guest}: only {instructions} instructions, {compared} bytes compared')
            print(f'{guest}: {instructions} instructions, {compared} bytes as they were written')
    return 0


if __name__ == '__main__':
    sys.exit(main())
