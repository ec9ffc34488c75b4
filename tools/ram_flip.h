// A bit of RAM that turns over when the machine reaches a count: a test of what finds divergences.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "emu/machine.h"

namespace understudy::tools {

struct RamFlip {
  uint64_t icount = 0, address = 0;
  unsigned bit = 0;
};

// ICOUNT:ADDRESS:BIT, the address perhaps hexadecimal; an empty text is none. Throws UsageError.
std::optional<RamFlip> parse_flip(const std::string& text);
// Throws UsageError for an address outside of RAM.
void check(const RamFlip& flip, emu::Machine& machine);
void turn_over(const RamFlip& flip, emu::Machine& machine);

}  // namespace understudy::tools
