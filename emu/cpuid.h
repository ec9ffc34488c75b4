// What CPUID shows (SDM Vol. 2A): a table of our own, so that no build or host changes what a guest sees. A Nehalem,
// as the engine's model of that name executes it, with exactly the features that work here: one core, one thread, no
// XSAVE, AVX, PCID, x2APIC, MONITOR, VMX, RDRAND, VME, or 1 GiB pages. The TSC is invariant.
#pragma once

#include <cstdint>

#include "emu/engine_cpu.h"

namespace understudy::emu {

struct CpuidRegisters {
  uint32_t eax = 0;
  uint32_t ebx = 0;
  uint32_t ecx = 0;
  uint32_t edx = 0;
};

// CMPXCHG16B works through the same repair as CMPXCHG8B; Linux for amd64 runs without the bit as well.
constexpr bool kShowCmpxchg16b = true;
constexpr unsigned kPhysicalAddressBits = 36;
constexpr unsigned kLinearAddressBits = 48;

// `apic_enabled` is IA32_APIC_BASE[11]: the APIC's feature bit disappears with the APIC.
CpuidRegisters cpuid(uint32_t leaf, uint32_t subleaf, bool apic_enabled);
// The instruction: EAX and ECX in, EAX, EBX, ECX and EDX out, upper halves cleared.
void execute_cpuid(EngineCpu& cpu, bool apic_enabled);

}  // namespace understudy::emu
