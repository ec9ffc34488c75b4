// Big-endian fields of SCSI command blocks and replies.
#pragma once

#include <cstdint>

namespace understudy::devices {

inline uint16_t be16(const uint8_t* p) { return static_cast<uint16_t>(p[0] << 8 | p[1]); }
inline uint32_t be32(const uint8_t* p) { return static_cast<uint32_t>(be16(p)) << 16 | be16(p + 2); }
inline void put16(uint8_t* p, uint32_t value) {
  p[0] = static_cast<uint8_t>(value >> 8);
  p[1] = static_cast<uint8_t>(value);
}
inline void put32(uint8_t* p, uint32_t value) {
  put16(p, value >> 16);
  put16(p + 2, value);
}

}  // namespace understudy::devices
