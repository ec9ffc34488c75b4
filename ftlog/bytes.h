// Little-endian numbers and varints (seven bits a byte, the lowest first, the top bit set on all bytes but the last) in
// a growing buffer, and a cursor that takes them out again and trusts nothing.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace understudy::ftlog {

using Bytes = std::vector<uint8_t>;

inline void put_le(Bytes& out, uint64_t value, unsigned width) {
  for (unsigned i = 0; i < width; ++i) out.push_back(static_cast<uint8_t>(value >> (8 * i)));
}
inline void put_u32(Bytes& out, uint32_t value) { put_le(out, value, 4); }
inline void put_u64(Bytes& out, uint64_t value) { put_le(out, value, 8); }
inline void put_varint(Bytes& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<uint8_t>(value | 0x80));
  out.push_back(static_cast<uint8_t>(value));
}
// Zigzag: small magnitudes of either sign are short.
inline void put_signed_varint(Bytes& out, int64_t value) {
  put_varint(out, static_cast<uint64_t>(value) << 1 ^ static_cast<uint64_t>(value >> 63));
}

// What was found is not what the format allows; `position` counts from the start of the bytes.
class DecodeError : public std::runtime_error {
 public:
  DecodeError(size_t position, const std::string& what) : std::runtime_error(what), position_(position) {}
  size_t position() const { return position_; }

 private:
  size_t position_;
};

class ByteCursor {
 public:
  explicit ByteCursor(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  size_t position() const { return position_; }
  size_t remaining() const { return bytes_.size() - position_; }

  uint8_t u8() { return take(1)[0]; }
  uint32_t u32() { return static_cast<uint32_t>(le(4)); }
  uint64_t u64() { return le(8); }
  uint64_t varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const uint8_t byte = u8();
      if (shift == 63 && byte > 1) break;
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw DecodeError(position_, "a number is longer than 64 bits");
  }
  uint64_t varint_up_to(uint64_t limit, const char* what) {
    const size_t at = position_;
    const uint64_t value = varint();
    if (value > limit) throw DecodeError(at, std::string(what) + " is too large");
    return value;
  }
  int64_t signed_varint() {
    const uint64_t value = varint();
    return static_cast<int64_t>(value >> 1 ^ (~(value & 1) + 1));
  }
  // A view, good for as long as the bytes are.
  std::span<const uint8_t> take(size_t count) {
    if (count > remaining()) throw DecodeError(position_, "the bytes end within an entry");
    const auto view = bytes_.subspan(position_, count);
    position_ += count;
    return view;
  }

 private:
  uint64_t le(unsigned width) {
    uint64_t value = 0;
    const auto view = take(width);
    for (unsigned i = 0; i < width; ++i) value |= static_cast<uint64_t>(view[i]) << (8 * i);
    return value;
  }
  std::span<const uint8_t> bytes_;
  size_t position_ = 0;
};

}  // namespace understudy::ftlog
