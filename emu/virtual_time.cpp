#include "emu/virtual_time.h"

namespace understudy::emu {

uint64_t VirtualTime::icount_at(uint64_t ns) const {
  if (ns <= base_ns_) return base_icount_;
  const uint64_t count = scale_up(ns - base_ns_, 1000, ps_per_instruction_);
  // Far beyond any run; keeps sums from wrapping when nothing is ever due.
  constexpr uint64_t kForever = 1ull << 61;
  return base_icount_ + (count < kForever ? count : kForever);
}

void VirtualTime::skip_to(uint64_t icount, uint64_t ns) {
  const uint64_t now = ns_at(icount);
  if (ns <= now) return;
  idle_ns_ += ns - now;
  base_icount_ = icount;
  base_ns_ = ns;
}

void VirtualTime::set_rate(uint64_t icount, uint64_t ps_per_instruction) {
  base_ns_ = ns_at(icount);
  base_icount_ = icount;
  ps_per_instruction_ = ps_per_instruction;
}

void VirtualTime::visit_state(StateVisitor& visitor) {
  visitor.begin("time");
  visitor.value("base_icount", base_icount_);
  visitor.value("base_ns", base_ns_);
  visitor.value("ps_per_instruction", ps_per_instruction_);
  visitor.value("idle_ns", idle_ns_);
  visitor.end();
}

}  // namespace understudy::emu
