// A disk image in memory that can be told to fail.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "devices/block_backend.h"

namespace understudy::tests {

class MemoryDisk : public devices::BlockBackend {
 public:
  explicit MemoryDisk(size_t bytes) : data(bytes) {
    // Every 16-bit word tells where it is.
    for (size_t i = 0; i + 1 < bytes; i += 2) {
      data[i] = static_cast<uint8_t>(i / 2);
      data[i + 1] = static_cast<uint8_t>(i / 512 * 7);
    }
    for (size_t sector = 0; sector * 512 + 4 <= bytes; ++sector)
      for (unsigned i = 0; i < 4; ++i) data[sector * 512 + i] = static_cast<uint8_t>(sector >> (8 * i));
  }
  uint64_t size_bytes() const override { return data.size(); }
  bool read_only() const override { return is_read_only; }
  bool read(uint64_t offset, std::span<uint8_t> to) override {
    ++reads;
    if (fail_reads || offset > data.size() || to.size() > data.size() - offset) return false;
    std::copy_n(data.begin() + static_cast<std::ptrdiff_t>(offset), to.size(), to.begin());
    return true;
  }
  bool write(uint64_t offset, std::span<const uint8_t> from) override {
    ++writes;
    if (fail_writes || is_read_only || offset > data.size() || from.size() > data.size() - offset) return false;
    std::copy(from.begin(), from.end(), data.begin() + static_cast<std::ptrdiff_t>(offset));
    return true;
  }
  bool flush() override {
    ++flushes;
    return !fail_writes;
  }

  std::vector<uint8_t> data;
  bool is_read_only = false;
  bool fail_reads = false;
  bool fail_writes = false;
  unsigned reads = 0, writes = 0, flushes = 0;
};

}  // namespace understudy::tests
