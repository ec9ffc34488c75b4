// An NE2000-compatible card on PCI (RTL8029AS): a DP8390 core with 16 KiB of packet memory behind its data port. Two
// transmit buffers, one filled while the other is on the wire; the rest is the receive ring. DP8390D datasheet,
// sections 5 (buffer management) and 7; the chip's pages are 256 bytes each.
#include "nic.h"
#include "pci.h"

enum { kCommand = 0, kDataPort = 0x10, kResetPort = 0x1f };
enum { kPageStart = 1, kPageStop, kBoundary, kTransmitPage, kTransmitLow, kTransmitHigh, kInterruptStatus };
enum { kRemoteLow = 8, kRemoteHigh, kCountLow, kCountHigh, kReceiveConfig, kTransmitConfig, kDataConfig };
enum { kInterruptMask = 15, kPhysical = 1, kCurrent = 7 };
enum { kStop = 0x01, kStart = 0x02, kSend = 0x04, kRemoteRead = 0x08, kRemoteWrite = 0x10, kNoRemote = 0x20 };
enum { kPage1 = 0x40 };
enum { kReceived = 0x01, kTransmitted = 0x02, kReceiveError = 0x04, kTransmitError = 0x08, kOverwrite = 0x10 };
enum { kCauses = kReceived | kTransmitted | kTransmitError | kOverwrite, kResetDone = 0x80 };
enum { kFirstPage = 0x40, kSlotPages = 6, kRingStart = kFirstPage + 2 * kSlotPages, kRingStop = 0x80 };
enum { kRingHeader = 4, kSlots = 2, kShortestFrame = 60 };

static uint16_t base;
static uint8_t next_page;  // of the ring, where the next frame begins
static uint8_t received[kFrameLimit + 2] __attribute__((aligned(4)));
static uint8_t staging[kFrameLimit + 2] __attribute__((aligned(4)));
static uint16_t slot_bytes[kSlots];  // 0: free
static unsigned next_slot, sending_slot;
static bool sending;

static uint8_t get(uint16_t reg) { return inb((uint16_t)(base + reg)); }
static void set(uint16_t reg, uint8_t value) { outb((uint16_t)(base + reg), value); }

static void remote(uint8_t direction, uint16_t address, uint16_t bytes) {
  set(kRemoteLow, (uint8_t)address);
  set(kRemoteHigh, (uint8_t)(address >> 8));
  set(kCountLow, (uint8_t)bytes);
  set(kCountHigh, (uint8_t)(bytes >> 8));
  set(kCommand, kStart | direction);
}

// By 16-bit words: an odd last byte goes with one that nobody looks at.
static void card_read(void* to, uint16_t address, uint16_t bytes) {
  uint32_t words = (bytes + 1u) / 2;
  remote(kRemoteRead, address, (uint16_t)(words * 2));
  __asm__ volatile("rep insw" : "+c"(words), "+D"(to) : "d"((uint16_t)(base + kDataPort)) : "memory");
}

static void card_write(uint16_t address, const void* from, uint16_t bytes) {
  uint32_t words = (bytes + 1u) / 2;
  remote(kRemoteWrite, address, (uint16_t)(words * 2));
  __asm__ volatile("rep outsw" : "+c"(words), "+S"(from) : "d"((uint16_t)(base + kDataPort)) : "memory");
}

// The causes are cleared where they are dealt with; until then the line stays up only while it may.
static void quiet(void) { set(kInterruptMask, 0); }

static bool listen(void) {
  set(kInterruptMask, kCauses);
  return true;
}

static void start_sending(void) {
  if (sending || !slot_bytes[sending_slot]) return;
  set(kTransmitPage, (uint8_t)(kFirstPage + sending_slot * kSlotPages));
  set(kTransmitLow, (uint8_t)slot_bytes[sending_slot]);
  set(kTransmitHigh, (uint8_t)(slot_bytes[sending_slot] >> 8));
  set(kCommand, kStart | kNoRemote | kSend);
  sending = true;
}

static void finish_sending(void) {
  const uint8_t done = get(kInterruptStatus) & (kTransmitted | kTransmitError);
  if (!done) return;
  set(kInterruptStatus, done);
  if (!sending) return;
  sending = false;
  slot_bytes[sending_slot] = 0;
  sending_slot = (sending_slot + 1) % kSlots;
  start_sending();
}

static uint8_t current_page(void) {
  set(kCommand, kStart | kNoRemote | kPage1);
  const uint8_t current = get(kCurrent);
  set(kCommand, kStart | kNoRemote);
  return current;
}

// The boundary stays a page behind what is to be read: equal to CURR it would mean that nothing was ever received.
static void free_up_to(uint8_t page) {
  next_page = page;
  set(kBoundary, page == kRingStart ? kRingStop - 1 : (uint8_t)(page - 1));
}

static const uint8_t* receive(size_t* length) {
  for (;;) {
    finish_sending();
    // Before the look at CURR, so that a frame after it raises the cause anew.
    set(kInterruptStatus, kReceived | kOverwrite);
    const uint8_t current = current_page();
    if (current == next_page) return NULL;
    uint8_t header[kRingHeader];  // status, next page, length with the check sequence
    card_read(header, (uint16_t)(next_page << 8), kRingHeader);
    const uint16_t bytes = (uint16_t)((header[2] | header[3] << 8) - 4);
    if (header[1] < kRingStart || header[1] >= kRingStop) {
      free_up_to(current);  // no ring any more: go on with what comes next
      continue;
    }
    const bool good = (header[0] & kReceived) && bytes >= kShortestFrame && bytes <= kFrameLimit;
    if (good) card_read(received, (uint16_t)((next_page << 8) + kRingHeader), bytes);
    free_up_to(header[1]);
    if (!good) continue;
    *length = bytes;
    return received;
  }
}

static uint8_t* frame(void) {
  finish_sending();
  return slot_bytes[next_slot] ? NULL : staging;
}

static void transmit(size_t length) {
  for (; length < kShortestFrame; ++length) staging[length] = 0;
  card_write((uint16_t)((kFirstPage + next_slot * kSlotPages) << 8), staging, (uint16_t)length);
  slot_bytes[next_slot] = (uint16_t)length;
  next_slot = (next_slot + 1) % kSlots;
  start_sending();
}

static void flush(void) {}

const struct Nic* ne2k_start(void) {
  static struct Nic nic = {.name = "ne2k",
                           .room = 8 * 1024,
                           .acknowledge = quiet,
                           .listen = listen,
                           .quiet = quiet,
                           .receive = receive,
                           .frame = frame,
                           .transmit = transmit,
                           .flush = flush};
  struct PciFunction at;
  if (!pci_find(0x10ec, 0x8029, &at)) return NULL;
  pci_write(at, kPciCommand, (pci_read(at, kPciCommand) & 0xffff) | kPciIo);
  base = pci_io_window(at);
  if (!base) return NULL;
  get(kResetPort);
  for (int i = 0; i < 100000 && !(get(kInterruptStatus) & kResetDone); ++i) {
  }
  // Section 11, "Initialization Procedures".
  set(kCommand, kStop | kNoRemote);
  set(kDataConfig, 0x49);  // words, no loopback, a FIFO threshold of 8 bytes
  set(kCountLow, 0);
  set(kCountHigh, 0);
  set(kReceiveConfig, 0x04);   // broadcasts and our own address
  set(kTransmitConfig, 0x02);  // loopback, until all is set
  set(kPageStart, kRingStart);
  set(kPageStop, kRingStop);
  set(kInterruptStatus, 0xff);
  set(kInterruptMask, 0);
  uint8_t prom[32];  // each byte twice
  card_read(prom, 0, sizeof prom);
  set(kCommand, kStop | kNoRemote | kPage1);
  for (uint16_t i = 0; i < kMacBytes; ++i) set((uint16_t)(kPhysical + i), nic.mac[i] = prom[2 * i]);
  for (uint16_t i = 8; i < 16; ++i) set(i, 0);
  set(kCurrent, kRingStart);
  set(kCommand, kStop | kNoRemote);
  free_up_to(kRingStart);
  set(kCommand, kStart | kNoRemote);
  set(kTransmitConfig, 0);
  set(kInterruptStatus, 0xff);
  nic.irq = pci_irq(at);
  return &nic;
}
