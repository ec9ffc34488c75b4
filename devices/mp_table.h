// The MultiProcessor table (Intel MP Specification 1.4, chapter 4) for boots without a BIOS: teaching kernels find the
// I/O APIC and the interrupt wiring through it even with one CPU. SeaBIOS builds its own. The floating pointer comes
// first, the configuration table right after it.
#pragma once

#include <cstdint>
#include <vector>

namespace understudy::devices {

inline constexpr uint32_t kMpTableAlignment = 16;

// `cpu_signature` and `cpu_features` are CPUID 1's EAX and EDX. `address` is where the bytes will lie.
std::vector<uint8_t> build_mp_table(uint32_t address, uint32_t cpu_signature, uint32_t cpu_features);

}  // namespace understudy::devices
