// A hostile file's bytes with its name: every read is checked against the end, and a read past it is a BootError that
// says the file is truncated. Little-endian; offsets are bytes.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "emu/boot_plan.h"

namespace understudy::emu {

class ImageBytes {
 public:
  ImageBytes(std::string name, std::span<const uint8_t> bytes) : name_(std::move(name)), bytes_(bytes) {}

  const std::string& name() const { return name_; }
  uint64_t size() const { return bytes_.size(); }
  bool has(uint64_t offset, uint64_t length) const { return offset <= size() && length <= size() - offset; }

  uint8_t u8(uint64_t offset) const { return static_cast<uint8_t>(read(offset, 1)); }
  uint16_t u16(uint64_t offset) const { return static_cast<uint16_t>(read(offset, 2)); }
  uint32_t u32(uint64_t offset) const { return static_cast<uint32_t>(read(offset, 4)); }
  uint64_t u64(uint64_t offset) const { return read(offset, 8); }
  std::span<const uint8_t> slice(uint64_t offset, uint64_t length) const {
    if (!has(offset, length)) fail("the file is truncated or damaged: it ends before what its header announces");
    return bytes_.subspan(static_cast<size_t>(offset), static_cast<size_t>(length));
  }
  [[noreturn]] void fail(const std::string& problem) const { throw BootError(name_, problem); }

 private:
  uint64_t read(uint64_t offset, unsigned width) const {
    uint64_t value = 0;
    const auto from = slice(offset, width);
    for (unsigned i = 0; i < width; ++i) value |= static_cast<uint64_t>(from[i]) << (8 * i);
    return value;
  }
  std::string name_;
  std::span<const uint8_t> bytes_;
};

}  // namespace understudy::emu
