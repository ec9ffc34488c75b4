// A virtio network card through the legacy PCI interface (Virtual I/O Device 1.2, sections 4.1.4.10 and 5.1): one
// buffer a frame, no offloads. The device takes frames out of memory that the driver gives it: nothing is copied here.
#include "nic.h"
#include "pci.h"

enum {
  kDeviceFeatures = 0,
  kDriverFeatures = 4,
  kQueueAddress = 8,
  kQueueSize = 12,
  kQueueSelect = 14,
  kQueueNotify = 16,
  kStatus = 18,
  kIsr = 19,
  kConfig = 20,
};
enum { kAcknowledge = 1, kDriver = 2, kDriverOk = 4, kFailed = 0x80 };
enum { kFeatureMac = 1 << 5, kFeatureAnyLayout = 1 << 27 };
enum { kReceiveQueue, kTransmitQueue, kQueues };
enum { kMaxEntries = 256, kHeader = 10, kBuffer = 1536, kPage = 4096 };
enum { kDeviceWrites = 2, kNoInterrupt = 1 };

struct Descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags, next;
};

struct Queue {
  struct Descriptor* descriptors;
  volatile uint16_t* available;  // flags, index, ring
  volatile uint16_t* used;       // flags, index, then (head, length) of 32 bits each
  uint16_t entries, next_used, next_free;
  bool notify;
};

static uint8_t tables[kQueues][3 * kPage] __attribute__((aligned(4096)));
static uint8_t buffers[kQueues][kMaxEntries][kBuffer] __attribute__((aligned(16)));
static struct Queue queues[kQueues];
static uint16_t base;

static void barrier(void) { __asm__ volatile("" ::: "memory"); }

// The legacy layout, section 2.7.2: descriptors, the driver's ring, and on the next page the device's.
static bool place_queue(uint16_t index) {
  struct Queue* q = &queues[index];
  outw((uint16_t)(base + kQueueSelect), index);
  q->entries = inw((uint16_t)(base + kQueueSize));
  if (q->entries == 0 || q->entries > kMaxEntries) return false;
  uint8_t* at = tables[index];
  q->descriptors = (struct Descriptor*)at;
  at += sizeof(struct Descriptor) * q->entries;
  q->available = (uint16_t*)at;
  at += 6 + 2 * q->entries;
  q->used = (uint16_t*)(((word)at + kPage - 1) & ~(word)(kPage - 1));
  for (uint16_t i = 0; i < q->entries; ++i) {
    q->descriptors[i].address = (word)buffers[index][i];
    q->descriptors[i].length = kBuffer;
    q->descriptors[i].flags = index == kReceiveQueue ? kDeviceWrites : 0;
  }
  outl((uint16_t)(base + kQueueAddress), (uint32_t)(word)tables[index] / kPage);
  return true;
}

static void make_available(struct Queue* q, uint16_t head) {
  q->available[2 + (q->available[1] & (q->entries - 1))] = head;
  barrier();
  ++q->available[1];
  q->notify = true;
}

// The head of the next chain that the device gave back, and how much it wrote.
static bool take_used(struct Queue* q, uint16_t* head, uint32_t* length) {
  if (q->used[1] == q->next_used) return false;
  barrier();
  const volatile uint32_t* entry = (const volatile uint32_t*)(q->used + 2) + 2u * (q->next_used & (q->entries - 1u));
  *head = (uint16_t)entry[0];
  *length = entry[1];
  ++q->next_used;
  return true;
}

static void notify(uint16_t index) {
  if (!queues[index].notify) return;
  queues[index].notify = false;
  outw((uint16_t)(base + kQueueNotify), index);
}

static void acknowledge(void) { inb((uint16_t)(base + kIsr)); }

static bool listen(void) {
  queues[kReceiveQueue].available[0] = 0;
  barrier();
  return queues[kReceiveQueue].used[1] == queues[kReceiveQueue].next_used;
}

static void quiet(void) { queues[kReceiveQueue].available[0] = kNoInterrupt; }

static int16_t held = -1;  // the buffer that the caller of receive() looks at

static const uint8_t* receive(size_t* length) {
  struct Queue* q = &queues[kReceiveQueue];
  if (held >= 0) make_available(q, (uint16_t)held);
  held = -1;
  uint16_t head;
  uint32_t bytes;
  if (!take_used(q, &head, &bytes)) return NULL;
  held = (int16_t)head;
  *length = bytes > kHeader ? bytes - kHeader : 0;
  return buffers[kReceiveQueue][head] + kHeader;
}

static uint8_t* frame(void) {
  struct Queue* q = &queues[kTransmitQueue];
  const uint16_t in_flight = (uint16_t)(q->available[1] - q->used[1]);
  if (in_flight < q->entries) {
    q->available[0] = kNoInterrupt;
    return buffers[kTransmitQueue][q->next_free] + kHeader;
  }
  q->available[0] = 0;
  notify(kTransmitQueue);
  return NULL;
}

// Buffers come back in the order in which they went: this device sends one frame after the other.
static void transmit(size_t length) {
  struct Queue* q = &queues[kTransmitQueue];
  q->descriptors[q->next_free].length = (uint32_t)length + kHeader;
  make_available(q, q->next_free);
  q->next_free = (uint16_t)((q->next_free + 1) & (q->entries - 1));
}

static void flush(void) {
  notify(kReceiveQueue);
  notify(kTransmitQueue);
}

const struct Nic* virtio_net_start(void) {
  static struct Nic nic = {.name = "virtio",
                           .room = 64 * 1024,
                           .acknowledge = acknowledge,
                           .listen = listen,
                           .quiet = quiet,
                           .receive = receive,
                           .frame = frame,
                           .transmit = transmit,
                           .flush = flush};
  struct PciFunction at;
  if (!pci_find(0x1af4, 0x1000, &at)) return NULL;
  pci_write(at, kPciCommand, (pci_read(at, kPciCommand) & 0xffff) | kPciIo | kPciMaster);
  base = pci_io_window(at);
  if (!base) return NULL;
  outb((uint16_t)(base + kStatus), 0);
  outb((uint16_t)(base + kStatus), kAcknowledge | kDriver);
  const uint32_t wanted = kFeatureMac | kFeatureAnyLayout;
  const uint32_t offered = inl((uint16_t)(base + kDeviceFeatures));
  outl((uint16_t)(base + kDriverFeatures), offered & wanted);
  if ((offered & wanted) != wanted || !place_queue(kReceiveQueue) || !place_queue(kTransmitQueue)) {
    outb((uint16_t)(base + kStatus), kFailed);
    return NULL;
  }
  for (uint16_t i = 0; i < kMacBytes; ++i) nic.mac[i] = inb((uint16_t)(base + kConfig + i));
  nic.irq = pci_irq(at);
  for (uint16_t i = 0; i < queues[kReceiveQueue].entries; ++i) make_available(&queues[kReceiveQueue], i);
  outb((uint16_t)(base + kStatus), kAcknowledge | kDriver | kDriverOk);
  flush();
  return &nic;
}
