// A split virtqueue as its device sees it (Virtual I/O Device 1.2, section 2.7): three tables in guest memory, of which
// nothing is believed. A chain of descriptors is walked anew each time it is needed, in at most as many steps as the
// queue has entries, so it may be walked again after the guest changed it. Indirect descriptors, event indices and
// packed rings are not offered.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "emu/dma.h"
#include "emu/state_visitor.h"

namespace understudy::devices {

struct VirtBuffer {
  uint64_t address;
  uint32_t length;
};

struct VirtChain {
  uint16_t head = 0;
  std::vector<VirtBuffer> readable;
  std::vector<VirtBuffer> writable;
  uint64_t readable_bytes = 0;
  uint64_t writable_bytes = 0;
};

class VirtQueue {
 public:
  enum class Next { kNone, kChain, kBroken };

  VirtQueue(emu::DmaMemory& dma, uint16_t max_size);

  // --- set up by the driver, through the transport
  uint16_t max_size() const { return max_size_; }
  uint16_t size() const { return state_.size; }
  bool enabled() const { return state_.enabled; }
  uint64_t& descriptors() { return state_.descriptors; }
  uint64_t& driver_area() { return state_.driver_area; }
  uint64_t& device_area() { return state_.device_area; }
  // Ignored unless a power of two of at most max_size().
  void set_size(uint16_t size);
  void enable();
  void reset();
  // The legacy layout: all three tables in a row from page `frame` on (section 2.7.2); 0 switches the queue off.
  void place_legacy(uint32_t frame);
  uint32_t legacy_frame() const;

  // --- used by the device
  // Whether the driver has made something available that was not taken yet, well-formed or not.
  bool has_next() const;
  // Takes the next chain that the driver made available.
  Next pop(VirtChain& chain);
  // Whether there is a well-formed chain at `head`.
  bool walk(uint16_t head, VirtChain& chain) const;
  // Gives a chain back, with `written` bytes in its writable part.
  void push(uint16_t head, uint32_t written);
  // Whether the driver wants to be told of what was pushed.
  bool wants_interrupt() const;

  // Copy from a chain's readable, or to its writable part, from `offset` on; return how many bytes there was room for.
  size_t gather(const VirtChain& chain, uint64_t offset, std::span<uint8_t> to) const;
  size_t scatter(const VirtChain& chain, uint64_t offset, std::span<const uint8_t> from) const;

  void visit_state(emu::StateVisitor& visitor);

 private:
  uint16_t load16(uint64_t address) const;

  struct State {
    uint16_t size = 0;
    bool enabled = false;
    uint64_t descriptors = 0;
    uint64_t driver_area = 0;
    uint64_t device_area = 0;
    uint16_t next_available = 0;
    uint16_t used_index = 0;
  };
  State state_;
  emu::DmaMemory& dma_;
  uint16_t max_size_;
};

}  // namespace understudy::devices
