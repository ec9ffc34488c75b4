// A halted machine whose timer keeps firing, unseen by the CPU.
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

}  // namespace
