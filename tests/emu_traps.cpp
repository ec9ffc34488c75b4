// The engine's known traps, one case each, on a real machine that runs a few bytes of machine code. Each case fails
// when what the CPU does about its trap is taken out.
#include <doctest/doctest.h>

#include <array>
#include <functional>
#include <memory>
#include <vector>

#include "emu/machine.h"
#include "tests/code_rig.h"
#include "tests/watcher.h"

namespace {

using namespace understudy::emu;
using understudy::tests::CodeRig;
using Mode = CodeRig::Mode;

using MakeRig = std::function<std::unique_ptr<CodeRig>()>;

// Whole, one instruction at a time, stopped once at each count on the way, and watched instruction by instruction: the
// same state at each count that two of them visit. Returns the count at the end.
uint64_t same_however_sliced(const MakeRig& make) {
  const auto whole = make();
  CHECK(whole->run() == MachineStop::halted);
  const uint64_t end = whole->icount();
  REQUIRE(end < 1000);
  const Digest last = whole->machine.digest();
  const auto steps = make();
  std::vector<Digest> digests;
  std::vector<uint64_t> rips;
  for (uint64_t n = 1; n <= end; ++n) {
    steps->run(n);
    CHECK(steps->icount() == n);
    digests.push_back(steps->machine.digest());
    rips.push_back(steps->rip());
  }
  steps->run();
  CHECK(steps->icount() == end);
  CHECK(steps->machine.digest() == last);
  for (uint64_t n = 1; n < end; ++n) {
    CAPTURE(n);
    const auto stopped = make();
    CHECK(stopped->run(n) == MachineStop::limit);
    CHECK(stopped->icount() == n);
    CHECK(stopped->rip() == rips[n - 1]);
    CHECK(stopped->machine.digest() == digests[n - 1]);
    stopped->run();
    CHECK(stopped->machine.digest() == last);
  }
  const auto watched = make();
  const understudy::tests::Watcher watcher(watched->machine, {true, true, true});
  watched->run();
  CHECK(watched->icount() == end);
  CHECK(watched->machine.digest() == last);
  CHECK(watcher.wrong_records == 0);
  uint64_t next = 0;
  // An instruction that cannot be fetched is not told of; its fault is.
  for (const auto& step : watcher.firsts) {
    CHECK(step.icount == next);
    if (next > 0) CHECK(step.rip == rips[next - 1]);
    ++next;
  }
  CHECK(next == end);
  return end;
}

TEST_CASE("trap 1: CMPXCHG8B in the middle of a block keeps the flags set before it") {
  for (const bool equal : {false, true}) {
    CAPTURE(equal);
    CodeRig rig(Mode::flat32);
    // mov al, 80; add al, 80 (OF, CF, PF, ZF); cmpxchg8b [kData]; pushf; pop esi; hlt
    rig.poke(CodeRig::kCode, {0xb0, 0x80, 0x04, 0x80, 0x0f, 0xc7, 0x0d, 0x00, 0x00, 0x02, 0x00, 0x9c, 0x5e, 0xf4});
    rig.put<uint64_t>(CodeRig::kData, equal ? 0 : 0x1122334455667788);
    rig.start(CodeRig::kCode, false, eflags::kId | eflags::kReserved1);
    CHECK(rig.run() == MachineStop::halted);
    const uint32_t expected =
        eflags::kCf | eflags::kOf | eflags::kPf | eflags::kId | eflags::kReserved1 | (equal ? eflags::kZf : 0);
    CHECK(rig.reg(kRsi) == expected);
    CHECK(rig.reg(kRax) == (equal ? 0 : 0x55667788));
  }
}

TEST_CASE("trap 2: code modified through a mapping that forbids execution") {
  CodeRig rig(Mode::long64);
  constexpr uint32_t kFunction = 0x40000, kAlias = 0x50000;
  rig.map(kAlias, kFunction, 0x8000000000000003);
  rig.poke(kFunction, {0xb8, 1, 0, 0, 0, 0xc3});  // mov eax, 1; ret
  // call function; mov ebx, eax; mov byte [alias + 1], 2; call function; hlt
  rig.poke(CodeRig::kCode, {0xe8, 0xfb, 0xff, 0x02, 0x00, 0x89, 0xc3, 0xc6, 0x04, 0x25, 0x01,
                            0x00, 0x05, 0x00, 0x02, 0xe8, 0xec, 0xff, 0x02, 0x00, 0xf4});
  rig.start();
  CHECK(rig.run() == MachineStop::halted);
  CHECK(rig.reg(kRbx) == 1);
  CHECK(rig.reg(kRax) == 2);
}

TEST_CASE("trap 2: REP MOVSB onto the page that it runs in, through a mapping that forbids execution") {
  const auto make = [] {
    auto rig = std::make_unique<CodeRig>(Mode::long64);
    constexpr uint32_t kAlias = 0x50000;
    rig->map(kAlias, CodeRig::kCode, 0x8000000000000003);
    rig->poke(CodeRig::kData, {0xb8, 2, 0, 0, 0});
    // mov esi, kData; mov edi, alias + 11h; mov ecx, 5; rep movsb; 11: mov eax, 1; hlt
    rig->poke(CodeRig::kCode, {0xbe, 0x00, 0x00, 0x02, 0x00, 0xbf, 0x11, 0x00, 0x05, 0x00, 0xb9, 0x05,
                               0x00, 0x00, 0x00, 0xf3, 0xa4, 0xb8, 0x01, 0x00, 0x00, 0x00, 0xf4});
    rig->start();
    return rig;
  };
  const auto rig = make();
  CHECK(rig->run() == MachineStop::halted);
  CHECK(rig->reg(kRax) == 2);
  CHECK(rig->reg(kRcx) == 0);
  CHECK(rig->icount() == same_however_sliced(make));
}

TEST_CASE("trap 2: stores through such a mapping to the page that they run in") {
  const auto make = [] {
    auto rig = std::make_unique<CodeRig>(Mode::long64);
    constexpr uint32_t kAlias = 0x50000, kFunction = CodeRig::kCode + 0x100;
    rig->map(kAlias, CodeRig::kCode, 0x8000000000000003);
    rig->poke(kFunction, {0xb8, 1, 0, 0, 0, 0xc3});
    // call function; mov ebx, eax; mov byte [alias + 101h], 2; call function; mov ecx, eax;
    // mov byte [alias + 1fh], 22h; 1e: mov eax, 11h; hlt
    rig->poke(CodeRig::kCode, {0xe8, 0xfb, 0x00, 0x00, 0x00, 0x89, 0xc3, 0xc6, 0x04, 0x25, 0x01, 0x01,
                               0x05, 0x00, 0x02, 0xe8, 0xec, 0x00, 0x00, 0x00, 0x89, 0xc1, 0xc6, 0x04,
                               0x25, 0x1f, 0x00, 0x05, 0x00, 0x22, 0xb8, 0x11, 0x00, 0x00, 0x00, 0xf4});
    rig->start();
    return rig;
  };
  const auto rig = make();
  CHECK(rig->run() == MachineStop::halted);
  CHECK(rig->reg(kRbx) == 1);
  CHECK(rig->reg(kRcx) == 2);
  CHECK(rig->reg(kRax) == 0x22);
  CHECK(same_however_sliced(make) == 12);
}

// The engine itself sees only the first of an instruction's stores through such a mapping.
TEST_CASE("trap 2: one instruction that stores twice through such a mapping to the page that it runs in") {
  const auto make = [] {
    auto rig = std::make_unique<CodeRig>(Mode::long64);
    constexpr uint32_t kAlias = 0x50000, kFunctions = CodeRig::kCode + 0x100;
    rig->map(kAlias, CodeRig::kCode, 0x8000000000000003);
    // Two functions of eight bytes: mov eax, 1; ret. They become mov eax, 2 and mov eax, 3.
    rig->poke(kFunctions, {0xb8, 1, 0, 0, 0, 0xc3, 0, 0, 0xb8, 1, 0, 0, 0, 0xc3, 0, 0});
    rig->poke(CodeRig::kData, {0xb8, 2, 0, 0, 0, 0xc3, 0, 0, 0xb8, 3, 0, 0, 0, 0xc3, 0, 0});
    // movups xmm0, [kData]; call second; call first; movups [alias + 100h], xmm0; call first; mov ebx, eax;
    // call second; hlt
    rig->poke(CodeRig::kCode, {0x0f, 0x10, 0x04, 0x25, 0x00, 0x00, 0x02, 0x00, 0xe8, 0xfb, 0x00, 0x00, 0x00,
                               0xe8, 0xee, 0x00, 0x00, 0x00, 0x0f, 0x11, 0x04, 0x25, 0x00, 0x01, 0x05, 0x00,
                               0xe8, 0xe1, 0x00, 0x00, 0x00, 0x89, 0xc3, 0xe8, 0xe2, 0x00, 0x00, 0x00, 0xf4});
    rig->start();
    auto& engine = rig->machine.cpu().engine();
    engine.set_control_registers(engine.cpu().cr[0], engine.cpu().cr[4] | 0x600, engine.cpu().efer);  // OSFXSR
    return rig;
  };
  const auto rig = make();
  CHECK(rig->run() == MachineStop::halted);
  CHECK(rig->reg(kRbx) == 2);
  CHECK(rig->reg(kRax) == 3);
  CHECK(same_however_sliced(make) == 16);
}

TEST_CASE("trap 3: a device's DMA and a write between runs reach code that has run") {
  CodeRig rig(Mode::flat32);
  constexpr uint32_t kFunction = 0x40000;
  rig.poke(kFunction, {0xb8, 1, 0, 0, 0, 0xc3});
  // call function; mov ebx, eax; out 10h, al; call function; mov ecx, eax; mov eax, 11h; nop; hlt
  rig.poke(CodeRig::kCode, {0xe8, 0xfb, 0xff, 0x02, 0x00, 0x89, 0xc3, 0xe6, 0x10, 0xe8, 0xf2, 0xff,
                            0x02, 0x00, 0x89, 0xc1, 0xb8, 0x11, 0x00, 0x00, 0x00, 0x90, 0xf4});
  rig.on_access = [&](uint64_t) {
    rig.poke(kFunction + 1, {2});
    rig.poke(CodeRig::kCode + 0x11, {0x22});  // behind the OUT, in its own page
  };
  rig.start();
  CHECK(rig.run() == MachineStop::halted);
  CHECK(rig.reg(kRbx) == 1);
  CHECK(rig.reg(kRcx) == 2);
  CHECK(rig.reg(kRax) == 0x22);

  CodeRig between(Mode::flat32);
  // again: mov eax, 1; jmp again
  between.poke(CodeRig::kCode, {0xb8, 1, 0, 0, 0, 0xeb, 0xf9});
  between.start();
  between.run(10);
  between.poke(CodeRig::kCode + 1, {2});
  between.run(12);
  CHECK(between.reg(kRax) == 2);
}

TEST_CASE("trap 4: an access to a device happens once, and a stop in it is exact") {
  struct Access {
    const char* what;
    std::vector<uint8_t> code;
    unsigned reads, writes;
  };
  const Access accesses[] = {
      {"mov eax, [device]", {0xa1, 0, 0, 0x80, 0}, 1, 0},
      {"mov [device], eax", {0xa3, 0, 0, 0x80, 0}, 0, 1},
      {"inc dword [device]", {0xff, 0x05, 0, 0, 0x80, 0}, 1, 1},
      {"xchg [device], eax", {0x87, 0x05, 0, 0, 0x80, 0}, 1, 1},
      {"push dword [device]", {0xff, 0x35, 0, 0, 0x80, 0}, 1, 0},
  };
  for (const Access& access : accesses) {
    CAPTURE(access.what);
    CodeRig rig(Mode::flat32);
    // mov [kData], eax; mov edx, [kData]; inc ecx; ACCESS; inc ecx; mov [kData], ecx; hlt
    std::vector<uint8_t> code{0xa3, 0, 0, 2, 0, 0x8b, 0x15, 0, 0, 2, 0, 0x41};
    code.insert(code.end(), access.code.begin(), access.code.end());
    const uint64_t behind = CodeRig::kCode + code.size();
    for (const uint8_t byte : {0x41, 0x89, 0x0d, 0x00, 0x00, 0x02, 0x00, 0xf4}) code.push_back(byte);
    rig.machine.memory().store(CodeRig::kCode, code);
    uint64_t seen_at = 0;
    rig.on_access = [&](uint64_t) {
      seen_at = rig.machine.cpu().executing_icount();
      rig.machine.stop_with(MachineStop::asked);
    };
    rig.start();
    CHECK(rig.run() == MachineStop::asked);
    CHECK(rig.reads == access.reads);
    CHECK(rig.writes == access.writes);
    CHECK(seen_at == 3);
    CHECK(rig.icount() == 4);
    CHECK(rig.rip() == behind);
    CHECK(rig.reg(kRcx) == 1);
    CHECK(rig.run() == MachineStop::halted);
    CHECK(rig.icount() == 7);
    CHECK(rig.reads == access.reads);
    CHECK(rig.writes == access.writes);
  }
}

TEST_CASE("trap 5: a stop in IN, OUT, INS and OUTS is exact") {
  const std::vector<uint8_t> accesses[] = {{0xe4, 0x10}, {0xe6, 0x10},      {0xec}, {0xef}, {0x6c},
                                           {0x6e},       {0x66, 0xe5, 0x10}};
  for (const auto& access : accesses) {
    CAPTURE(static_cast<unsigned>(access[0]));
    CodeRig rig(Mode::flat32);
    // mov edx, 10h; mov esi, kData; mov edi, esi; ACCESS; inc ecx; inc ecx; mov [kData], ecx; hlt
    std::vector<uint8_t> code{0xba, 0x10, 0, 0, 0, 0xbe, 0, 0, 2, 0, 0x89, 0xf7};
    code.insert(code.end(), access.begin(), access.end());
    const uint64_t behind = CodeRig::kCode + code.size();
    for (const uint8_t byte : {0x41, 0x41, 0x89, 0x0d, 0x00, 0x00, 0x02, 0x00, 0xf4}) code.push_back(byte);
    rig.machine.memory().store(CodeRig::kCode, code);
    rig.on_access = [&](uint64_t) { rig.machine.stop_with(MachineStop::asked); };
    rig.start();
    CHECK(rig.run() == MachineStop::asked);
    CHECK(rig.reads + rig.writes == 1);
    CHECK(rig.icount() == 4);
    CHECK(rig.rip() == behind);
    CHECK(rig.reg(kRcx) == 0);
    CHECK(rig.run() == MachineStop::halted);
    CHECK(rig.icount() == 8);
    CHECK(rig.reads + rig.writes == 1);
  }
}

TEST_CASE("trap 6: IN and OUT at CPL 3 ask IOPL and the bitmap of the TSS") {
  for (const bool allowed_by_iopl : {false, true}) {
    for (const bool allowed_by_bitmap : {false, true}) {
      for (const std::vector<uint8_t>& access : {std::vector<uint8_t>{0xe4, 0x10}, {0xe7, 0x10}, {0xed}, {0x6e}}) {
        CAPTURE(allowed_by_iopl);
        CAPTURE(allowed_by_bitmap);
        CAPTURE(static_cast<unsigned>(access[0]));
        CodeRig rig(Mode::flat32);
        // mov edx, 10h; mov esi, kData; ACCESS; ud2
        std::vector<uint8_t> code{0xba, 0x10, 0, 0, 0, 0xbe, 0, 0, 2, 0};
        code.insert(code.end(), access.begin(), access.end());
        code.push_back(0x0f);
        code.push_back(0x0b);
        rig.machine.memory().store(CodeRig::kCode, code);
        if (allowed_by_bitmap) rig.put<uint8_t>(CodeRig::kTss + 0x68 + CodeRig::kPort / 8, 0xf0);
        rig.start(CodeRig::kCode, true, eflags::kReserved1 | (allowed_by_iopl ? eflags::kIopl : 0));
        CHECK(rig.run() == MachineStop::halted);
        const bool allowed = allowed_by_iopl || allowed_by_bitmap;
        CHECK(rig.vector() == (allowed ? 6 : 13));
        CHECK(rig.reads + rig.writes == (allowed ? 1u : 0u));
        if (!allowed) {
          CHECK(rig.stack(0) == 0);
          CHECK(rig.stack(1) == CodeRig::kCode + 10);
        }
      }
    }
  }
}

TEST_CASE("trap 6: RDPMC is #GP at every privilege") {
  for (const bool ring3 : {false, true}) {
    CodeRig rig(Mode::flat32);
    rig.poke(CodeRig::kCode, {0x90, 0x0f, 0x33, 0xf4});
    rig.start(CodeRig::kCode, ring3);
    CHECK(rig.run() == MachineStop::halted);
    CHECK(rig.vector() == 13);
    CHECK(rig.stack(0) == 0);
    CHECK(rig.stack(1) == CodeRig::kCode + 1);
    CHECK(rig.icount() == 2);  // NOP, and the handler's HLT
  }
}

TEST_CASE("trap 7: a second and a third contributory fault are themselves, not #DF and a shutdown") {
  CodeRig rig(Mode::flat32);
  // mov eax, 77h; mov ds, eax five times; hlt
  rig.poke(CodeRig::kCode, {0xb8, 0x77, 0x77, 0, 0, 0x8e, 0xd8, 0x8e, 0xd8, 0x8e, 0xd8, 0x8e, 0xd8, 0x8e, 0xd8, 0xf4});
  // inc ecx; add dword [esp+4], 2; add esp, 4; iret
  rig.poke(CodeRig::kHandlers + 16 * 13, {0x41, 0x83, 0x44, 0x24, 0x04, 0x02, 0x83, 0xc4, 0x04, 0xcf});
  rig.start();
  CHECK(rig.run() == MachineStop::halted);
  CHECK(rig.reg(kRcx) == 5);
  CHECK(rig.rip() == CodeRig::kCode + 16);
  CHECK(rig.icount() == 1 + 5 * 4 + 1);
}

TEST_CASE("trap 8: a fetch fault on an instruction that straddles two pages") {
  for (const bool first : {false, true}) {
    CAPTURE(first);
    const auto make = [first] {
      auto rig = std::make_unique<CodeRig>(Mode::paged32);
      constexpr uint32_t kPage = 0x40000;
      rig->map(kPage + 0x1000, 0, 0);
      rig->poke(kPage + 0xffc, {0x41, 0x41, 0xb8, 0x01});  // inc ecx; inc ecx; mov eax, 1
      rig->start(kPage + (first ? 0xffe : 0xffc));
      return rig;
    };
    const auto rig = make();
    CHECK(rig->run() == MachineStop::halted);
    CHECK(rig->vector() == 14);
    CHECK(rig->stack(0) == 0);
    CHECK(rig->stack(1) == 0x40ffe);
    CHECK(rig->machine.cpu().engine().cpu().cr[2] == 0x41000);
    CHECK(rig->reg(kRcx) == (first ? 0 : 2));
    CHECK(rig->icount() == (first ? 1 : 3));
    CHECK(same_however_sliced(make) == rig->icount());
  }
}

// In front of an instruction that cannot be fetched is a point like any other.
TEST_CASE("a fetch fault is taken behind its point: a run stops there, and an interrupt comes first") {
  constexpr uint32_t kNowhere = 0x40000;
  struct Way {
    const char* what;
    Mode mode;
    bool ring3;
    std::vector<uint8_t> code;
    uint64_t count;  // behind the instruction that leads there
  };
  const Way ways[] = {
      {"jmp", Mode::paged32, false, {0x90, 0xe9, 0xfa, 0xff, 0x02, 0x00}, 2},
      {"jmp at CPL 3", Mode::paged32, true, {0x90, 0xe9, 0xfa, 0xff, 0x02, 0x00}, 2},
      {"jmp in long mode", Mode::long64, false, {0x90, 0xe9, 0xfa, 0xff, 0x02, 0x00}, 2},
      {"a far jmp", Mode::paged32, false, {0x90, 0xea, 0x00, 0x00, 0x04, 0x00, CodeRig::kCode0, 0x00}, 2},
      {"a far jmp at CPL 3", Mode::paged32, true, {0x90, 0xea, 0x00, 0x00, 0x04, 0x00, CodeRig::kCode3, 0x00}, 2},
      // push kCode3; push kNowhere; retf, whose descriptor only the engine's own walker may read
      {"retf at CPL 3", Mode::paged32, true, {0x6a, CodeRig::kCode3, 0x68, 0x00, 0x00, 0x04, 0x00, 0xcb}, 3},
      // mov eax, 8000h; shl rax, 32; jmp rax: not canonical
      {"jmp to no address", Mode::long64, false, {0xb8, 0, 0x80, 0, 0, 0x48, 0xc1, 0xe0, 0x20, 0xff, 0xe0}, 3},
  };
  for (const Way& way : ways) {
    CAPTURE(way.what);
    const bool canonical = way.count != 3 || way.ring3;
    const uint64_t nowhere = canonical ? kNowhere : 0x8000ull << 32;
    const int fault = canonical ? 14 : 13;
    const auto make = [&] {
      auto rig = std::make_unique<CodeRig>(way.mode);
      if (way.ring3)
        for (const uint32_t page : {CodeRig::kGdt, CodeRig::kIdt, CodeRig::kTss}) rig->map(page, page, 3);
      rig->map(kNowhere, 0, 0);
      rig->machine.memory().store(CodeRig::kCode, way.code);
      rig->start(CodeRig::kCode, way.ring3, eflags::kReserved1 | eflags::kIf);
      return rig;
    };
    const auto rig = make();
    CHECK(rig->run(way.count) == MachineStop::limit);
    CHECK(rig->icount() == way.count);
    CHECK(rig->rip() == nowhere);
    CHECK(rig->machine.cpu().engine().cpu().cr[2] == 0);
    CHECK(rig->run() == MachineStop::halted);
    CHECK(rig->vector() == fault);
    CHECK(rig->icount() == way.count + 1);
    if (canonical) CHECK(rig->machine.cpu().engine().cpu().cr[2] == kNowhere);
    CHECK(same_however_sliced(make) == way.count + 1);

    // Waiting when the instruction has retired, and at once when it is let through.
    for (const bool from_before : {false, true}) {
      CAPTURE(from_before);
      const auto interrupted = make();
      interrupted->run(from_before ? way.count - 1 : way.count);
      uint64_t taken_at = 0;
      unsigned vector = 0;
      interrupted->machine.cpu().on_delivery([&](const Cpu::Delivered& delivered) {
        if (taken_at != 0) return;
        taken_at = interrupted->icount();
        vector = delivered.vector;
      });
      if (from_before) {
        const auto timer = interrupted->machine.events().add(
            "timer", [&](uint64_t) { interrupted->machine.cpu().set_interrupt(true); });
        interrupted->machine.events().schedule(timer, interrupted->machine.time().ns_at(way.count));
      } else {
        interrupted->machine.cpu().set_interrupt(true);
      }
      CHECK(interrupted->run() == MachineStop::halted);
      CHECK(taken_at == way.count);
      CHECK(vector == interrupted->interrupt_vector);
      CHECK(interrupted->vector() == interrupted->interrupt_vector);
    }

    // A debugger's breakpoint there is told of, and can keep the fault from coming.
    const auto debugged = make();
    unsigned told = 0;
    debugged->machine.cpu().on_breakpoint([&](uint64_t pc) {
      CHECK(pc == nowhere);
      CHECK(debugged->icount() == way.count);
      if (++told == 1) debugged->machine.ask_to_stop();
    });
    debugged->machine.cpu().set_breakpoints({nowhere});
    CHECK(debugged->run() == MachineStop::asked);
    CHECK(debugged->rip() == nowhere);
    CHECK(debugged->run() == MachineStop::halted);
    CHECK(told == 2);
    CHECK(debugged->vector() == fault);
    CHECK(debugged->machine.digest() == rig->machine.digest());
  }
}

TEST_CASE("trap 10: REP counts one for each iteration, wherever it is stopped") {
  for (const uint8_t iterations : {0, 1, 2, 5}) {
    CAPTURE(static_cast<unsigned>(iterations));
    const auto make = [iterations] {
      auto rig = std::make_unique<CodeRig>(Mode::flat32);
      // mov ecx, n; mov edi, kData; inc edx; rep stosb; inc edx; hlt
      rig->poke(CodeRig::kCode, {0xb9, iterations, 0, 0, 0, 0xbf, 0, 0, 2, 0, 0x42, 0xf3, 0xaa, 0x42, 0xf4});
      rig->start();
      return rig;
    };
    // A REP that ends also counts the look that finds ECX zero.
    CHECK(same_however_sliced(make) == 3u + iterations + 1 + 2);
  }
}

TEST_CASE("trap 10: counts around a store to the running block") {
  const auto make = [] {
    auto rig = std::make_unique<CodeRig>(Mode::flat32);
    // inc ecx; mov byte [changed + 1], 22h; inc ecx; inc ecx; nop; changed: mov eax, 11h; inc ecx; hlt
    rig->poke(CodeRig::kCode, {0x41, 0xc6, 0x05, 0x0c, 0x00, 0x01, 0x00, 0x22, 0x41, 0x41, 0x90, 0xb8, 0x11, 0x00, 0x00,
                               0x00, 0x41, 0xf4});
    rig->start();
    return rig;
  };
  const auto rig = make();
  rig->run();
  CHECK(rig->reg(kRax) == 0x22);
  CHECK(rig->reg(kRcx) == 4);
  CHECK(rig->icount() == 8);
  CHECK(same_however_sliced(make) == 8);
}

TEST_CASE("trap 10: a REP STOSB that overwrites itself counts each iteration once") {
  for (const uint8_t filler : {0x90, 0x41, 0xf4}) {
    CAPTURE(static_cast<unsigned>(filler));
    const auto make = [filler] {
      auto rig = std::make_unique<CodeRig>(Mode::flat32);
      // mov edi, 5 bytes ahead of itself; mov al, filler; mov ecx, 20h; nops; rep stosb; nops; hlt
      rig->poke(CodeRig::kCode, {0xbf, 0x0c, 0x00, 0x01, 0x00, 0xb0, filler, 0xb9, 0x20, 0x00, 0x00, 0x00, 0x90, 0x90,
                                 0x90, 0xf3, 0xaa});
      for (uint32_t i = 0x11; i < 0x40; ++i) rig->poke(CodeRig::kCode + i, {0x90});
      rig->poke(CodeRig::kCode + 0x40, {0xf4});
      rig->start();
      return rig;
    };
    same_however_sliced(make);
  }
}

TEST_CASE("trap 10: a CALL that pushes onto itself counts once") {
  const auto make = [] {
    auto rig = std::make_unique<CodeRig>(Mode::flat32);
    // inc ecx; mov esp, kCode + 11h; push edx; nop; call kCode + 15h, over its own displacement; ...; inc ecx twice;
    // hlt
    rig->poke(CodeRig::kCode, {0x41, 0xbc, 0x11, 0x00, 0x01, 0x00, 0x52, 0x90, 0xe8, 0x08, 0x00, 0x00,
                               0x00, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x41, 0x41, 0xf4});
    rig->start();
    return rig;
  };
  CHECK(same_however_sliced(make) == 8);
}

TEST_CASE("trap 12: a block that a limit cuts short counts what ran, as stepping does") {
  const auto make = [] {
    auto rig = std::make_unique<CodeRig>(Mode::flat32);
    // mov ecx, 3; again: inc eax; add edx, eax; push edx; pop ebx; dec ecx; jnz again; hlt
    rig->poke(CodeRig::kCode, {0xb9, 3, 0, 0, 0, 0x40, 0x01, 0xc2, 0x52, 0x5b, 0x49, 0x75, 0xf8, 0xf4});
    rig->start();
    return rig;
  };
  CHECK(same_however_sliced(make) == 1 + 3 * 6 + 1);
}

TEST_CASE("trap 13: an OUT that sets a timer shortens the run that is under way") {
  CodeRig rig(Mode::flat32);
  uint64_t fired_at = 0, fired_ns = 0, due = 0;
  const auto timer = rig.machine.events().add("timer", [&](uint64_t due_ns) {
    fired_ns = due_ns;
    fired_at = rig.icount();
  });
  rig.on_access = [&](uint64_t) {
    due = rig.machine.time().now_ns() + 5000;
    rig.machine.events().schedule(timer, due);
  };
  // out 10h, al; again: inc ecx; jmp again
  rig.poke(CodeRig::kCode, {0xe6, 0x10, 0x41, 0xeb, 0xfd});
  rig.start();
  CHECK(rig.run(100000) == MachineStop::limit);
  CHECK(fired_ns == due);
  CHECK(fired_at == rig.machine.time().icount_at(due));
  CHECK(fired_at < 5000);
}

TEST_CASE("trap 16: RDTSC is virtual time, and RDTSCP is not there") {
  CodeRig rig(Mode::flat32);
  // nop; rdtsc; mov ebx, eax; mov ecx, edx; nop; rdtsc; hlt
  rig.poke(CodeRig::kCode, {0x90, 0x0f, 0x31, 0x89, 0xc3, 0x89, 0xd1, 0x90, 0x0f, 0x31, 0xf4});
  rig.start();
  CHECK(rig.run() == MachineStop::halted);
  CHECK(rig.reg(kRbx) == rig.machine.time().ns_at(1) * 3);
  CHECK(rig.reg(kRcx) == 0);
  CHECK(rig.reg(kRax) == rig.machine.time().ns_at(5) * 3);

  CodeRig with_id(Mode::flat32);
  with_id.poke(CodeRig::kCode, {0x90, 0x0f, 0x01, 0xf9, 0xf4});
  with_id.start();
  CHECK(with_id.run() == MachineStop::halted);
  CHECK(with_id.vector() == 6);
}

TEST_CASE("undefined flags of bit tests do not depend on where a run was cut") {
  for (const uint8_t condition : {0x90, 0x91, 0x9a, 0x98}) {  // SETO, SETNO, SETP, SETS
    CAPTURE(static_cast<unsigned>(condition));
    const auto make = [condition] {
      auto rig = std::make_unique<CodeRig>(Mode::flat32);
      // mov al, 7f; add al, al; bt eax, 3; SETcc bl; add cl, 7f; bts eax, edx; jo +1; inc esi; pushf; pop edi; hlt
      rig->poke(CodeRig::kCode, {0xb0, 0x7f, 0x00, 0xc0, 0x0f, 0xba, 0xe0, 0x03, 0x0f, condition, 0xc3, 0x80,
                                 0xc1, 0x7f, 0x0f, 0xab, 0xd0, 0x70, 0x01, 0x46, 0x9c, 0x5f,      0xf4});
      rig->start();
      return rig;
    };
    same_however_sliced(make);
  }
}

TEST_CASE("ICEBP is a #DB trap behind itself") {
  const auto make = [] {
    auto rig = std::make_unique<CodeRig>(Mode::flat32);
    rig->poke(CodeRig::kCode, {0x90, 0xf1, 0x41, 0xf4});
    rig->poke(CodeRig::kHandlers + 16, {0x42, 0xcf});  // inc edx; iret
    rig->start();
    return rig;
  };
  const auto rig = make();
  CHECK(rig->run() == MachineStop::halted);
  CHECK(rig->reg(kRdx) == 1);
  CHECK(rig->reg(kRcx) == 1);
  CHECK(rig->rip() == CodeRig::kCode + 4);
  CHECK(rig->icount() == 6);
  CHECK(same_however_sliced(make) == 6);
}

// A far JMP whose descriptor table, and TSS, nobody has touched since CR3 was loaded.
TEST_CASE("trap A: far JMP to a code segment and to a TSS through TLB misses") {
  for (const bool task : {false, true}) {
    CAPTURE(task);
    constexpr uint32_t kTarget = 0x60000, kTss2 = 0x70000;
    const auto make = [task] {
      auto rig = std::make_unique<CodeRig>(Mode::paged32);
      // mov eax, cr3; mov cr3, eax; jmp far selector:kTarget
      rig->poke(CodeRig::kCode, {0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, 0xea, 0x00, 0x00, 0x06, 0x00,
                                 task ? uint8_t{CodeRig::kSpare} : uint8_t{CodeRig::kCode0}, 0x00});
      rig->poke(kTarget, {0x41, 0xf4});
      rig->descriptor(CodeRig::kSpare, kTss2, 0x67, 0x89, 0);
      rig->put<uint32_t>(kTss2 + 0x1c, CodeRig::kTables);
      rig->put<uint32_t>(kTss2 + 0x20, kTarget);
      rig->put<uint32_t>(kTss2 + 0x24, 2);
      rig->put<uint32_t>(kTss2 + 0x2c, 0x10);  // ECX
      rig->put<uint32_t>(kTss2 + 0x38, CodeRig::kStack);
      for (uint32_t i = 0; i < 6; ++i)
        rig->put<uint16_t>(kTss2 + 0x48 + 4 * i, i == 1 ? CodeRig::kCode0 : CodeRig::kData0);
      rig->start();
      return rig;
    };
    const auto rig = make();
    CHECK(rig->run() == MachineStop::halted);
    CHECK(rig->rip() == kTarget + 2);
    CHECK(rig->reg(kRcx) == (task ? 0x11 : 1));
    CHECK(rig->icount() == 5);
    if (task) {
      CHECK(rig->get<uint8_t>(CodeRig::kGdt + CodeRig::kSpare + 5) == 0x8b);
      CHECK(rig->get<uint8_t>(CodeRig::kGdt + CodeRig::kTssSelector + 5) == 0x89);
      CHECK(rig->get<uint32_t>(CodeRig::kTss + 0x20) == CodeRig::kCode + 13);
    }
    CHECK(same_however_sliced(make) == 5);
  }
}

TEST_CASE("A20: with the gate closed, stores, loads and code above 1 MiB wrap") {
  for (const bool open : {false, true}) {
    CAPTURE(open);
    CodeRig rig(Mode::flat32);
    constexpr uint32_t kLow = 0x40000, kHigh = 0x140000;
    rig.poke(kLow, {0xb8, 1, 0, 0, 0, 0xc3});
    rig.poke(kHigh, {0xb8, 2, 0, 0, 0, 0xc3});
    // mov eax, kHigh; call eax; mov dword [kHigh + 100h], 5; mov ecx, [kLow + 100h]; hlt
    rig.poke(CodeRig::kCode, {0xb8, 0x00, 0x00, 0x14, 0x00, 0xff, 0xd0, 0xc7, 0x05, 0x00, 0x01, 0x14,
                              0x00, 0x05, 0x00, 0x00, 0x00, 0x8b, 0x0d, 0x00, 0x01, 0x04, 0x00, 0xf4});
    rig.start();
    rig.machine.cpu().mmu().set_a20(open);
    CHECK(rig.run() == MachineStop::halted);
    CHECK(rig.reg(kRax) == (open ? 2 : 1));
    CHECK(rig.reg(kRcx) == (open ? 0 : 5));
    CHECK(rig.get<uint32_t>(kHigh + 0x100) == (open ? 5 : 0));
  }
}

}  // namespace
