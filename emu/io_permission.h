// Whether an IN or OUT may touch its ports (SDM Vol. 1 19.5): the engine never asks.
#pragma once

#include <cstdint>

#include "emu/engine_cpu.h"
#include "emu/linear_memory.h"

namespace understudy::emu {

// `size` is 1, 2 or 4. By CPL and IOPL, and else (and always in V86) by the bitmap of the current TSS, which must be a
// 32- or 64-bit one. False means #GP(0). Throws #PF where the TSS is not there.
bool io_allowed(const EngineCpu& cpu, LinearMemory& memory, uint16_t port, unsigned size, uint32_t eflags);

}  // namespace understudy::emu
