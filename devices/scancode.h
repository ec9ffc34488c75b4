// Scan code set 2, what a PS/2 keyboard sends, to set 1, what PC software reads: the keyboard controller's translation
// (IBM PS/2 Hardware Interface Technical Reference, "Keyboard and auxiliary device controller").
#pragma once

#include <cstdint>
#include <optional>

namespace understudy::devices {

// Feeds one set 2 byte; an F0 (break) prefix yields nothing and marks the next code as a release. `release` is the
// translator's whole state. Bytes from 80 up other than 83 and 84 (prefixes, replies) pass unchanged.
std::optional<uint8_t> translate_to_set1(uint8_t byte, bool& release);

}  // namespace understudy::devices
