// A virtio device on a fake board, and a driver that lays out its queues in the board's memory: modern through BAR 4,
// legacy through BAR 0.
#pragma once

#include <cstdint>
#include <vector>

#include "devices/virtio_pci.h"
#include "tests/pci_rig.h"

namespace understudy::tests {

struct VirtioRig : PciRig {
  static constexpr unsigned kDevfn = 3 << 3;
  static constexpr uint16_t kLegacy = 0xc100;
  static constexpr uint64_t kModern = 0xc0000000;
  static constexpr uint64_t kDevice = kModern + 0x2000;
  static constexpr uint64_t kNotify = kModern + 0x3000;

  // Where the rig's queues have their tables, page by page, and their driver's view.
  struct Queue {
    uint64_t descriptors = 0, available = 0, used = 0;
    uint16_t size = 0;
    uint16_t next_descriptor = 0, next_available = 0, next_used = 0;
  };
  std::vector<Queue> queues;

  void place() {
    config_write(kDevfn, 0x10, 4, kLegacy);
    config_write(kDevfn, 0x20, 4, static_cast<uint32_t>(kModern));
    config_write(kDevfn, 0x04, 2, 7);
  }
  uint64_t common(unsigned offset, unsigned size) { return mmio.read(kModern + offset, size); }
  void set_common(unsigned offset, unsigned size, uint64_t value) { mmio.write(kModern + offset, size, value); }
  uint32_t legacy(unsigned offset, unsigned size) { return ports.read(static_cast<uint16_t>(kLegacy + offset), size); }
  void set_legacy(unsigned offset, unsigned size, uint32_t value) {
    ports.write(static_cast<uint16_t>(kLegacy + offset), size, value);
  }
  uint8_t status() { return static_cast<uint8_t>(common(20, 1)); }
  uint8_t isr() { return static_cast<uint8_t>(mmio.read(kModern + 0x1000, 1)); }

  uint64_t memory(uint64_t at, unsigned width) {
    uint64_t value = 0;
    for (unsigned i = 0; i < width; ++i) value |= static_cast<uint64_t>(dma.ram.at(at + i)) << (8 * i);
    return value;
  }
  void set_memory(uint64_t at, uint64_t value, unsigned width) {
    for (unsigned i = 0; i < width; ++i) dma.ram.at(at + i) = static_cast<uint8_t>(value >> (8 * i));
  }

  // Queue q's tables are at 10000h * (q + 1).
  void lay_out(unsigned count, uint16_t size) {
    queues.assign(count, {});
    for (unsigned q = 0; q < count; ++q) {
      queues[q].size = size;
      queues[q].descriptors = 0x10000 * (q + 1);
      queues[q].available = queues[q].descriptors + 16u * size;
      const uint64_t end = queues[q].available + 6 + 2u * size;
      queues[q].used = (end + 4095) / 4096 * 4096;
    }
  }
  // Negotiates `features` of what is offered and starts the queues.
  void start_modern(unsigned count, uint16_t size, uint64_t features = devices::VirtioPci::kVersion1) {
    lay_out(count, size);
    set_common(20, 1, 0);
    set_common(20, 1, 1);
    set_common(20, 1, 3);
    for (unsigned i = 0; i < 2; ++i) {
      set_common(8, 4, i);
      set_common(12, 4, features >> (32 * i) & 0xffffffff);
    }
    set_common(20, 1, 11);
    for (unsigned q = 0; q < count; ++q) {
      set_common(22, 2, q);
      set_common(24, 2, size);
      set_common(32, 8, queues[q].descriptors);
      set_common(40, 8, queues[q].available);
      set_common(48, 8, queues[q].used);
      set_common(28, 2, 1);
    }
    set_common(20, 1, 15);
  }
  void start_legacy(unsigned count, uint32_t features) {
    set_legacy(18, 1, 0);
    set_legacy(18, 1, 3);
    set_legacy(4, 4, features);
    lay_out(count, 0);
    for (unsigned q = 0; q < count; ++q) {
      set_legacy(14, 2, q);
      const auto size = static_cast<uint16_t>(legacy(12, 2));
      queues[q].size = size;
      queues[q].available = queues[q].descriptors + 16u * size;
      queues[q].used = (queues[q].available + 6 + 2u * size + 4095) / 4096 * 4096;
      set_legacy(8, 4, static_cast<uint32_t>(queues[q].descriptors >> 12));
    }
    set_legacy(18, 1, 7);
  }

  struct Piece {
    uint64_t address;
    uint32_t length;
    bool writable = false;
  };
  void descriptor(unsigned q, unsigned index, const Piece& piece, int next, uint16_t more_flags = 0) {
    const uint64_t at = queues[q].descriptors + 16u * index;
    set_memory(at, piece.address, 8);
    set_memory(at + 8, piece.length, 4);
    set_memory(at + 12, (next >= 0 ? 1u : 0u) | (piece.writable ? 2u : 0u) | more_flags, 2);
    set_memory(at + 14, next >= 0 ? static_cast<unsigned>(next) : 0, 2);
  }
  void make_available(unsigned q, uint16_t head) {
    Queue& queue = queues[q];
    set_memory(queue.available + 4 + 2u * (queue.next_available % queue.size), head, 2);
    set_memory(queue.available + 2, ++queue.next_available, 2);
  }
  // Returns the chain's head.
  uint16_t add(unsigned q, const std::vector<Piece>& pieces) {
    Queue& queue = queues[q];
    const uint16_t head = queue.next_descriptor;
    for (size_t i = 0; i < pieces.size(); ++i) {
      const unsigned at = queue.next_descriptor % queue.size;
      queue.next_descriptor = static_cast<uint16_t>((queue.next_descriptor + 1) % queue.size);
      descriptor(q, at, pieces[i], i + 1 < pieces.size() ? static_cast<int>(queue.next_descriptor) : -1);
    }
    make_available(q, head);
    return head;
  }
  void kick(unsigned q) { mmio.write(kNotify + 4 * q, 2, q); }
  uint16_t used_index(unsigned q) { return static_cast<uint16_t>(memory(queues[q].used + 2, 2)); }
  // The next chain that came back: {head, bytes written}.
  std::pair<uint32_t, uint32_t> used(unsigned q) {
    Queue& queue = queues[q];
    const uint64_t at = queue.used + 4 + 8u * (queue.next_used++ % queue.size);
    return {static_cast<uint32_t>(memory(at, 4)), static_cast<uint32_t>(memory(at + 4, 4))};
  }
  void settle() {
    for (int i = 0; i < 10000 && events.next_due() != emu::EventQueue::kNever; ++i) advance_to(events.next_due());
  }
};

}  // namespace understudy::tests
