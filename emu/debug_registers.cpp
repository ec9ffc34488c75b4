#include "emu/debug_registers.h"

#include <algorithm>

#include "emu/segment_load.h"

namespace understudy::emu {

namespace {

constexpr unsigned kBreakpoints = 4, kStatus = 6, kControl = 7;
constexpr uint64_t kStatusFixed = 0xffff0ff0, kControlFixed = 0x400;

// Enabled, for this task or for all, and on execution.
bool is_execute(uint64_t control, unsigned i) { return (control >> 2 * i & 3) && !(control >> (16 + 4 * i) & 3); }

uint64_t address(const EngineCpu& cpu, unsigned i) { return wrap_linear(cpu, cpu.dr[i]); }

}  // namespace

std::vector<uint64_t> execute_breakpoints(const EngineCpu& cpu) {
  std::vector<uint64_t> addresses;
  for (unsigned i = 0; i < kBreakpoints; ++i)
    if (is_execute(cpu.dr[kControl], i)) addresses.push_back(address(cpu, i));
  std::sort(addresses.begin(), addresses.end());
  return addresses;
}

uint64_t breakpoint_hit(const EngineCpu& cpu, uint64_t pc) {
  uint64_t bits = 0;
  for (unsigned i = 0; i < kBreakpoints; ++i)
    if (is_execute(cpu.dr[kControl], i) && address(cpu, i) == pc) bits |= uint64_t{1} << i;
  return bits;
}

bool write_debug_register(EngineCpu& cpu, unsigned number, uint64_t value) {
  if (number == 4 || number == 5) {
    if (cpu.cr[4] & cr4::kDe) return false;
    number += 2;
  }
  if (number > kControl) return false;
  if (!in_64bit_code(cpu)) value = static_cast<uint32_t>(value);
  cpu.dr[number] = number == kStatus ? value | kStatusFixed : number == kControl ? value | kControlFixed : value;
  return true;
}

}  // namespace understudy::emu
