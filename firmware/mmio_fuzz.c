// Writes and reads random values (xorshift, fixed seed) at every I/O port and at MMIO: the local and I/O APIC, the VGA
// window, PCI configuration, and addresses above RAM, and lets interrupts in between the rounds. Passes if the machine
// still runs at the end; the console is not compared. Linked at 2 MiB: its own addresses have bit 20 clear, so that
// closing A20 does no harm. QEMU 7.2 does not survive it (an assertion in its UART, a storm of its APIC timer).
//
// Left out: what would legitimately end or overwrite the guest. Ports f4 (debug exit), cf9 and 92 bit 0 and 8042
// resets, PM1 control (power off), b2 (SMI), the fw_cfg DMA address, bus mastering, and the delivery modes NMI, SMI and
// INIT.
#include "runtime.h"

static uint64_t state = 0x9e3779b97f4a7c15;
static uint32_t next_random(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 16);
}

// Values with interesting bits more often than chance would have them.
static uint32_t next_value(void) {
  switch (next_random() % 6) {
    case 0:
      return 0;
    case 1:
      return 0xffffffff;
    case 2:
      return 1u << (next_random() & 31);
    default:
      return next_random();
  }
}

static uint32_t pm_base;

static bool touches(uint32_t port, uint32_t size, uint32_t first, uint32_t last) {
  return port <= last && port + size > first;
}

static bool may_write(uint32_t port, uint32_t size, uint32_t* value) {
  if (port + size > 0x10000) return false;
  if (touches(port, size, 0xf4, 0xf7) || touches(port, size, 0xb2, 0xb3) || touches(port, size, 0x514, 0x51b))
    return false;
  if (touches(port, size, 0xcf9, 0xcf9) && size != 4) return false;
  if (touches(port, size, 0xcf8, 0xcff) || touches(port, size, 0x64, 0x64)) return false;  // in their own rounds
  if (touches(port, size, pm_base + 4, pm_base + 5) || touches(port, size, 0x604, 0x605)) return false;
  if (touches(port, size, 0x92, 0x92)) {
    if (size != 1) return false;
    *value &= ~1u;
  }
  return true;
}

static void write_port(uint32_t port, uint32_t size, uint32_t v) {
  if (!may_write(port, size, &v)) return;
  if (size == 1) outb((uint16_t)port, (uint8_t)v);
  if (size == 2) outw((uint16_t)port, (uint16_t)v);
  if (size == 4) outl((uint16_t)port, v);
}

static uint32_t read_port(uint32_t port, uint32_t size) {
  if (port + size > 0x10000) return 0;
  return size == 1 ? inb((uint16_t)port) : size == 2 ? inw((uint16_t)port) : inl((uint16_t)port);
}

static uint32_t sum;

static void all_ports(void) {
  for (uint32_t port = 0; port < 0x10000; ++port) {
    for (uint32_t size = 1; size <= 4; size *= 2) {
      sum += read_port(port, size);
      write_port(port, size, next_value());
      sum += read_port(port, size);
    }
  }
}

// The ports where a PC has its chips, much more often.
static void chips(uint32_t turns) {
  static const uint16_t kBases[] = {0x00,  0x20,  0x40,  0x60,  0x70,  0x80,   0x90,   0xa0,   0xc0,  0xd0,  0x170,
                                    0x1f0, 0x1ce, 0x2f8, 0x370, 0x376, 0x3b0,  0x3c0,  0x3d0,  0x3e8, 0x3f0, 0x3f8,
                                    0x402, 0x480, 0x4d0, 0x510, 0x600, 0xae00, 0xaf00, 0xc000, 0xb000};
  for (uint32_t i = 0; i < turns; ++i) {
    const uint32_t port = kBases[next_random() % (sizeof kBases / sizeof *kBases)] + (next_random() & 15);
    const uint32_t size = 1u << (next_random() % 3);
    if (next_random() & 1)
      write_port(port, size, next_value());
    else
      sum += read_port(port, size);
  }
}

static void controller_8042(uint32_t turns) {
  for (uint32_t i = 0; i < turns; ++i) {
    const uint8_t command = (uint8_t)next_value();
    if (command >= 0xf0) continue;  // pulses the reset line
    outb(0x64, command);
    // The output port's bit 0 is the reset line.
    outb(0x60, (uint8_t)(next_value() | 1));
    sum += inb(0x60) + inb(0x64);
  }
}

static void pci(uint32_t turns) {
  for (uint32_t i = 0; i < turns; ++i) {
    const uint32_t device = next_random() & 31, function = next_random() & 7, reg = next_random() & 0xfc;
    outl(0xcf8, 0x80000000 | (next_random() % 8 ? 0 : (next_random() & 0xff0000)) | device << 11 | function << 8 | reg);
    sum += inl(0xcfc);
    uint32_t v = next_value();
    if (reg == 4) v &= ~4u;                                                      // no bus mastering
    if (device == 0 && reg >= 0x58) continue;                                    // PAM and SMRAM: the BIOS area
    if (device == 1 && function == 3 && (reg == 0x40 || reg == 0x80)) continue;  // where the power button is
    if (next_random() & 1) continue;
    switch (next_random() % 3) {
      case 0:
        outl(0xcfc, v);
        break;
      case 1:
        outw((uint16_t)(0xcfc + (next_random() & 2)), (uint16_t)(reg == 4 ? v & ~4u : v));
        break;
      default:
        outb((uint16_t)(0xcfc + (next_random() & 3)), (uint8_t)(reg == 4 ? v & ~4u : v));
    }
  }
  outl(0xcf8, 0);
}

static void memory(uint32_t base, uint32_t size, uint32_t turns, bool writes) {
  for (uint32_t i = 0; i < turns; ++i) {
    volatile uint8_t* at = (volatile uint8_t*)(base + next_random() % size);
    const uint32_t v = next_value();
    switch (writes ? next_random() % 6 : 3 + next_random() % 3) {
      case 0:
        *at = (uint8_t)v;
        break;
      case 1:
        *(volatile uint16_t*)at = (uint16_t)v;
        break;
      case 2:
        *(volatile uint32_t*)at = v;
        break;
      case 3:
        sum += *at;
        break;
      case 4:
        sum += *(volatile uint16_t*)at;
        break;
      default:
        sum += *(volatile uint32_t*)at;
    }
  }
}

// Aligned 32-bit writes with the delivery mode kept at fixed; reads of any kind.
static void apics(uint32_t turns) {
  for (uint32_t i = 0; i < turns; ++i) {
    const bool io = next_random() & 1;
    const uint32_t base = io ? 0xfec00000 : 0xfee00000;
    const uint32_t offset = next_random() & 0xfff;
    if (next_random() & 1) {
      volatile uint8_t* at = (volatile uint8_t*)(base + offset);
      sum += next_random() & 1 ? *at : *(volatile uint32_t*)(base + (offset & ~3u));
      continue;
    }
    uint32_t v = next_value();
    v |= 0x20;  // vectors below 32 would look like exceptions
    if (!io) {
      if ((offset & ~15u) == 0x300) v = (v & 0xc00ff) | 0x40000;  // to itself or to others, fixed
      if ((offset & ~15u) != 0xf0) v &= ~0x700u;  // offset 0 would take it as a message-signalled interrupt
      *(volatile uint32_t*)(base + (offset & ~3u)) = v;
    } else {
      *(volatile uint32_t*)base = next_random() & 0x3f;
      *(volatile uint32_t*)(base + 0x10) = v & ~0x700u;
    }
  }
}

static uint32_t served;
static void ignore(struct Frame* f) {
  outb(0x20, 0x20);
  outb(0xa0, 0x20);
  *(volatile uint32_t*)0xfee000b0 = 0;
  if (++served > 1000) f->flags &= ~(word)kFlagIf;  // a level that no one lowers, or a very fast timer
}

int main(void) {
  trap_handlers[2] = ignore;
  for (int i = 32; i < 256; ++i) trap_handlers[i] = ignore;
  outl(0xcf8, 0x80000000 | 1 << 11 | 3 << 8 | 0x40);
  pm_base = inl(0xcfc) & 0xffc0;
  outl(0xcf8, 0);
  say("fuzzing\n");
  for (int round = 0; round < 3; ++round) {
    chips(20000);
    controller_8042(2000);
    apics(5000);
    pci(5000);
    memory(0xa0000, 0x20000, 20000, true);
    memory(0xfee01000, 0xff000, 2000, false);  // a write may be a message-signalled INIT
    memory(0xfec01000, 0x100000, 2000, true);
    memory(0x10000000, 0xd0000000, 20000, true);
    if (round == 1) all_ports();
    pic_init();  // its vectors may lie anywhere by now
    outb(0x21, 0);
    outb(0xa1, 0);
    served = 0;
    sti();
    for (int i = 0; i < 1000; ++i) __asm__ volatile("nop");
    cli();
  }
  // The console may be in any state now.
  outb(0x3fb, 0);
  outb(0x3f9, 0);
  outb(0x3fb, 0x80);
  outb(0x3f8, 1);
  outb(0x3f9, 0);
  outb(0x3fb, 3);
  outb(0x3fa, 7);
  outb(0x3fc, 3);
  say("\nstill alive\n");
  return 0;
}
