// A virtio disk through the legacy PCI interface (Virtual I/O Device 1.2, sections 4.1.4.8 and 5.2): each slot has
// three descriptors of its own, so that all of them can be under way at once.
#include "block.h"
#include "pci.h"

enum { kDriverFeatures = 4, kQueueAddress = 8, kQueueSize = 12, kQueueSelect = 14, kQueueNotify = 16, kStatus = 18 };
enum { kIsr = 19, kConfig = 20 };
enum { kAcknowledge = 1, kDriver = 2, kDriverOk = 4, kFailed = 0x80 };
enum { kFeatureFlush = 1 << 9, kTypeRead = 0, kTypeWrite = 1, kTypeFlush = 4 };
enum { kMaxEntries = 256, kPage = 4096, kNext = 1, kDeviceWrites = 2 };

static struct Header {
  uint32_t type, reserved;
  uint64_t sector;
} headers[kBlockSlots];
static volatile uint8_t statuses[kBlockSlots];
static volatile bool busy[kBlockSlots];

static struct Descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags, next;
} * descriptors;
static uint8_t tables[3 * kPage] __attribute__((aligned(4096)));
static volatile uint16_t *available, *used;  // flags, index, then the ring
static uint16_t entries, next_used, base;
static int irq;

static void on_irq(struct Frame* f) {
  inb((uint16_t)(base + kIsr));
  for (; used[1] != next_used; ++next_used) {
    const volatile uint32_t* entry = (const volatile uint32_t*)(used + 2) + 2u * (next_used & (entries - 1u));
    busy[entry[0] / 3] = false;
  }
  pic_eoi(irq);
}

static void start(int slot, enum BlockOperation operation, uint32_t lba, uint32_t sectors, void* data) {
  struct Descriptor* d = &descriptors[3 * slot];
  const uint16_t first = (uint16_t)(3 * slot);
  const bool moves = operation != kBlockFlush;
  headers[slot].type = operation == kBlockRead ? kTypeRead : operation == kBlockWrite ? kTypeWrite : kTypeFlush;
  headers[slot].sector = lba;
  statuses[slot] = 0xff;
  busy[slot] = true;
  d[0] = (struct Descriptor){(word)&headers[slot], sizeof headers[slot], kNext, (uint16_t)(first + (moves ? 1 : 2))};
  d[1] = (struct Descriptor){(word)data, sectors * kSectorBytes,
                             (uint16_t)(kNext | (operation == kBlockRead ? kDeviceWrites : 0)), (uint16_t)(first + 2)};
  d[2] = (struct Descriptor){(word)&statuses[slot], 1, kDeviceWrites, 0};
  available[2 + (available[1] & (entries - 1))] = first;
  __asm__ volatile("" ::: "memory");
  ++available[1];
  outw((uint16_t)(base + kQueueNotify), 0);
}

static bool wait(int slot) {
  while (busy[slot]) sleep_for_interrupt();
  return statuses[slot] == 0;
}

const struct Block* block_virtio_start(void) {
  static struct Block block = {.name = "virtio", .start = start, .wait = wait};
  struct PciFunction at;
  if (!pci_find(0x1af4, 0x1001, &at)) return NULL;
  pci_write(at, kPciCommand, (pci_read(at, kPciCommand) & 0xffff) | kPciIo | kPciMaster);
  base = pci_io_window(at);
  if (!base) return NULL;
  outb((uint16_t)(base + kStatus), 0);
  outb((uint16_t)(base + kStatus), kAcknowledge | kDriver);
  outl((uint16_t)(base + kDriverFeatures), kFeatureFlush);
  outw((uint16_t)(base + kQueueSelect), 0);
  entries = inw((uint16_t)(base + kQueueSize));
  if (entries == 0 || entries > kMaxEntries) {
    outb((uint16_t)(base + kStatus), kFailed);
    return NULL;
  }
  descriptors = (struct Descriptor*)tables;
  available = (uint16_t*)(tables + sizeof(struct Descriptor) * entries);
  used = (uint16_t*)(((word)available + 6u + 2u * entries + kPage - 1) & ~(word)(kPage - 1));
  outl((uint16_t)(base + kQueueAddress), (uint32_t)(word)tables / kPage);
  block.sectors = inl((uint16_t)(base + kConfig));
  irq = pci_irq(at);
  trap_handlers[0x20 + irq] = on_irq;
  pic_unmask(irq);
  outb((uint16_t)(base + kStatus), kAcknowledge | kDriver | kDriverOk);
  return &block;
}
