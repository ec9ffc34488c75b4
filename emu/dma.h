// How a bus-mastering device reaches the guest's physical memory. Writes tell the CPU's MMU which pages changed, so
// that translated code is dropped; a device must never touch RAM another way.
#pragma once

#include <cstdint>
#include <span>

namespace understudy::emu {

class DmaMemory {
 public:
  virtual ~DmaMemory() = default;
  // Addresses that are not RAM or ROM read as all ones, and writes to them (or to ROM) are dropped.
  virtual void dma_read(uint64_t address, std::span<uint8_t> to) = 0;
  virtual void dma_write(uint64_t address, std::span<const uint8_t> from) = 0;
};

}  // namespace understudy::emu
