// Watches a CPU without being noticed: hears of what happens when it happens, sees the record as it is then, and
// changes nothing of it. What a watched run does, counts and digests is what it does unwatched.
#pragma once

#include <cstdint>

#include "emu/code_blocks.h"
#include "emu/interrupts.h"

namespace understudy::emu {

class CpuObserver {
 public:
  virtual ~CpuObserver() = default;

  // The CPU is about to enter the handler of an interrupt or exception; its registers are still those of before, and
  // icount() does not count an instruction that faulted. `address` is that of a page fault, else 0. A fault on the way
  // to the handler is not told of.
  virtual void event(const Event& event, uint64_t address) = 0;
  // From here on, instructions run at this privilege level, where the ones before ran at another.
  virtual void privilege(unsigned level) = 0;
  // The instruction that `block` begins with is about to run, icount() being the count before it. It is told again,
  // with the same count, if it has to be tried again. Records of one CodeBlocks::generation() are not used twice: what
  // was decoded of an instruction holds for the next time its record comes.
  virtual void instruction(const BlockRecord& block) = 0;
};

// What a CPU is watched for. Interrupts and exceptions cost nothing between them; privilege changes cost some tens of
// nanoseconds for each return instruction; `instructions` makes every instruction a block of its own, some 50 times
// slower than a plain run.
struct CpuWatch {
  bool events = true;
  bool privilege = false;
  bool instructions = false;
};

}  // namespace understudy::emu
