// What CPUID shows (SDM Vol. 2A): a table of our own, so that no build or host changes what a guest sees. The features
// are those of the engine's Nehalem model that work here: one core, one thread, no XSAVE, AVX, PCID, x2APIC, MONITOR,
// VMX, RDRAND, RDTSCP, VME, machine checks or 1 GiB pages. The TSC is invariant.
//
// Family and model are those of the first Atom, an in-order core. Kernels then leave out page table isolation,
// retpolines and the other remedies against speculation: this machine does not speculate, and they would cost it dear.
// The hypervisor bit stays clear: without a hypervisor's own interface behind it, it makes guests probe for one and
// gains nothing. Time then comes from the PIT, the ACPI timer and an invariant TSC, as on hardware.
#pragma once

#include <cstdint>

#include "emu/engine_cpu.h"

namespace understudy::emu {

struct CpuidRegisters {
  uint32_t eax = 0;
  uint32_t ebx = 0;
  uint32_t ecx = 0;
  uint32_t edx = 0;
  bool operator==(const CpuidRegisters&) const = default;
};

constexpr uint32_t kCpuSignature = 0x000106ca;  // family 6, model 28, stepping 10
// CMPXCHG16B works through the same repair as CMPXCHG8B; Linux for amd64 runs without the bit as well.
constexpr bool kShowCmpxchg16b = true;
constexpr unsigned kPhysicalAddressBits = 40;  // the engine's page walker faults on higher bits as reserved
constexpr unsigned kLinearAddressBits = 48;

// A leaf beyond the highest gives what the highest basic leaf gives. `apic_enabled` is IA32_APIC_BASE[11]: the APIC's
// feature bit disappears with the APIC.
CpuidRegisters cpuid(uint32_t leaf, uint32_t subleaf, bool apic_enabled);
// The instruction: EAX and ECX in, EAX, EBX, ECX and EDX out, upper halves cleared.
void execute_cpuid(EngineCpu& cpu, bool apic_enabled);

}  // namespace understudy::emu
