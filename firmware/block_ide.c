// The first IDE disk, by interrupts: bus-master DMA, and PIO for every eighth request. One request at a time: start()
// does all of it. ATA-6; PIIX3 datasheet (bus master).
#include "block.h"
#include "pci.h"

enum { kData = 0x1f0, kCount = 0x1f2, kLba0, kLba1, kLba2, kDevice, kCommand, kControl = 0x3f6 };
enum { kBsy = 0x80, kDf = 0x20, kDrq = 0x08, kErr = 0x01 };
enum { kReadPio = 0x20, kWritePio = 0x30, kReadDma = 0xc8, kWriteDma = 0xca, kFlush = 0xe7, kIdentify = 0xec };
enum { kIrq = 14, kPioEvery = 8 };

static volatile uint32_t irqs;
static uint16_t bus_master;
static struct { uint32_t address, count; } prd __attribute__((aligned(8)));
static bool results[kBlockSlots];
static uint32_t requests;

static void on_irq(struct Frame* f) {
  ++irqs;
  pic_eoi(kIrq);
}

static uint8_t wait_interrupt(void) {
  while (!irqs) sleep_for_interrupt();
  irqs = 0;
  return inb(kCommand);
}

static uint8_t wait_ready(void) {
  uint8_t s;
  do s = inb(kCommand);
  while (s & kBsy);
  return s;
}

static void command(uint8_t code, uint32_t lba, uint32_t sectors) {
  irqs = 0;
  outb(kDevice, (uint8_t)(0xe0 | lba >> 24));
  outb(kCount, (uint8_t)sectors);
  outb(kLba0, (uint8_t)lba);
  outb(kLba1, (uint8_t)(lba >> 8));
  outb(kLba2, (uint8_t)(lba >> 16));
  outb(kCommand, code);
}

static bool pio(bool write, uint32_t lba, uint32_t sectors, uint16_t* data) {
  command(write ? kWritePio : kReadPio, lba, sectors);
  uint8_t status = write ? wait_ready() : 0;
  for (; sectors; --sectors) {
    if (!write) status = wait_interrupt();
    if ((status & (kErr | kDf)) || !(status & kDrq)) return false;
    for (int i = 0; i < kSectorBytes / 2; ++i, ++data)
      if (write)
        outw(kData, *data);
      else
        *data = inw(kData);
    if (write) status = wait_interrupt();
  }
  return !(status & (kErr | kDf));
}

static bool dma(bool write, uint32_t lba, uint32_t sectors, void* data) {
  prd.address = (uint32_t)(word)data;
  prd.count = 0x80000000 | sectors * kSectorBytes;
  outl((uint16_t)(bus_master + 4), (uint32_t)(word)&prd);
  outb(bus_master, write ? 0 : 8);
  outb((uint16_t)(bus_master + 2), (uint8_t)(inb((uint16_t)(bus_master + 2)) | 6));
  command(write ? kWriteDma : kReadDma, lba, sectors);
  outb(bus_master, write ? 1 : 9);
  const uint8_t status = wait_interrupt();
  const uint8_t bus_status = inb((uint16_t)(bus_master + 2));
  outb(bus_master, 0);
  outb((uint16_t)(bus_master + 2), (uint8_t)(bus_status | 6));
  return !(bus_status & 2) && !(status & (kErr | kDf));
}

static void start(int slot, enum BlockOperation operation, uint32_t lba, uint32_t sectors, void* data) {
  if (operation == kBlockFlush) {
    command(kFlush, 0, 0);
    results[slot] = !(wait_interrupt() & (kErr | kDf));
    return;
  }
  const bool write = operation == kBlockWrite;
  results[slot] = ++requests % kPioEvery == 0 ? pio(write, lba, sectors, data) : dma(write, lba, sectors, data);
}

static bool wait(int slot) { return results[slot]; }

// The PIIX3's IDE function; its window is BAR 4.
static bool find_bus_master(void) {
  struct PciFunction at;
  if (!pci_find(0x8086, 0x7010, &at)) return false;
  const uint32_t bar = pci_read(at, 0x20);
  pci_write(at, kPciCommand, (pci_read(at, kPciCommand) & 0xffff) | kPciIo | kPciMaster);
  bus_master = (uint16_t)(bar & 0xfff0);
  return (bar & 1) && bus_master;
}

const struct Block* block_ide_start(void) {
  static struct Block block = {.name = "ide", .start = start, .wait = wait};
  static uint16_t identity[kSectorBytes / 2];
  outb(kDevice, 0xe0);
  if (inb(kCommand) == 0 || !find_bus_master()) return NULL;
  trap_handlers[0x20 + kIrq] = on_irq;
  outb(kControl, 0);
  inb(kCommand);
  pic_unmask(kIrq);
  command(kIdentify, 0, 0);
  if (wait_interrupt() & kErr) return NULL;
  for (int i = 0; i < kSectorBytes / 2; ++i) identity[i] = inw(kData);
  block.sectors = identity[60] | (uint32_t)identity[61] << 16;
  return &block;
}
