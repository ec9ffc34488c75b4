// Linear memory without page tables: pages come into being at the first touch, and a test takes some away or makes
// them read-only.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <set>

#include "emu/linear_memory.h"

namespace understudy::tests {

class FakeLinearMemory : public emu::LinearMemory {
 public:
  std::set<uint64_t> absent;     // page numbers
  std::set<uint64_t> read_only;  // page numbers
  std::set<uint64_t> rom;        // page numbers; writes are lost
  unsigned flushes = 0;

  void read(uint64_t linear, void* to, size_t size) override {
    check(linear, size, false);
    each(linear, size, [&](uint8_t& byte, size_t i) { static_cast<uint8_t*>(to)[i] = byte; });
  }
  void write(uint64_t linear, const void* from, size_t size) override {
    check(linear, size, true);
    for (size_t i = 0; i < size; ++i)
      if (!rom.count((linear + i) >> 12)) put(linear + i, static_cast<const uint8_t*>(from)[i]);
  }
  void flush_translations() override { ++flushes; }

  // For the test itself: no faults.
  template <class T>
  T get(uint64_t linear) {
    uint8_t bytes[sizeof(T)];
    each(linear, sizeof(T), [&](uint8_t& byte, size_t i) { bytes[i] = byte; });
    T value{};
    std::memcpy(&value, bytes, sizeof(T));
    return value;
  }
  template <class T>
  void put(uint64_t linear, T value) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(&value);
    each(linear, sizeof(T), [&](uint8_t& byte, size_t i) { byte = bytes[i]; });
  }

 private:
  void check(uint64_t linear, size_t size, bool writes) const {
    for (size_t i = 0; i < size; ++i) {
      const uint64_t page = (linear + i) >> 12;
      const uint32_t write_bit = writes ? 2 : 0;
      if (absent.count(page)) throw emu::GuestFault{14, true, write_bit, linear + i};
      if (writes && read_only.count(page)) throw emu::GuestFault{14, true, 3, linear + i};
    }
  }
  template <class F>
  void each(uint64_t linear, size_t size, F&& f) {
    for (size_t i = 0; i < size; ++i) f(pages_[(linear + i) >> 12][(linear + i) & 0xfff], i);
  }
  std::map<uint64_t, std::array<uint8_t, 4096>> pages_;
};

}  // namespace understudy::tests
