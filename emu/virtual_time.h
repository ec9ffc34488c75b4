// The guest's clock: nanoseconds as a piecewise-linear function of the instruction count. A piece changes only where
// the machine says so (idle time skipped at a HLT, another rate), at a known count; so the clock is part of the
// deterministic state, and every timer follows from it.
#pragma once

#include <cstdint>
#include <functional>

#include "emu/clock.h"
#include "emu/state_visitor.h"

namespace understudy::emu {

class VirtualTime : public Clock {
 public:
  static constexpr uint64_t kDefaultPsPerInstruction = 4000;

  // `executing_icount`: the count before the instruction that executes.
  explicit VirtualTime(std::function<uint64_t()> executing_icount) : icount_(std::move(executing_icount)) {}

  uint64_t now_ns() const override { return ns_at(icount_()); }
  // For counts of the current piece: those not before its start.
  uint64_t ns_at(uint64_t icount) const { return base_ns_ + scale_picoseconds(icount - base_icount_); }
  // The first count at which ns_at() reaches `ns`; the current piece's start if that has passed already.
  uint64_t icount_at(uint64_t ns) const;

  // At `icount`, time jumps forward to `ns` (no effect when it is there already).
  void skip_to(uint64_t icount, uint64_t ns);
  // The instruction that executes takes `ns` longer than others.
  void pass(uint64_t ns) { base_ns_ += ns; }
  // From `icount` on, an instruction takes this long. 1..1,000,000 ps.
  void set_rate(uint64_t icount, uint64_t ps_per_instruction);
  uint64_t ps_per_instruction() const { return ps_per_instruction_; }
  uint64_t idle_ns() const { return idle_ns_; }

  void visit_state(StateVisitor& visitor);

 private:
  uint64_t scale_picoseconds(uint64_t instructions) const { return scale(instructions, ps_per_instruction_, 1000); }
  std::function<uint64_t()> icount_;
  uint64_t base_icount_ = 0;
  uint64_t base_ns_ = 0;
  uint64_t ps_per_instruction_ = kDefaultPsPerInstruction;
  uint64_t idle_ns_ = 0;  // skipped so far
};

}  // namespace understudy::emu
