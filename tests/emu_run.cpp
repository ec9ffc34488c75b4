// Where a run of the machine comes back, and that it changes nothing else.
#include <doctest/doctest.h>

#include "tests/code_rig.h"

namespace {

using namespace understudy::emu;
using understudy::tests::CodeRig;

TEST_CASE("a run comes back from a halt that events do not end, at the same state wherever it did") {
  CodeRig rig(CodeRig::Mode::flat32);
  uint64_t fired = 0;
  EventQueue& events = rig.machine.events();
  EventQueue::Id timer{};
  timer = events.add("timer", [&](uint64_t due_ns) {
    events.schedule(timer, due_ns + 1000);
    if (++fired == 1'000'000) rig.machine.cpu().set_interrupt(true);
  });
  rig.poke(CodeRig::kCode, {0x90, 0xfb, 0xf4});  // nop; sti; hlt
  rig.start();
  events.schedule(timer, 1000);
  unsigned runs = 0;
  while (rig.icount() < 4 && runs < 1000) {
    CHECK(rig.run(4) == MachineStop::limit);
    ++runs;
  }
  CHECK(runs > 1);
  CHECK(runs < 1000);
  CHECK(fired == 1'000'000);
  CHECK(rig.machine.now_ns() >= 1'000'000'000);
}

// mov ecx, 1000; then: inc eax; inc edx; dec ecx; jnz; hlt
void poke_loop(CodeRig& rig) {
  rig.poke(CodeRig::kCode, {0xb9, 0xe8, 0x03, 0x00, 0x00, 0x40, 0x42, 0x49, 0x75, 0xfb, 0xf4});
  rig.start();
}

TEST_CASE("who looks in about a count comes back where a block ends, and nothing is translated for it") {
  constexpr uint64_t kBlock = 4;
  CodeRig whole(CodeRig::Mode::flat32), rig(CodeRig::Mode::flat32);
  for (CodeRig* r : {&whole, &rig}) poke_loop(*r);
  CHECK(whole.machine.run(1'000'000) == MachineStop::halted);
  CHECK(rig.machine.run(100) == MachineStop::limit);
  CHECK(rig.icount() == 100);
  CHECK(rig.machine.run(1'000'000, Machine::Idle::skip, 0, 120) == MachineStop::limit);
  const uint64_t translated = rig.machine.cpu().blocks().blocks_translated();
  unsigned inside = 0;
  for (uint64_t about = 130; about < 3900; about += 7) {
    CAPTURE(about);
    CHECK(rig.machine.run(1'000'000, Machine::Idle::skip, 0, about) == MachineStop::limit);
    CHECK(rig.icount() >= about);
    CHECK(rig.icount() < about + kBlock);
    inside += rig.icount() != about ? 1 : 0;
  }
  CHECK(inside > 0);
  CHECK(rig.machine.cpu().blocks().blocks_translated() == translated);
  // The exact limit still is one.
  CHECK(rig.machine.run(3901, Machine::Idle::skip, 0, 3902) == MachineStop::limit);
  CHECK(rig.icount() == 3901);
  CHECK(rig.machine.run(1'000'000, Machine::Idle::skip, 0, 2'000'000) == MachineStop::halted);
  CHECK(rig.machine.digest() == whole.machine.digest());
}

TEST_CASE("the shortest wish to be called back holds, and for one run") {
  CodeRig rig(CodeRig::Mode::flat32);
  poke_loop(rig);
  rig.machine.return_within(2000);
  rig.machine.return_within(500);
  rig.machine.return_within(1000);
  CHECK(rig.machine.run(1'000'000) == MachineStop::limit);
  CHECK(rig.icount() >= 500);
  CHECK(rig.icount() < 504);
  CHECK(rig.machine.run(1'000'000) == MachineStop::halted);
}

}  // namespace
