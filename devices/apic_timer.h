// The local APIC's count-down timer as arithmetic: initial count, divisor, one-shot or periodic. The current count and
// the expiries are derived from an anchor (a count at a virtual nanosecond), so no drift accumulates and nothing has to
// tick. It owns no event: the local APIC asks when to look again. (Intel SDM volume 3, section 11.5.4.)
#pragma once

#include <cstdint>

#include "emu/event_queue.h"
#include "emu/state_visitor.h"

namespace understudy::devices {

class ApicTimer {
 public:
  // The input clock before the divisor. Like the bus clock of a real machine it is the guest's to calibrate.
  static constexpr uint64_t kInputHz = 1'000'000'000;
  static constexpr uint64_t kNever = emu::EventQueue::kNever;

  void reset();

  // Each of these takes effect at `now_ns`; the count that is running carries on from where it is.
  void set_initial_count(uint32_t count, uint64_t now_ns);
  void set_divide_config(uint32_t value, uint64_t now_ns);
  void set_periodic(bool periodic, uint64_t now_ns);

  uint32_t initial_count() const { return state_.initial; }
  uint32_t divide_config() const { return state_.divide_config; }
  uint32_t current_count(uint64_t now_ns) const;
  // The first expiry after `now_ns` (not at it); kNever when stopped.
  uint64_t next_expiry(uint64_t now_ns) const;

  void visit_state(emu::StateVisitor& visitor);

 private:
  struct State {
    uint32_t initial = 0;
    uint8_t divide_config = 0;  // bits 0, 1 and 3 of the register
    bool periodic = false;
    uint64_t anchor_ns = 0;
    uint32_t anchor_count = 0;  // the count at anchor_ns; 0: stopped
  };
  bool runs_again() const { return state_.periodic && state_.initial != 0; }
  uint64_t tick_ns_numerator() const;
  uint64_t ticks_since_anchor(uint64_t now_ns) const;
  void rebase(uint64_t now_ns);
  State state_;
};

}  // namespace understudy::devices
