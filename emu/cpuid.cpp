#include "emu/cpuid.h"

#include <cstring>
#include <string_view>

namespace understudy::emu {

namespace {

constexpr uint32_t bit(unsigned n) { return 1u << n; }

constexpr uint32_t kHighestBasic = 0xb;
constexpr uint32_t kExtended = 0x80000000;
constexpr uint32_t kHighestExtended = 0x80000008;
constexpr std::string_view kVendor = "GenuineIntel";
constexpr std::string_view kBrand = "Understudy virtual CPU";

// Leaf 1.
constexpr uint32_t kFpu = bit(0), kDe = bit(2), kPse = bit(3), kTsc = bit(4), kMsr = bit(5), kPae = bit(6),
                   kCx8 = bit(8), kApic = bit(9), kSep = bit(11), kMtrr = bit(12), kPge = bit(13), kCmov = bit(15),
                   kPat = bit(16), kPse36 = bit(17), kClflush = bit(19), kMmx = bit(23), kFxsr = bit(24),
                   kSse = bit(25), kSse2 = bit(26);
constexpr uint32_t kSse3 = bit(0), kSsse3 = bit(9), kCx16 = bit(13), kSse41 = bit(19), kSse42 = bit(20),
                   kPopcnt = bit(23);
// Leaf 6.
constexpr uint32_t kApicTimerAlwaysRuns = bit(2);
// Leaves 80000001 and 80000007.
constexpr uint32_t kLahf64 = bit(0);
constexpr uint32_t kSyscall = bit(11), kNx = bit(20), kLongMode = bit(29);
constexpr uint32_t kInvariantTsc = bit(8);

constexpr uint32_t kCacheLine = 64;
constexpr uint32_t kL2KiB = 256;

CpuidRegisters vendor(uint32_t highest) {
  CpuidRegisters out{highest, 0, 0, 0};
  std::memcpy(&out.ebx, kVendor.data(), 4);
  std::memcpy(&out.edx, kVendor.data() + 4, 4);
  std::memcpy(&out.ecx, kVendor.data() + 8, 4);
  return out;
}

CpuidRegisters features(bool apic_enabled) {
  constexpr uint32_t kOneLogicalProcessor = 1u << 16;
  constexpr uint32_t kClflushQuads = kCacheLine / 8 << 8;
  return {kCpuSignature, kOneLogicalProcessor | kClflushQuads,
          kSse3 | kSsse3 | (kShowCmpxchg16b ? kCx16 : 0) | kSse41 | kSse42 | kPopcnt,
          kFpu | kDe | kPse | kTsc | kMsr | kPae | kCx8 | (apic_enabled ? kApic : 0) | kSep | kMtrr | kPge | kCmov |
              kPat | kPse36 | kClflush | kMmx | kFxsr | kSse | kSse2};
}

// Leaf 4 (SDM Vol. 2A, table 3-8): one thread and one core share each cache.
CpuidRegisters cache(uint32_t type, uint32_t level, uint32_t kib, uint32_t ways) {
  constexpr uint32_t kSelfInitialising = bit(8);
  const uint32_t sets = kib * 1024 / ways / kCacheLine;
  return {type | level << 5 | kSelfInitialising, (kCacheLine - 1) | (ways - 1) << 22, sets - 1, 0};
}
CpuidRegisters caches(uint32_t index) {
  constexpr uint32_t kData = 1, kInstruction = 2, kUnified = 3;
  switch (index) {
    case 0:
      return cache(kData, 1, 32, 8);
    case 1:
      return cache(kInstruction, 1, 32, 4);
    case 2:
      return cache(kUnified, 2, kL2KiB, 8);
    case 3:
      return cache(kUnified, 3, 8192, 16);
    default:
      return {};
  }
}

// Leaf B: a thread level and a core level of one each; x2APIC id 0.
CpuidRegisters topology(uint32_t level) {
  constexpr uint32_t kThread = 1, kCore = 2;
  if (level > 1) return {0, 0, level & 0xff, 0};
  return {0, 1, level | (level == 0 ? kThread : kCore) << 8, 0};
}

CpuidRegisters brand(uint32_t part) {
  char text[48] = {};
  std::memcpy(text, kBrand.data(), kBrand.size());
  uint32_t words[4];
  std::memcpy(words, text + part * sizeof words, sizeof words);
  return {words[0], words[1], words[2], words[3]};
}

CpuidRegisters extended(uint32_t leaf) {
  switch (leaf) {
    case 0x80000000:
      return {kHighestExtended, 0, 0, 0};
    case 0x80000001:
      return {0, 0, kLahf64, kSyscall | kNx | kLongMode};
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:
      return brand(leaf - 0x80000002);
    case 0x80000006: {
      constexpr uint32_t kEightWays = 6u << 12;
      return {0, 0, kL2KiB << 16 | kEightWays | kCacheLine, 0};
    }
    case 0x80000007:
      return {0, 0, 0, kInvariantTsc};
    case 0x80000008:
      return {kLinearAddressBits << 8 | kPhysicalAddressBits, 0, 0, 0};
    default:
      return {};
  }
}

}  // namespace

CpuidRegisters cpuid(uint32_t leaf, uint32_t subleaf, bool apic_enabled) {
  if (leaf >= kExtended && leaf <= kHighestExtended) return extended(leaf);
  switch (leaf) {
    case 0:
      return vendor(kHighestBasic);
    case 1:
      return features(apic_enabled);
    case 2:
      // Leaf 4's caches and TLBs of a Nehalem as descriptor bytes (SDM Vol. 2A table 3-12); the first byte is 1.
      return {0x55035a01, 0x00f0b2e4, 0, 0x09ca212c};
    case 4:
      return caches(subleaf);
    case 3:  // serial number: none
    case 5:  // MONITOR: none
    case 7:
    case 8:
    case 9:
    case 0xa:  // performance monitoring: none
      return {};
    case 6:
      return {kApicTimerAlwaysRuns, 0, 0, 0};
    default:
      return topology(subleaf);
  }
}

void execute_cpuid(EngineCpu& cpu, bool apic_enabled) {
  const CpuidRegisters out =
      cpuid(static_cast<uint32_t>(cpu.regs[kRax]), static_cast<uint32_t>(cpu.regs[kRcx]), apic_enabled);
  cpu.regs[kRax] = out.eax;
  cpu.regs[kRbx] = out.ebx;
  cpu.regs[kRcx] = out.ecx;
  cpu.regs[kRdx] = out.edx;
}

}  // namespace understudy::emu
