// Faults whose handlers fail: #DF, and the shutdown behind it.
#include <doctest/doctest.h>

#include <memory>

#include "emu/machine.h"
#include "tests/code_rig.h"

namespace {

using namespace understudy::emu;
using understudy::tests::CodeRig;
using Mode = CodeRig::Mode;

TEST_CASE("#DF reaches a working handler, with error code 0") {
  CodeRig rig(Mode::flat32);
  rig.gate(13, false);
  // inc ecx; mov eax, 77h; mov ds, eax: #GP, whose gate is absent
  rig.poke(CodeRig::kCode, {0x41, 0xb8, 0x77, 0x77, 0, 0, 0x8e, 0xd8, 0xf4});
  rig.start();
  CHECK(rig.run() == MachineStop::halted);
  CHECK(rig.vector() == 8);
  CHECK(rig.stack(0) == 0);
  CHECK(rig.stack(1) == CodeRig::kCode + 6);
  CHECK(rig.icount() == 3);
}

TEST_CASE("#DF that cannot be delivered is a reset") {
  CodeRig rig(Mode::flat32);
  rig.gate(13, false);
  rig.gate(8, false);
  rig.poke(CodeRig::kCode, {0xb8, 0x77, 0x77, 0, 0, 0x8e, 0xd8, 0xf4});
  rig.start();
  CHECK(rig.run() == MachineStop::reset);
}

TEST_CASE("at a shutdown the count is that of the instructions that retired, whatever would run next") {
  for (const uint8_t cause : {uint8_t{0x0b}, uint8_t{0x00}}) {  // UD2, and a page fault of ADD
    const auto make = [cause] {
      auto rig = std::make_unique<CodeRig>(Mode::paged32);
      for (const uint8_t vector : {6, 8, 11, 13, 14}) rig->gate(vector, false);
      rig->map(0x50000, 0, 0);
      // inc ecx; mov eax, 50000h; ud2 or add [eax], cl; nop; nop; hlt
      rig->poke(CodeRig::kCode, {0x41, 0xb8, 0x00, 0x00, 0x05, 0x00});
      if (cause == 0x0b)
        rig->poke(CodeRig::kCode + 6, {0x0f, cause});
      else
        rig->poke(CodeRig::kCode + 6, {cause, 0x08});
      rig->poke(CodeRig::kCode + 8, {0x90, 0x90, 0xf4});
      rig->start();
      return rig;
    };
    const auto whole = make();
    CHECK(whole->run() == MachineStop::reset);
    CHECK(whole->icount() == 2);
    const auto steps = make();
    CHECK(steps->run(1) == MachineStop::limit);
    CHECK(steps->run(2) == MachineStop::limit);
    CHECK(steps->run(3) == MachineStop::reset);
    CHECK(steps->icount() == 2);
    CHECK(steps->machine.digest() == whole->machine.digest());
  }
}

}  // namespace
