// The guest's time as devices see it. Virtual time is a function of the instruction count (emu/virtual_time), so a
// device that only ever asks this clock is deterministic by construction.
#pragma once

#include <cstdint>

namespace understudy::emu {

class Clock {
 public:
  virtual ~Clock() = default;
  // Virtual nanoseconds since power-on, exact at the instruction that is executing.
  virtual uint64_t now_ns() const = 0;
};

__extension__ typedef unsigned __int128 uint128_t;  // not ISO C++: keeps -Wpedantic quiet

// value * mul / div without overflow, rounded down; the workhorse of turning nanoseconds into a chip's ticks.
constexpr uint64_t scale(uint64_t value, uint64_t mul, uint64_t div) {
  return static_cast<uint64_t>(static_cast<uint128_t>(value) * mul / div);
}
// The same, rounded up: the first nanosecond at which `value` ticks have passed.
constexpr uint64_t scale_up(uint64_t value, uint64_t mul, uint64_t div) {
  return static_cast<uint64_t>((static_cast<uint128_t>(value) * mul + div - 1) / div);
}

}  // namespace understudy::emu
