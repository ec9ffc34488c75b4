// Execute breakpoints of the guest's own: they are part of the state, wherever it came from.
#include <doctest/doctest.h>

#include "emu/memory_snapshot.h"
#include "emu/state_archive.h"
#include "tests/code_rig.h"

using namespace understudy;
using tests::CodeRig;

namespace {

constexpr uint64_t kTarget = CodeRig::kCode + 0x40;
constexpr uint8_t kVectorDb = 1;

// mov eax, target; mov dr0, eax; mov eax, dr7; mov dr7, eax; then 40 x nop up to the target and behind it, hlt.
void load(CodeRig& rig, uint32_t dr7) {
  const auto byte = [](uint64_t value, unsigned i) { return static_cast<uint8_t>(value >> 8 * i); };
  rig.poke(CodeRig::kCode, {0xb8, byte(kTarget, 0), byte(kTarget, 1), byte(kTarget, 2), byte(kTarget, 3), 0x0f, 0x23,
                            0xc0, 0xb8, byte(dr7, 0), byte(dr7, 1), byte(dr7, 2), byte(dr7, 3), 0x0f, 0x23, 0xf8});
  for (uint64_t at = CodeRig::kCode + 16; at < kTarget + 8; ++at) rig.poke(at, {0x90});
  rig.poke(kTarget + 8, {0xf4});
  rig.start();
}

std::vector<uint8_t> state_of(CodeRig& rig) {
  emu::StateWriter writer;
  rig.machine.visit_state(writer);
  return writer.finish();
}

void put_state(CodeRig& rig, const std::vector<uint8_t>& state) {
  emu::StateReader reader(state);
  rig.machine.visit_state(reader);
  reader.finish();
}

}  // namespace

TEST_CASE("debug registers: a breakpoint hits in front of its instruction, and not when RF is set") {
  CodeRig rig(CodeRig::Mode::flat32);
  load(rig, 0x401);
  // The handler: set RF in the pushed flags, return.
  rig.poke(CodeRig::kHandlers + 16 * kVectorDb, {0x80, 0x4c, 0x24, 0x0a, 0x01, 0xcf});
  rig.run();
  CHECK(rig.rip() == kTarget + 9);
  CHECK((rig.machine.cpu().engine().cpu().dr[6] & 0xf) == 1);
  // Four loads, the nops, the handler once, hlt.
  CHECK(rig.icount() == 4 + (kTarget + 8 - CodeRig::kCode - 16) + 2 + 1);
}

TEST_CASE("debug registers: state with a breakpoint, put into another machine, hits there") {
  CodeRig first(CodeRig::Mode::flat32), second(CodeRig::Mode::flat32);
  load(first, 0x401);
  load(second, 0x401);
  first.run(6);
  put_state(second, state_of(first));
  first.run();
  second.run();
  CHECK(first.vector() == kVectorDb);
  CHECK(second.vector() == kVectorDb);
  CHECK(second.icount() == first.icount());
  CHECK(second.machine.digest() == first.machine.digest());
}

TEST_CASE("debug registers: state without a breakpoint, put into a machine that has one, does not hit") {
  CodeRig with(CodeRig::Mode::flat32), without(CodeRig::Mode::flat32);
  load(with, 0x401);
  load(without, 0x400);
  with.run(6);
  without.run(6);
  put_state(with, state_of(without));
  with.run();
  CHECK(with.vector() == -1);
  CHECK(with.rip() == kTarget + 9);
}

TEST_CASE(
    "debug registers: going back before they were written takes the breakpoint back, and going on sets it again") {
  CodeRig rig(CodeRig::Mode::flat32);
  load(rig, 0x401);
  emu::SnapshotKeeper keeper(rig.machine);
  rig.run(2);
  const emu::MemorySnapshot before = keeper.take();
  rig.run(8);
  const emu::MemorySnapshot behind = keeper.take();
  rig.run();
  const emu::Digest end = rig.machine.digest();
  CHECK(rig.vector() == kVectorDb);
  SUBCASE("from before") {
    keeper.restore(before);
    rig.poke(CodeRig::kCode + 9, {0x00});  // DR7 gets 0x400
    rig.run();
    CHECK(rig.vector() == -1);
    keeper.restore(before);
  }
  SUBCASE("from behind") { keeper.restore(behind); }
  rig.run();
  CHECK(rig.vector() == kVectorDb);
  CHECK(rig.machine.digest() == end);
}

TEST_CASE("debug registers: run whole or one at a time, in ring 0 only") {
  for (const uint64_t slice : {1u, 3u, 1000u}) {
    CodeRig rig(CodeRig::Mode::flat32);
    load(rig, 0x401);
    while (!rig.machine.cpu().halted()) rig.run(rig.icount() + slice);
    CHECK(rig.vector() == kVectorDb);
    CHECK(rig.icount() == 4 + (kTarget - CodeRig::kCode - 16) + 1);
  }
  CodeRig user(CodeRig::Mode::paged32);
  user.poke(CodeRig::kCode, {0x0f, 0x23, 0xc0});
  user.start(CodeRig::kCode, true);
  user.run();
  CHECK(user.vector() == 13);
}
