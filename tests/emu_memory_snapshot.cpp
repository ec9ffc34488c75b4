// Snapshots in memory of a machine that runs: the CPU comes back as it was, whatever it does meanwhile.
#include <doctest/doctest.h>

#include "emu/memory_snapshot.h"
#include "tests/code_rig.h"

namespace {

using namespace understudy::emu;
using understudy::tests::CodeRig;

TEST_CASE("A machine in long mode comes back to its RIP above 4 GiB") {
  CodeRig rig(CodeRig::Mode::long64);
  rig.poke(CodeRig::kCode, {0xf4});
  rig.start();
  EngineCpu& cpu = rig.machine.cpu().engine().cpu();
  cpu.eip = 0xffffffff80010000;
  SnapshotKeeper keeper(rig.machine);
  const MemorySnapshot snapshot = keeper.take();
  const Digest digest = rig.machine.digest();
  cpu.eip = 0x1000;
  keeper.restore(snapshot);
  CHECK(cpu.eip == 0xffffffff80010000);
  CHECK(rig.machine.digest() == digest);
}

TEST_CASE("Code that was changed after a snapshot runs as it was then") {
  for (const CodeRig::Mode mode : {CodeRig::Mode::flat32, CodeRig::Mode::paged32}) {
    CodeRig rig(mode);
    // mov eax, 1; mov dword [kCode + 1], 2; jmp kCode: one, then two, ... in the engine's blocks
    rig.poke(CodeRig::kCode, {0xb8, 1, 0, 0, 0, 0xff, 0x05, 0x01, 0x00, 0x01, 0x00, 0xeb, 0xf3});
    rig.start();
    SnapshotKeeper keeper(rig.machine);
    std::vector<MemorySnapshot> snapshots;
    for (unsigned i = 0; i < 40; ++i) {
      snapshots.push_back(keeper.take());
      REQUIRE(rig.run(3 * (i + 1)) == MachineStop::limit);
      REQUIRE(rig.reg(kRax) == i + 1);
    }
    for (const unsigned i : {3u, 39u, 0u, 20u, 21u, 7u}) {
      keeper.restore(snapshots[i]);
      REQUIRE(rig.run(3 * (i + 1)) == MachineStop::limit);
      CHECK(rig.reg(kRax) == i + 1);
      REQUIRE(rig.run(3 * (i + 2)) == MachineStop::limit);
      CHECK(rig.reg(kRax) == i + 2);
    }
  }
}

}  // namespace
