"""Compares `understudy trace` of one of our guests with QEMU's own log of the same guest, one instruction a block.

Both begin at the guest's entry point: QEMU logs only the guest's addresses, so that its firmware before that is left out.
The guests run with interrupts off (EFLAGS.IF is clear at a multiboot entry, and those compared here never set it), so no
timer comes between: with interrupts on, each of the two would take them at instructions of its own, because QEMU's clock
is the host's. An instruction compares by its address and by every register and flag that the trace has told of until
then; what the two boot loaders leave in registers and the guest never looks at is not compared."""
import re
import shutil
import subprocess

QEMU = 'qemu-system-x86_64'
NAMES = ('eax', 'ebx', 'ecx', 'edx', 'esi', 'edi', 'ebp', 'esp')
CHANGE = re.compile(r'  (e[a-d]x|e[sd]i|e[bs]p|eflags)=([0-9a-f]{8})')


def available():
    return shutil.which(QEMU) is not None


def qemu_instructions(image):
    """Yields the registers before each instruction."""
    process = subprocess.Popen(
        [QEMU, '-accel', 'tcg', '-cpu', 'Nehalem', '-machine', 'pc', '-no-hpet', '-m', '64', '-kernel', image,
         '-serial', 'none', '-display', 'none', '-monitor', 'none', '-net', 'none', '-no-reboot', '-singlestep',
         '-d', 'exec,cpu,nochain', '-dfilter', '0x100000+0x100000', '-D', '/dev/stdout'],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=1 << 20)
    try:
        registers = {}
        for line in process.stdout:
            start = line[:4]
            if start in (b'EAX=', b'ESI='):
                for field in line.split():
                    registers[field[:3].decode().lower()] = int(field[4:], 16)
            elif start == b'EIP=':
                fields = line.split()
                registers['eip'] = int(fields[0][4:], 16)
                registers['eflags'] = int(fields[1][4:], 16)
            elif start == b'Stop':
                # QEMU's own business called it away before the instruction that it has just announced.
                registers = {}
            elif start == b'Trac' and registers:
                yield registers
                registers = {}
    finally:
        process.kill()
        process.wait()


def compare(command, recording, image, compared, traced):
    """Traces `traced` instructions and compares the first `compared`. Returns nothing, or raises RuntimeError."""
    trace = subprocess.Popen([command, 'trace', recording, '--regs', '--to', str(traced)], stdout=subprocess.PIPE,
                             text=True, bufsize=1 << 20)
    known = {}
    qemu = qemu_instructions(image)
    count = 0
    for line in trace.stdout:
        if int(line[:12]) != count or line[14:16] == '--':
            raise RuntimeError(f'instruction {count} was to follow: {line}')
        if count < compared:
            registers = next(qemu)
            ours = int(line[19:27], 16)
            if registers['eip'] != ours:
                raise RuntimeError(f'instruction {count}: at {ours:#x} here, at {registers["eip"]:#x} on QEMU')
            for name, value in known.items():
                if registers[name] != value:
                    raise RuntimeError(f'instruction {count}, at {ours:#x}: {name} is {value:#x} here, '
                                       f'{registers[name]:#x} on QEMU')
            known.update((name, int(value, 16)) for name, value in CHANGE.findall(line, 27))
        count += 1
    qemu.close()
    if trace.wait() != 0 or count != traced:
        raise RuntimeError(f'understudy trace: exit code {trace.returncode} after {count} instructions')
    missing = [name for name in NAMES if name not in known]
    if missing:
        raise RuntimeError(f'never compared: {missing}')
