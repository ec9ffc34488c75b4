// SYSCALL and SYSENTER as an Intel CPU does them (SDM Vol. 2B): the engine does nothing but call our hook. They set the
// CPU record so that execution goes on at the target, less `engine_adds`, which the engine adds to EIP after its hook.
// A refused one throws GuestFault and changes nothing. SYSRET and SYSEXIT work in the engine.
#pragma once

#include <cstdint>

#include "emu/engine_cpu.h"

namespace understudy::emu {

// `eflags` is all of EFLAGS and `next_eip` the address after the instruction. #UD outside 64-bit code (only AMD allows
// that) and while EFER.SCE is clear.
void enter_by_syscall(EngineCpu& cpu, uint32_t eflags, uint64_t next_eip, unsigned engine_adds);

// #GP(0) in real mode and while SYSENTER_CS is null. Leaves the arithmetic flags to the engine: after its SYSENTER hook
// it still writes what it knows of them.
void enter_by_sysenter(EngineCpu& cpu, unsigned engine_adds);

}  // namespace understudy::emu
