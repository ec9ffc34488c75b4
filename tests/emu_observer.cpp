// What an observer of the CPU is told, and that the guest does not notice it. (Whether each of the engine's traps is
// seen instruction by instruction as it is run: emu_traps.cpp.)
#include <doctest/doctest.h>

#include "tests/code_rig.h"
#include "tests/watcher.h"

namespace {

using namespace understudy::emu;
using understudy::tests::CodeRig;
using understudy::tests::Watcher;
using Mode = CodeRig::Mode;
using Level = Watcher::Level;

// Ring 3: a page fault that the handler answers by mapping the page, a system call by INT 30h, a port that only ring 0
// may read (#GP ends it).
void make_program(CodeRig& rig, Mode mode) {
  // Not present until the handler says so.
  rig.map(CodeRig::kData, CodeRig::kData, 6);
  // mov [kData], eax; int 30h; mov ecx, 3; loop $; in al, 10h
  if (mode == Mode::long64)
    rig.poke(CodeRig::kCode,
             {0x89, 0x04, 0x25, 0x00, 0x00, 0x02, 0x00, 0xcd, 0x30, 0xb9, 3, 0, 0, 0, 0xe2, 0xfe, 0xe4, 0x10});
  else
    rig.poke(CodeRig::kCode,
             {0x90, 0x90, 0xa3, 0x00, 0x00, 0x02, 0x00, 0xcd, 0x30, 0xb9, 3, 0, 0, 0, 0xe2, 0xfe, 0xe4, 0x10});
  // or byte [its table entry], 1; add esp, 4 (the error code); iret
  const uint32_t entry = mode == Mode::long64 ? CodeRig::kTables + 0x3000 + 8 * (CodeRig::kData >> 12)
                                              : CodeRig::kTables + 0x1000 + 4 * (CodeRig::kData >> 12);
  const auto low = static_cast<uint8_t>(entry), high = static_cast<uint8_t>(entry >> 8);
  if (mode == Mode::long64) {
    rig.poke(CodeRig::kHandlers + 16 * 14, {0x80, 0x0c, 0x25, low, high, 0, 0, 1, 0xeb, 0x06});
    rig.poke(CodeRig::kHandlers + 16 * 15, {0x48, 0x83, 0xc4, 0x08, 0x48, 0xcf});
    rig.poke(CodeRig::kHandlers + 16 * 0x30, {0x48, 0xcf});
  } else {
    rig.poke(CodeRig::kHandlers + 16 * 14, {0x80, 0x0d, low, high, 0, 0, 1, 0x83, 0xc4, 0x04, 0xcf});
    rig.poke(CodeRig::kHandlers + 16 * 0x30, {0xcf});
  }
  if (mode == Mode::long64) rig.put<uint64_t>(CodeRig::kTss + 4, CodeRig::kStack);
  rig.start(CodeRig::kCode, true);
}

}  // namespace

TEST_CASE("An observer hears of faults, interrupts and privilege changes at their counts") {
  for (const Mode mode : {Mode::paged32, Mode::long64}) {
    CAPTURE(static_cast<int>(mode));
    CodeRig plain(mode);
    make_program(plain, mode);
    CHECK(plain.run() == MachineStop::halted);
    REQUIRE(plain.vector() == 13);
    for (const CpuWatch watch :
         {CpuWatch{true, false, false}, CpuWatch{true, true, false}, CpuWatch{false, true, false},
          CpuWatch{true, true, true}, CpuWatch{false, false, true}}) {
      CodeRig rig(mode);
      make_program(rig, mode);
      Watcher watcher(rig.machine, watch);
      CHECK(rig.run() == MachineStop::halted);
      CHECK(rig.icount() == plain.icount());
      CHECK(rig.machine.digest() == plain.machine.digest());
      // Counts before the first fault, in its handler, and so on.
      const uint64_t fault = mode == Mode::long64 ? 0 : 2;
      const uint64_t handler = mode == Mode::long64 ? 4 : 3;
      const uint64_t call = fault + handler + 2, end = plain.icount() - 1;
      if (watch.events) {
        REQUIRE(watcher.events.size() == 3);
        CHECK(watcher.events[0] == Watcher::Event{fault, EventKind::exception, 14, CodeRig::kData});
        CHECK(watcher.events[1] == Watcher::Event{call, EventKind::software_int, 0x30, 0});
        CHECK(watcher.events[2] == Watcher::Event{end, EventKind::exception, 13, 0});
      } else {
        CHECK(watcher.events.empty());
      }
      if (watch.privilege)
        CHECK(watcher.levels ==
              std::vector<Level>{{fault, 0}, {fault + handler, 3}, {call, 0}, {call + 1, 3}, {end, 0}});
      else
        CHECK(watcher.levels.empty());
      CHECK(watcher.wrong_records == 0);
      if (!watch.instructions) continue;
      // Each count once, and those of the two faulting instructions twice: as what faulted and as what came instead.
      CHECK(watcher.steps.size() == plain.icount() + 2);
      for (uint64_t n = 0; n < plain.icount(); ++n)
        CHECK(std::count_if(watcher.steps.begin(), watcher.steps.end(), [&](const auto& s) { return s.icount == n; }) ==
              (n == fault || n == end ? 2 : 1));
    }
  }
}

TEST_CASE("A hardware interrupt is told of, and so is the time that passes while the CPU is halted") {
  CodeRig rig(Mode::flat32);
  // sti; hlt; cli; hlt
  rig.poke(CodeRig::kCode, {0xfb, 0xf4, 0xfa, 0xf4});
  rig.poke(CodeRig::kHandlers + 16 * 0x20, {0xcf});
  Cpu& cpu = rig.machine.cpu();
  Cpu::Board board;
  board.acknowledge = [&cpu] {
    cpu.set_interrupt(false);
    return uint8_t{0x20};
  };
  cpu.connect(std::move(board));
  const auto timer = rig.machine.events().add("timer", [&cpu](uint64_t) { cpu.set_interrupt(true); });
  rig.start();
  rig.machine.events().schedule(timer, 50'000);
  Watcher watcher(rig.machine, {true, true, true});
  rig.machine.run(2);
  const uint64_t halted_ns = rig.machine.now_ns();
  CHECK(rig.run() == MachineStop::halted);
  REQUIRE(watcher.events.size() == 1);
  CHECK(watcher.events[0] == Watcher::Event{2, EventKind::hardware, 0x20, 0});
  CHECK(watcher.idle_ns == 50'000 - halted_ns);
  CHECK(watcher.levels.empty());
  CHECK(watcher.steps.size() == rig.icount());
}

TEST_CASE("Watching begins and ends between any two runs") {
  CodeRig plain(Mode::paged32);
  make_program(plain, Mode::paged32);
  plain.run();
  for (uint64_t from = 0; from < plain.icount(); ++from) {
    CodeRig rig(Mode::paged32);
    make_program(rig, Mode::paged32);
    rig.run(from);
    {
      Watcher watcher(rig.machine, {true, true, true});
      rig.run(from + 3);
      for (const auto& step : watcher.steps) CHECK((step.icount >= from && step.icount < from + 3));
    }
    CHECK(rig.run() == MachineStop::halted);
    CHECK(rig.machine.digest() == plain.machine.digest());
  }
}
