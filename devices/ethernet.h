// What every network card here shares: the sizes of Ethernet frames (IEEE 802.3, clause 3), as the channel "net0"
// carries them: without preamble and without the frame check sequence, and that sequence itself.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace understudy::devices {

using MacAddress = std::array<uint8_t, 6>;

inline constexpr size_t kEthernetHeader = 14;
inline constexpr size_t kEthernetMinFrame = 60;  // what a sender pads to
inline constexpr size_t kEthernetMaxFrame = 1514;
inline constexpr size_t kEthernetCheckBytes = 4;
// On the wire around each frame: preamble, frame check sequence, and the gap to the next.
inline constexpr size_t kEthernetWireOverhead = 8 + kEthernetCheckBytes + 12;

constexpr bool is_ethernet_frame(std::span<const uint8_t> frame) {
  return frame.size() >= kEthernetHeader && frame.size() <= kEthernetMaxFrame;
}
constexpr bool is_group_address(std::span<const uint8_t> destination) { return (destination[0] & 1) != 0; }

// The CRC of clause 3.2.9 before its final complement, bit-reflected: least significant bit first, as on the wire.
constexpr uint32_t ethernet_crc(std::span<const uint8_t> bytes) {
  uint32_t crc = 0xffffffff;
  for (const uint8_t byte : bytes) {
    crc ^= byte;
    for (unsigned bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb88320u : 0u);
  }
  return crc;
}

}  // namespace understudy::devices
