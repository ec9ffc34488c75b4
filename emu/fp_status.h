// The exception flags of x87 and SSE. The engine's arithmetic keeps them in its own status records and never brings
// them to the status word or MXCSR; so they are carried over when an instruction is about to look at them, and carried
// back when one has replaced them. SDM Vol. 1 8.1.3 (status word), 10.2.3 (MXCSR).
#pragma once

#include "emu/engine_cpu.h"

namespace understudy::emu {

// Before an instruction that reads or replaces the status word or MXCSR.
void publish_fp_flags(EngineCpu& cpu);
// After one that replaced them. Changes nothing when they are as published.
void absorb_fp_flags(EngineCpu& cpu);
// What an x87 instruction of ours reports, as the engine's arithmetic does: bits of the status word.
void raise_x87_flags(EngineCpu& cpu, uint8_t flags);

}  // namespace understudy::emu
