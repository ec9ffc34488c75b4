#include "devices/apic_timer.h"

#include "emu/clock.h"

namespace understudy::devices {

namespace {
constexpr uint64_t kNsPerSecond = 1'000'000'000;
}

void ApicTimer::reset() { state_ = {}; }

void ApicTimer::set_initial_count(uint32_t count, uint64_t now_ns) {
  state_.initial = count;
  state_.anchor_count = count;
  state_.anchor_ns = now_ns;
}

void ApicTimer::set_divide_config(uint32_t value, uint64_t now_ns) {
  rebase(now_ns);
  state_.divide_config = value & 0b1011;
}

void ApicTimer::set_periodic(bool periodic, uint64_t now_ns) {
  if (periodic == state_.periodic) return;
  rebase(now_ns);
  state_.periodic = periodic;
}

uint32_t ApicTimer::current_count(uint64_t now_ns) const {
  if (state_.anchor_count == 0) return 0;
  const uint64_t ticks = ticks_since_anchor(now_ns);
  if (ticks < state_.anchor_count) return static_cast<uint32_t>(state_.anchor_count - ticks);
  if (!runs_again()) return 0;
  return static_cast<uint32_t>(state_.initial - (ticks - state_.anchor_count) % state_.initial);
}

uint64_t ApicTimer::next_expiry(uint64_t now_ns) const {
  if (state_.anchor_count == 0) return kNever;
  const uint64_t ticks = ticks_since_anchor(now_ns);
  uint64_t expiry_ticks = state_.anchor_count;
  if (ticks >= expiry_ticks) {
    if (!runs_again()) return kNever;
    expiry_ticks += ((ticks - expiry_ticks) / state_.initial + 1) * state_.initial;
  }
  return state_.anchor_ns + emu::scale_up(expiry_ticks, tick_ns_numerator(), kInputHz);
}

// Nanoseconds per tick, times kInputHz. The divide field's bits 3, 1, 0 mean 2, 4 ... 128 and, for 111, 1.
uint64_t ApicTimer::tick_ns_numerator() const {
  const unsigned field = (state_.divide_config & 3) | (state_.divide_config >> 1 & 4);
  return kNsPerSecond << ((field + 1) & 7);
}

uint64_t ApicTimer::ticks_since_anchor(uint64_t now_ns) const {
  // An anchor in the future can only come from a damaged snapshot.
  if (now_ns < state_.anchor_ns) return 0;
  return emu::scale(now_ns - state_.anchor_ns, kInputHz, tick_ns_numerator());
}

void ApicTimer::rebase(uint64_t now_ns) {
  state_.anchor_count = current_count(now_ns);
  state_.anchor_ns = now_ns;
}

void ApicTimer::visit_state(emu::StateVisitor& visitor) {
  visitor.begin("timer");
  visitor.value("initial", state_.initial);
  visitor.value("divide_config", state_.divide_config);
  visitor.value("periodic", state_.periodic);
  visitor.value("anchor_ns", state_.anchor_ns);
  visitor.value("anchor_count", state_.anchor_count);
  visitor.end();
}

}  // namespace understudy::devices
