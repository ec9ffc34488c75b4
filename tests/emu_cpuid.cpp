// CPUID's leaves against SDM Vol. 2A table 3-8.
#include <doctest/doctest.h>

#include <cstring>
#include <string>

#include "emu/cpuid.h"
#include "emu/machine.h"

namespace {

using namespace understudy::emu;

std::string text(std::initializer_list<uint32_t> words) {
  std::string out;
  for (const uint32_t word : words) out.append(reinterpret_cast<const char*>(&word), 4);
  return out.c_str();
}

bool has(uint32_t word, unsigned bit) { return word >> bit & 1; }

TEST_CASE("vendor, signature, brand") {
  const auto zero = cpuid(0, 0, true);
  CHECK(zero.eax == 0xb);
  CHECK(text({zero.ebx, zero.edx, zero.ecx, 0}) == "GenuineIntel");
  CHECK(cpuid(1, 0, true).eax == kCpuSignature);
  CHECK(cpuid(0x80000000, 0, true).eax == 0x80000008);
  std::string brand;
  for (const uint32_t leaf : {0x80000002u, 0x80000003u, 0x80000004u}) {
    const auto r = cpuid(leaf, 0, true);
    brand += text({r.eax, r.ebx, r.ecx, r.edx, 0});
  }
  CHECK(brand == "Understudy virtual CPU");
}

TEST_CASE("kernels are told that string instructions are not fast") {
  Machine machine(1 << 20, {});
  machine.reset();
  CHECK(machine.cpu().engine().cpu().misc_enable == 0);
}

TEST_CASE("features that work are shown, others are not") {
  const auto one = cpuid(1, 0, true);
  for (const unsigned bit : {0, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 15, 16, 17, 19, 23, 24, 25, 26}) {
    CAPTURE(bit);
    CHECK(has(one.edx, bit));
  }
  for (const unsigned bit : {1, 7, 14, 18, 21, 22, 28, 29}) {  // VME, MCE, MCA, PSN, DS, ACPI, HTT, TM
    CAPTURE(bit);
    CHECK_FALSE(has(one.edx, bit));
  }
  for (const unsigned bit : {0, 9, 19, 20, 23}) {  // SSE3, SSSE3, SSE4.1, SSE4.2, POPCNT
    CAPTURE(bit);
    CHECK(has(one.ecx, bit));
  }
  CHECK(has(one.ecx, 13) == kShowCmpxchg16b);
  // PCLMUL, MONITOR, VMX, PCID, x2APIC, MOVBE, TSC deadline, AES, XSAVE, OSXSAVE, AVX, RDRAND, hypervisor
  for (const unsigned bit : {1, 3, 5, 17, 21, 22, 24, 25, 26, 27, 28, 30, 31}) {
    CAPTURE(bit);
    CHECK_FALSE(has(one.ecx, bit));
  }
  CHECK(one.ebx == 0x00010800);
  const auto extended = cpuid(0x80000001, 0, true);
  CHECK(extended.ecx == 1);           // LAHF in 64-bit mode
  CHECK(extended.edx == 0x20100800);  // SYSCALL, NX, long mode; no 1 GiB pages, no RDTSCP
  CHECK(cpuid(0x80000007, 0, true).edx == 0x100);
  CHECK(cpuid(7, 0, true) == CpuidRegisters{});
}

TEST_CASE("the APIC bit follows the APIC") {
  const auto on = cpuid(1, 0, true);
  const auto off = cpuid(1, 0, false);
  CHECK((on.edx ^ off.edx) == 1u << 9);
  CHECK(on.ecx == off.ecx);
}

TEST_CASE("caches: sizes, one thread each, an end") {
  const uint32_t kib[] = {32, 32, 256, 8192};
  for (unsigned i = 0; i < 4; ++i) {
    const auto r = cpuid(4, i, true);
    const uint64_t size = ((r.ebx >> 22) + 1ull) * ((r.ebx & 0xfff) + 1) * (r.ecx + 1ull);
    CHECK(size == kib[i] * 1024);
    CHECK((r.eax & 0x1f) == (i < 2 ? i + 1 : 3));
    CHECK((r.eax >> 14) == 0);
  }
  CHECK(cpuid(4, 4, true) == CpuidRegisters{});
  CHECK(cpuid(4, 0xffffffff, true) == CpuidRegisters{});
  CHECK((cpuid(2, 0, true).eax & 0xff) == 1);
}

TEST_CASE("topology and address sizes") {
  CHECK(cpuid(0xb, 0, true) == CpuidRegisters{0, 1, 0x100, 0});
  CHECK(cpuid(0xb, 1, true) == CpuidRegisters{0, 1, 0x201, 0});
  CHECK(cpuid(0xb, 2, true) == CpuidRegisters{0, 0, 2, 0});
  CHECK(cpuid(0x80000008, 0, true).eax == 0x3028);
}

TEST_CASE("leaves beyond the highest give the highest basic leaf") {
  for (const uint32_t leaf : {0xcu, 0x15u, 0x40000000u, 0x7fffffffu, 0x80000009u, 0xffffffffu}) {
    CAPTURE(leaf);
    CHECK(cpuid(leaf, 1, true) == cpuid(0xb, 1, true));
  }
}

TEST_CASE("the instruction clears the upper halves") {
  EngineCpu cpu{};
  for (auto& reg : cpu.regs) reg = 0xffffffff00000000;
  cpu.regs[kRax] |= 4;
  cpu.regs[kRcx] |= 2;
  execute_cpuid(cpu, true);
  const auto expected = cpuid(4, 2, true);
  CHECK(cpu.regs[kRax] == expected.eax);
  CHECK(cpu.regs[kRbx] == expected.ebx);
  CHECK(cpu.regs[kRcx] == expected.ecx);
  CHECK(cpu.regs[kRdx] == expected.edx);
  CHECK(cpu.regs[kRsp] == 0xffffffff00000000);
}

}  // namespace
