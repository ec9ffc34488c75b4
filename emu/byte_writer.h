// Builds little-endian structures (boot parameters, firmware tables) byte by byte, with no dependence on the host's
// struct layout. Offsets are bytes from the start.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

namespace understudy::emu {

class ByteWriter {
 public:
  ByteWriter() = default;
  // Starts with `size` zero bytes, to be filled by patch() and patch_bytes().
  explicit ByteWriter(size_t size) : bytes_(size) {}

  ByteWriter& u8(uint64_t value) { return le(value, 1); }
  ByteWriter& u16(uint64_t value) { return le(value, 2); }
  ByteWriter& u32(uint64_t value) { return le(value, 4); }
  ByteWriter& u64(uint64_t value) { return le(value, 8); }
  ByteWriter& be16(uint64_t value) { return be(value, 2); }
  ByteWriter& be32(uint64_t value) { return be(value, 4); }
  ByteWriter& bytes(std::span<const uint8_t> more) {
    bytes_.insert(bytes_.end(), more.begin(), more.end());
    return *this;
  }
  // Exactly `width` bytes: cut, or padded with `fill`.
  ByteWriter& text(std::string_view value, size_t width, char fill = '\0') {
    for (size_t i = 0; i < width; ++i) bytes_.push_back(static_cast<uint8_t>(i < value.size() ? value[i] : fill));
    return *this;
  }
  ByteWriter& zeros(size_t count) {
    bytes_.resize(bytes_.size() + count);
    return *this;
  }
  ByteWriter& align(size_t alignment) { return zeros((alignment - bytes_.size() % alignment) % alignment); }

  void patch(size_t offset, uint64_t value, unsigned width) {
    for (unsigned i = 0; i < width; ++i) bytes_.at(offset + i) = static_cast<uint8_t>(value >> (8 * i));
  }
  void patch_bytes(size_t offset, std::span<const uint8_t> value) {
    if (offset > bytes_.size() || value.size() > bytes_.size() - offset) throw std::out_of_range("ByteWriter");
    for (size_t i = 0; i < value.size(); ++i) bytes_[offset + i] = value[i];
  }
  // Sets the byte at `at` so that the `length` bytes from `start` sum to zero.
  void checksum(size_t at, size_t start, size_t length) {
    bytes_.at(at) = 0;
    uint8_t sum = 0;
    for (size_t i = 0; i < length; ++i) sum = static_cast<uint8_t>(sum + bytes_.at(start + i));
    bytes_[at] = static_cast<uint8_t>(-sum);
  }

  size_t size() const { return bytes_.size(); }
  const std::vector<uint8_t>& view() const { return bytes_; }
  std::vector<uint8_t> take() { return std::move(bytes_); }

 private:
  ByteWriter& le(uint64_t value, unsigned width) {
    for (unsigned i = 0; i < width; ++i) bytes_.push_back(static_cast<uint8_t>(value >> (8 * i)));
    return *this;
  }
  ByteWriter& be(uint64_t value, unsigned width) {
    for (unsigned i = width; i-- > 0;) bytes_.push_back(static_cast<uint8_t>(value >> (8 * i)));
    return *this;
  }
  std::vector<uint8_t> bytes_;
};

}  // namespace understudy::emu
