// What an access to a device costs in virtual time, on top of its instruction: a polling guest then waits as many
// iterations as on a PC, not hundreds of times more. Drivers count on it: a write to port 80h is their microsecond.
#pragma once

#include <cstdint>

namespace understudy::emu {

// ISA I/O cycles of 8 bits take 6 BCLK at 8.33 MHz at least, and 1 us with the usual wait states and recovery (82371SB
// datasheet, 4.1.6); the IDE data ports run at PIO mode 4's 120 ns (ATA-4, table 34); PCI is an order of magnitude
// faster.
constexpr uint64_t port_access_ns(uint16_t port) {
  constexpr uint16_t kIdePrimaryData = 0x1f0, kIdeSecondaryData = 0x170, kIsaPorts = 0x400;
  if (port == kIdePrimaryData || port == kIdeSecondaryData) return 120;
  return port < kIsaPorts ? 1000 : 100;
}

}  // namespace understudy::emu
