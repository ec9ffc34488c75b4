// Shows the IDE disk: IDENTIFY, PIO reads and writes with LBA28 and LBA48, MULTIPLE, flush, errors, interrupts on IRQ
// 14, an absent drive, bus-master DMA with scatter/gather in both directions, and code that arrives by DMA over code
// that ran. ATA-6; PIIX3 datasheet (bus master). Wants a zero-filled scratch disk of 8 MiB as the first IDE disk.
#include "runtime.h"

enum { kData = 0x1f0, kError, kCount, kLba0, kLba1, kLba2, kDevice, kCommand, kControl = 0x3f6 };
enum { kBsy = 0x80, kDrdy = 0x40, kDf = 0x20, kDrq = 0x08, kErr = 0x01 };
enum { kSectors = 16384 };

static uint16_t buffer[8 * 256] __attribute__((aligned(4096)));
static uint16_t other[8 * 256] __attribute__((aligned(4096)));
static volatile uint32_t irqs;
static uint16_t bus_master;

static void on_irq14(struct Frame* f) {
  ++irqs;
  pic_eoi(14);
}

static uint8_t wait_ready(void) {
  uint8_t s;
  do s = inb(kCommand);
  while (s & kBsy);
  return s;
}

static void pattern(uint16_t* p, uint32_t sectors, uint32_t seed) {
  for (uint32_t i = 0; i < sectors * 256; ++i) {
    seed = seed * 1103515245 + 12345;
    p[i] = (uint16_t)(seed >> 16);
  }
}

static void start28(uint8_t command, uint32_t lba, uint8_t count) {
  wait_ready();
  outb(kDevice, (uint8_t)(0xe0 | lba >> 24));
  outb(kCount, count);
  outb(kLba0, (uint8_t)lba);
  outb(kLba1, (uint8_t)(lba >> 8));
  outb(kLba2, (uint8_t)(lba >> 16));
  outb(kCommand, command);
}

static void start48(uint8_t command, uint32_t lba, uint16_t count) {
  wait_ready();
  outb(kDevice, 0xe0);
  outb(kCount, (uint8_t)(count >> 8));
  outb(kLba0, (uint8_t)(lba >> 24));
  outb(kLba1, 0);
  outb(kLba2, 0);
  outb(kCount, (uint8_t)count);
  outb(kLba0, (uint8_t)lba);
  outb(kLba1, (uint8_t)(lba >> 8));
  outb(kLba2, (uint8_t)(lba >> 16));
  outb(kCommand, command);
}

// Moves the data blocks of a PIO command; false on an error.
static bool read_blocks(uint16_t* to, uint32_t sectors, uint32_t per_block) {
  for (; sectors; sectors -= per_block) {
    uint8_t s = wait_ready();
    if ((s & (kErr | kDf)) || !(s & kDrq)) return false;
    for (uint32_t i = 0; i < per_block * 256; ++i) *to++ = inw(kData);
  }
  return !(wait_ready() & (kErr | kDf | kDrq));
}

static bool write_blocks(const uint16_t* from, uint32_t sectors, uint32_t per_block) {
  for (; sectors; sectors -= per_block) {
    uint8_t s = wait_ready();
    if ((s & (kErr | kDf)) || !(s & kDrq)) return false;
    for (uint32_t i = 0; i < per_block * 256; ++i) outw(kData, *from++);
  }
  return !(wait_ready() & (kErr | kDf | kDrq));
}

static void identify(void) {
  start28(0xec, 0, 0);
  check(read_blocks(buffer, 1, 1), "identify");
  check_value(buffer[60] | (uint32_t)buffer[61] << 16, kSectors, "LBA28 sectors");
  check_value(buffer[100] | (uint32_t)buffer[101] << 16, kSectors, "LBA48 sectors");
  check(buffer[49] & 0x200, "LBA");
  check(buffer[49] & 0x100, "DMA");
  check(buffer[83] & 0x400, "LBA48");
  check((buffer[0] & 0x8000) == 0, "an ATA disk");
}

static void pio(void) {
  static const struct {
    uint32_t lba;
    uint8_t count;
  } kPlaces[] = {{0, 1}, {1, 3}, {1000, 8}, {kSectors - 1, 1}, {kSectors - 5, 5}};
  for (int i = 0; i < 5; ++i) {
    pattern(buffer, 8, kPlaces[i].lba + 1);
    start28(0x30, kPlaces[i].lba, kPlaces[i].count);
    bool right = write_blocks(buffer, kPlaces[i].count, 1);
    memset(other, 0, sizeof other);
    start28(0x20, kPlaces[i].lba, kPlaces[i].count);
    right &= read_blocks(other, kPlaces[i].count, 1);
    say("lba %u, %u sectors, sum %08x: ", kPlaces[i].lba, (uint32_t)kPlaces[i].count,
        crc32(0, other, kPlaces[i].count * 512u));
    check(right && memcmp(buffer, other, kPlaces[i].count * 512u) == 0, "LBA28 writes and reads");
    start48(0x24, kPlaces[i].lba, kPlaces[i].count);
    memset(other, 0, sizeof other);
    right = read_blocks(other, kPlaces[i].count, 1);
    check(right && memcmp(buffer, other, kPlaces[i].count * 512u) == 0, "  LBA48 reads the same");
  }
  pattern(buffer, 8, 99);
  start48(0x34, 2000, 8);
  bool right = write_blocks(buffer, 8, 1);
  start28(0xe7, 0, 0);
  right &= !(wait_ready() & (kErr | kDf));
  start28(0x20, 2000, 8);
  right &= read_blocks(other, 8, 1);
  check(right && memcmp(buffer, other, 4096) == 0, "LBA48 writes, flush");
  // Sectors in MULTIPLE blocks.
  start28(0xc6, 0, 4);
  check(!(wait_ready() & kErr), "set multiple to 4");
  pattern(buffer, 8, 55);
  start28(0xc5, 3000, 8);
  right = write_blocks(buffer, 8, 4);
  start28(0xc4, 3000, 8);
  memset(other, 0, sizeof other);
  right &= read_blocks(other, 8, 4);
  check(right && memcmp(buffer, other, 4096) == 0, "multiple");
  // A dword at a time.
  start28(0x20, 3000, 1);
  wait_ready();
  uint32_t first = inl(kData);
  check(first == *(uint32_t*)buffer, "32-bit data port");
  uint32_t count = 127, to = (uint32_t)(other + 2);
  __asm__ volatile("rep insl" : "+c"(count), "+D"(to) : "d"(kData) : "memory");
  check(memcmp(buffer + 2, other + 2, 508) == 0, "rep insl");
  check(!(wait_ready() & kDrq), "DRQ ends with the data");
  // Old data stayed where it was.
  start28(0x20, 1000, 8);
  read_blocks(other, 8, 1);
  pattern(buffer, 8, 1001);
  check(memcmp(buffer, other, 4096) == 0, "other sectors are untouched");
}

static void errors(void) {
  start28(0x20, kSectors, 1);
  check(wait_ready() & kErr, "read behind the end fails");
  start28(0x20, kSectors - 1, 1);
  check(read_blocks(other, 1, 1), "the next command works");
  start28(0x9a, 0, 0);
  uint8_t s = wait_ready();
  check((s & kErr) && (inb(kError) & 4), "an unknown command aborts");
  outb(kDevice, 0xf0);  // the slave, which is not there
  outb(kCommand, 0xec);
  check((inb(kCommand) & (kDrq | kDrdy)) == 0, "absent slave");
  outb(kDevice, 0xe0);
  // Software reset leaves the signature of an ATA disk.
  outb(kControl, 4);
  outb(kControl, 0);
  wait_ready();
  check(inb(kCount) == 1 && inb(kLba0) == 1 && inb(kLba1) == 0 && inb(kLba2) == 0, "signature after a reset");
}

static void serve_pending(void) {
  sti();
  for (int i = 0; i < 1000; ++i) inb(0x80);
  cli();
}

static void spurious(struct Frame* f) { outb(0x20, 0x20); }  // IRQ 15 that was none: only the master gets an EOI

static void interrupts(void) {
  trap_handlers[0x2f] = spurious;
  trap_handlers[0x2e] = on_irq14;
  outb(kDevice, 0xe0);
  outb(kControl, 0);
  inb(kCommand);
  pic_unmask(14);
  serve_pending();  // edges of earlier commands are latched in the 8259
  irqs = 0;
  start28(0x20, 0, 3);
  bool right = true;
  for (uint32_t i = 1; i <= 3; ++i) {
    cli();
    while (irqs < i) sleep_for_interrupt();
    right &= (inb(kCommand) & (kDrq | kErr)) == kDrq;
    for (int k = 0; k < 256; ++k) other[k] = inw(kData);
  }
  check(right, "one interrupt for each sector read");
  check_value(irqs, 3, "interrupts");
  irqs = 0;
  outb(kControl, 2);
  start28(0x20, 0, 1);
  read_blocks(other, 1, 1);
  serve_pending();
  check_value(irqs, 0, "interrupts with nIEN set");
  outb(kControl, 0);
}

// ---- PCI and DMA ----
static uint32_t pci_read(uint32_t device, uint32_t function, uint32_t reg) {
  outl(0xcf8, 0x80000000 | device << 11 | function << 8 | reg);
  return inl(0xcfc);
}
static void pci_write(uint32_t device, uint32_t function, uint32_t reg, uint32_t v) {
  outl(0xcf8, 0x80000000 | device << 11 | function << 8 | reg);
  outl(0xcfc, v);
}

static bool find_bus_master(void) {
  for (uint32_t device = 0; device < 32; ++device) {
    for (uint32_t function = 0; function < 8; ++function) {
      if (pci_read(device, function, 0) == 0xffffffff || pci_read(device, function, 8) >> 16 != 0x0101) continue;
      uint32_t bar = pci_read(device, function, 0x20);
      if (!(bar & ~0xfu)) {  // no BIOS has assigned it
        pci_write(device, function, 0x20, 0xc000);
        bar = pci_read(device, function, 0x20);
      }
      pci_write(device, function, 4, pci_read(device, function, 4) | 5);
      bus_master = (uint16_t)(bar & 0xfff0);
      return (bar & 1) && bus_master;
    }
  }
  return false;
}

static struct { uint32_t address, count; } prd[4] __attribute__((aligned(64)));

static bool transfer(bool to_memory, uint32_t lba, uint8_t sectors, bool ext) {
  serve_pending();
  irqs = 0;
  outl((uint16_t)(bus_master + 4), (uint32_t)prd);
  outb(bus_master, to_memory ? 8 : 0);
  outb((uint16_t)(bus_master + 2), (uint8_t)(inb((uint16_t)(bus_master + 2)) | 6));
  if (ext)
    start48(to_memory ? 0x25 : 0x35, lba, sectors);
  else
    start28(to_memory ? 0xc8 : 0xca, lba, sectors);
  outb(bus_master, to_memory ? 9 : 1);
  while (!irqs) sleep_for_interrupt();
  uint8_t status = inb((uint16_t)(bus_master + 2));
  outb(bus_master, 0);
  outb((uint16_t)(bus_master + 2), (uint8_t)(status | 6));
  return (status & 7) == 4 && !(inb(kCommand) & (kBsy | kErr | kDf | kDrq));
}

static void dma(void) {
  if (!check(find_bus_master(), "bus master")) return;
  pattern(buffer, 8, 4711);
  prd[0].address = (uint32_t)buffer;
  prd[0].count = 0x80001000;
  check(transfer(false, 5000, 8, false), "write DMA");
  start28(0x20, 5000, 8);
  check(read_blocks(other, 8, 1) && memcmp(buffer, other, 4096) == 0, "PIO reads it");
  memset(other, 0, sizeof other);
  prd[0].address = (uint32_t)other + 3072;  // gather in three pieces, out of order
  prd[0].count = 1024;
  prd[1].address = (uint32_t)other;
  prd[1].count = 2048;
  prd[2].address = (uint32_t)other + 2048;
  prd[2].count = 0x80000000 | 1024;
  check(transfer(true, 5000, 8, false), "read DMA in three pieces");
  check(!memcmp(other + 1536, buffer, 1024) && !memcmp(other, buffer + 512, 2048) &&
            !memcmp(other + 1024, buffer + 1536, 1024),
        "each where it belongs");
  uint32_t* big = (uint32_t*)0x800000;
  for (uint32_t i = 0; i < 32768; ++i) big[i] = i * 2654435761u;
  prd[0].address = 0x800000;
  prd[0].count = 0;  // 64 KiB
  prd[1].address = 0x810000;
  prd[1].count = 0x80000000;
  check(transfer(false, 6000, 0, false), "write DMA of 256 sectors");
  prd[0].address = 0xa00000;
  prd[1].address = 0xa10000;
  prd[0].count = 0x80000000;
  check(transfer(true, 6000, 128, true), "read DMA, LBA48");
  check(memcmp((void*)0xa00000, big, 65536) == 0, "64 KiB are right");
}

// Code that ran is replaced by DMA.
static void dma_over_code(void) {
  uint8_t* code = (uint8_t*)0xc00000;
  bool right = true;
  for (uint32_t i = 0; i < 8; ++i) {  // sector 7000 + i holds: mov eax, i; ret
    memset(buffer, 0, 512);
    uint8_t* b = (uint8_t*)buffer;
    b[0] = 0xb8;
    b[1] = (uint8_t)i;
    b[5] = 0xc3;
    start28(0x30, 7000 + i, 1);
    right &= write_blocks(buffer, 1, 1);
  }
  uint32_t sum = 0;
  for (uint32_t i = 0; i < 40; ++i) {
    prd[0].address = (uint32_t)code;
    prd[0].count = 0x80000200;
    right &= transfer(true, 7000 + i * 3 % 8, 1, false);
    sum = sum * 3 + ((uint32_t(*)(void))(void*)code)();
  }
  uint32_t want = 0;
  for (uint32_t i = 0; i < 40; ++i) want = want * 3 + i * 3 % 8;
  check(right, "40 transfers");
  check_value(sum, want, "code that came by DMA over code that ran");
  sum = 0;
  for (uint32_t i = 0; i < 16; ++i) {
    start28(0x20, 7000 + i % 8, 1);
    wait_ready();
    uint32_t count = 256, to = (uint32_t)code;
    __asm__ volatile("rep insw" : "+c"(count), "+D"(to) : "d"(kData) : "memory");
    sum = sum * 3 + ((uint32_t(*)(void))(void*)code)();
  }
  want = 0;
  for (uint32_t i = 0; i < 16; ++i) want = want * 3 + i % 8;
  check_value(sum, want, "code that came by rep insw");
}

int main(void) {
  outb(kControl, 2);
  identify();
  pio();
  errors();
  interrupts();
  dma();
  dma_over_code();
  return 0;
}
