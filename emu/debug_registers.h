// The guest's debug registers (SDM Vol. 3B 17.2). Execute breakpoints are ours: the engine would keep its own list of
// them beside the registers, which no restored state could change. The engine's registers are written as plain fields.
#pragma once

#include <cstdint>
#include <vector>

#include "emu/engine_cpu.h"

namespace understudy::emu {

// Linear addresses of the enabled execute breakpoints, ascending.
std::vector<uint64_t> execute_breakpoints(const EngineCpu& cpu);
// The bits of DR6 that an instruction at this linear address sets before it executes; 0: no breakpoint is hit.
uint64_t breakpoint_hit(const EngineCpu& cpu, uint64_t pc);
// MOV to a debug register: sets it. False, and nothing is done, where the instruction is undefined: above DR7, and for
// DR4 and DR5 with CR4.DE set.
bool write_debug_register(EngineCpu& cpu, unsigned number, uint64_t value);

}  // namespace understudy::emu
