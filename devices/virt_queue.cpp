#include "devices/virt_queue.h"

#include <algorithm>
#include <array>

namespace understudy::devices {

namespace {

constexpr uint64_t kLegacyPage = 4096;
constexpr unsigned kDescriptorBytes = 16;
constexpr uint16_t kFlagNext = 1, kFlagWrite = 2, kFlagIndirect = 4;
constexpr uint16_t kNoInterrupt = 1;

uint64_t little_endian(std::span<const uint8_t> bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes.size(); ++i) value |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  return value;
}

// Calls move(address, part of the caller's bytes) for each piece of `buffers` from `offset` on that `length` covers.
template <typename Move>
size_t over_buffers(const std::vector<VirtBuffer>& buffers, uint64_t offset, size_t length, Move move) {
  size_t done = 0;
  for (const VirtBuffer& buffer : buffers) {
    if (offset >= buffer.length) {
      offset -= buffer.length;
      continue;
    }
    const size_t part = std::min<uint64_t>(length - done, buffer.length - offset);
    if (part == 0) break;
    move(buffer.address + offset, done, part);
    done += part;
    offset = 0;
  }
  return done;
}

}  // namespace

VirtQueue::VirtQueue(emu::DmaMemory& dma, uint16_t max_size) : dma_(dma), max_size_(max_size) { reset(); }

void VirtQueue::set_size(uint16_t size) {
  if (!state_.enabled && size != 0 && size <= max_size_ && (size & (size - 1)) == 0) state_.size = size;
}

void VirtQueue::enable() { state_.enabled = true; }

void VirtQueue::reset() {
  state_ = {};
  state_.size = max_size_;
}

void VirtQueue::place_legacy(uint32_t frame) {
  reset();
  state_.descriptors = frame * kLegacyPage;
  state_.driver_area = state_.descriptors + kDescriptorBytes * uint64_t{state_.size};
  // Behind the available ring and its used_event field.
  const uint64_t end = state_.driver_area + 6 + 2 * uint64_t{state_.size};
  state_.device_area = (end + kLegacyPage - 1) / kLegacyPage * kLegacyPage;
  state_.enabled = frame != 0;
}

uint32_t VirtQueue::legacy_frame() const {
  return state_.enabled ? static_cast<uint32_t>(state_.descriptors / kLegacyPage) : 0;
}

uint16_t VirtQueue::load16(uint64_t address) const {
  std::array<uint8_t, 2> bytes{};
  dma_.dma_read(address, bytes);
  return static_cast<uint16_t>(little_endian(bytes));
}

bool VirtQueue::has_next() const { return state_.enabled && load16(state_.driver_area + 2) != state_.next_available; }

VirtQueue::Next VirtQueue::pop(VirtChain& chain) {
  if (!state_.enabled) return Next::kNone;
  const auto waiting = static_cast<uint16_t>(load16(state_.driver_area + 2) - state_.next_available);
  if (waiting == 0) return Next::kNone;
  if (waiting > state_.size) return Next::kBroken;
  const unsigned slot = state_.next_available & (state_.size - 1u);
  if (!walk(load16(state_.driver_area + 4 + 2 * slot), chain)) return Next::kBroken;
  ++state_.next_available;
  return Next::kChain;
}

// Readable before writable, indices inside the table, and no more steps than entries: a longer chain is a loop.
bool VirtQueue::walk(uint16_t head, VirtChain& chain) const {
  chain = {};
  chain.head = head;
  uint16_t at = head;
  for (unsigned steps = 0; steps < state_.size; ++steps) {
    if (at >= state_.size) return false;
    std::array<uint8_t, kDescriptorBytes> bytes{};
    dma_.dma_read(state_.descriptors + kDescriptorBytes * uint64_t{at}, bytes);
    const std::span<const uint8_t> entry(bytes);
    const VirtBuffer buffer{little_endian(entry.first(8)), static_cast<uint32_t>(little_endian(entry.subspan(8, 4)))};
    const uint64_t flags = little_endian(entry.subspan(12, 2));
    if ((flags & kFlagIndirect) != 0) return false;
    if ((flags & kFlagWrite) != 0) {
      chain.writable.push_back(buffer);
      chain.writable_bytes += buffer.length;
    } else {
      if (!chain.writable.empty()) return false;
      chain.readable.push_back(buffer);
      chain.readable_bytes += buffer.length;
    }
    if ((flags & kFlagNext) == 0) return true;
    at = static_cast<uint16_t>(little_endian(entry.subspan(14, 2)));
  }
  return false;
}

// The entry first, then the index that makes it visible.
void VirtQueue::push(uint16_t head, uint32_t written) {
  const unsigned slot = state_.used_index & (state_.size - 1u);
  std::array<uint8_t, 8> entry{};
  for (unsigned i = 0; i < 4; ++i) {
    entry[i] = static_cast<uint8_t>(uint32_t{head} >> (8 * i));
    entry[4 + i] = static_cast<uint8_t>(written >> (8 * i));
  }
  dma_.dma_write(state_.device_area + 4 + 8 * uint64_t{slot}, entry);
  ++state_.used_index;
  const std::array<uint8_t, 2> index{static_cast<uint8_t>(state_.used_index),
                                     static_cast<uint8_t>(state_.used_index >> 8)};
  dma_.dma_write(state_.device_area + 2, index);
}

bool VirtQueue::wants_interrupt() const { return (load16(state_.driver_area) & kNoInterrupt) == 0; }

size_t VirtQueue::gather(const VirtChain& chain, uint64_t offset, std::span<uint8_t> to) const {
  return over_buffers(chain.readable, offset, to.size(), [&](uint64_t address, size_t done, size_t part) {
    dma_.dma_read(address, to.subspan(done, part));
  });
}

size_t VirtQueue::scatter(const VirtChain& chain, uint64_t offset, std::span<const uint8_t> from) const {
  return over_buffers(chain.writable, offset, from.size(), [&](uint64_t address, size_t done, size_t part) {
    dma_.dma_write(address, from.subspan(done, part));
  });
}

void VirtQueue::visit_state(emu::StateVisitor& visitor) {
  visitor.value("size", state_.size);
  visitor.value("enabled", state_.enabled);
  visitor.value("descriptors", state_.descriptors);
  visitor.value("driver_area", state_.driver_area);
  visitor.value("device_area", state_.device_area);
  visitor.value("next_available", state_.next_available);
  visitor.value("used_index", state_.used_index);
  if (state_.size == 0 || state_.size > max_size_ || (state_.size & (state_.size - 1)) != 0) state_.size = max_size_;
}

}  // namespace understudy::devices
