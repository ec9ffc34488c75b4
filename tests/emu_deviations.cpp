// The warnings about what the engine does not do: each comes when a guest relies on it, once, and says where.
#include <doctest/doctest.h>

#include <vector>

#include "tests/code_rig.h"

using namespace understudy::emu;
using understudy::tests::CodeRig;
using Mode = CodeRig::Mode;

namespace {

// All that was seen of a machine, in order.
struct Seen {
  explicit Seen(CodeRig& rig) {
    rig.machine.cpu().on_deviation([this](const DeviationSeen& one) { all.push_back(one); });
  }
  std::vector<Deviation> kinds() const {
    std::vector<Deviation> kinds;
    for (const auto& one : all) kinds.push_back(one.what);
    return kinds;
  }
  std::vector<DeviationSeen> all;
};

constexpr uint8_t kHlt = 0xf4;

}  // namespace

TEST_CASE("a data breakpoint in DR7 is warned of, one on execution is not") {
  for (const bool on_data : {false, true}) {
    CodeRig rig(Mode::flat32);
    Seen seen(rig);
    // nop; mov eax,00?00001; mov dr7,eax; mov dr7,eax; hlt
    const uint8_t what = on_data ? 0x01 : 0x00;
    rig.poke(CodeRig::kCode, {0x90, 0xb8, 0x01, 0x00, what, 0x00, 0x0f, 0x23, 0xf8, 0x0f, 0x23, 0xf8, kHlt});
    rig.start();
    rig.run();
    CHECK(rig.rip() == CodeRig::kCode + 13);
    REQUIRE(seen.all.size() == (on_data ? 1 : 0));
    if (!on_data) continue;
    CHECK(seen.all[0].what == Deviation::data_watchpoint);
    CHECK(seen.all[0].cs == CodeRig::kCode0);
    CHECK(seen.all[0].eip == CodeRig::kCode + 6);
    CHECK(seen.all[0].icount == 2);
  }
}

TEST_CASE("an unmasked x87 exception is warned of with CR0.NE clear only") {
  for (const bool numeric : {false, true}) {
    CodeRig rig(Mode::flat32);
    Seen seen(rig);
    // fninit; fldcw [kData]; fld1; fldz; fdivp; fnstsw ax; hlt
    rig.poke(CodeRig::kCode,
             {0xdb, 0xe3, 0xd9, 0x2d, 0x00, 0x00, 0x02, 0x00, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0xdf, 0xe0, kHlt});
    rig.put<uint16_t>(CodeRig::kData, 0x37b);
    rig.start();
    EngineCpu& cpu = rig.machine.cpu().engine().cpu();
    if (!numeric) rig.machine.cpu().engine().set_control_registers(cpu.cr[0] & ~cr0::kNe, cpu.cr[4], cpu.efer);
    rig.run();
    CHECK((rig.reg(kRax) & 0x84) == 0x84);
    CHECK(seen.kinds() == (numeric ? std::vector<Deviation>{} : std::vector{Deviation::fp_error_line}));
  }
}

TEST_CASE("an unmasked SSE exception is warned of") {
  CodeRig rig(Mode::long64);
  Seen seen(rig);
  // ldmxcsr [kData]; xorps xmm0,xmm0; divss xmm0,xmm0; stmxcsr [kData]; hlt
  rig.poke(CodeRig::kCode, {0x0f, 0xae, 0x14, 0x25, 0x00, 0x00, 0x02, 0x00, 0x0f, 0x57, 0xc0, 0xf3,
                            0x0f, 0x5e, 0xc0, 0x0f, 0xae, 0x1c, 0x25, 0x00, 0x00, 0x02, 0x00, kHlt});
  rig.put<uint32_t>(CodeRig::kData, 0x1f00);
  rig.start();
  EngineCpu& cpu = rig.machine.cpu().engine().cpu();
  rig.machine.cpu().engine().set_control_registers(cpu.cr[0], cpu.cr[4] | cr4::kOsfxsr, cpu.efer);
  rig.run();
  CHECK(rig.get<uint32_t>(CodeRig::kData) == 0x1f01);
  CHECK(seen.kinds() == std::vector{Deviation::sse_exception});
}

TEST_CASE("segments that are to protect something are warned of, flat and null ones are not") {
  struct Case {
    uint32_t limit, access, nibble;
    std::vector<Deviation> expected;
  };
  const std::vector<Case> cases = {{0xfffff, 0x93, 0xc, {}},
                                   {0x01fff, 0x93, 0x4, {Deviation::segment_limit}},
                                   {0x00fff, 0x97, 0xc, {Deviation::segment_limit}},
                                   {0xfffff, 0x91, 0xc, {Deviation::read_only_segment}},
                                   {0x0ffff, 0x91, 0x4, {Deviation::segment_limit, Deviation::read_only_segment}}};
  for (const Case& c : cases) {
    CAPTURE(c.access);
    CodeRig rig(Mode::flat32);
    Seen seen(rig);
    rig.descriptor(CodeRig::kSpare, 0, c.limit, c.access, c.nibble);
    // mov ax,kSpare; mov ds,ax; xor ax,ax; mov es,ax; int3
    rig.poke(CodeRig::kCode, {0x66, 0xb8, CodeRig::kSpare, 0x00, 0x8e, 0xd8, 0x66, 0x31, 0xc0, 0x8e, 0xc0, 0xcc});
    rig.start();
    rig.run();
    CHECK(rig.vector() == 3);
    CHECK(seen.kinds() == c.expected);
  }
}

TEST_CASE("alignment checks are warned of, and are not made") {
  CodeRig rig(Mode::flat32);
  Seen seen(rig);
  // mov eax,[kData+1]; int3
  rig.poke(CodeRig::kCode, {0xa1, 0x01, 0x00, 0x02, 0x00, 0xcc});
  rig.start(CodeRig::kCode, true, eflags::kAc | eflags::kReserved1);
  EngineCpu& cpu = rig.machine.cpu().engine().cpu();
  rig.machine.cpu().engine().set_control_registers(cpu.cr[0] | cr0::kAm, cpu.cr[4], cpu.efer);
  rig.run();
  CHECK(rig.vector() == 3);
  CHECK(seen.kinds() == std::vector{Deviation::alignment_check});
}

TEST_CASE("a 286 call gate with something in its reserved word is warned of") {
  for (const uint16_t reserved : {0, 1}) {
    CodeRig rig(Mode::flat32);
    Seen seen(rig);
    // kSpare: a 286 call gate to kCode0:a000, where INT 0's handler is; call kSpare:0
    rig.put<uint32_t>(CodeRig::kGdt + CodeRig::kSpare, uint32_t{CodeRig::kCode0} << 16 | CodeRig::kHandlers);
    rig.put<uint32_t>(CodeRig::kGdt + CodeRig::kSpare + 4, 0x8400u | uint32_t{reserved} << 16);
    rig.poke(CodeRig::kHandlers + 0x10000u, {kHlt});
    rig.poke(CodeRig::kCode, {0x9a, 0x00, 0x00, 0x00, 0x00, CodeRig::kSpare, 0x00});
    rig.start();
    rig.run();
    CHECK(rig.rip() == CodeRig::kHandlers + 0x10000u * reserved + 1);
    CHECK(seen.kinds() == (reserved != 0 ? std::vector{Deviation::gate_286} : std::vector<Deviation>{}));
  }
}
