// Keeps a guest's clock with the host's: lets a machine that runs ahead wait, lets idle time pass, and slews virtual
// time's rate to what the host can deliver. Virtual time lies at most kAheadNs before the host's clock and never goes
// backwards; behind it, it is caught up, by idle time first. How long an instruction takes the host varies tenfold
// within milliseconds (new code is translated, caches are cold), so the rate follows the latest stretches as a whole:
// it rises when the clock falls behind and they needed more, or when it stays behind, and falls when the machine had to
// wait though it had something to do. Each change is a log entry, so they are bounded, and a guest whose speed is even,
// or that is idle, causes none.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "emu/machine.h"

namespace understudy::tools {

// The host's clock: nanoseconds that never go backwards.
struct HostClock {
  std::function<uint64_t()> now_ns;
  // What the machine's thread has computed so far: the rest the host gave to others.
  std::function<uint64_t()> cpu_ns;
  // Returns early when there is something else to do.
  std::function<void(uint64_t ns)> wait_until;
};

// How the guest's clock stood to the host's.
struct PaceCounts {
  int64_t behind_ns = 0;  // now; negative: ahead
  int64_t most_behind_ns = 0, most_ahead_ns = 0;
  uint64_t lost_ns = 0;  // given up: in none of the others
  uint64_t rate_changes = 0;
};

class Pace {
 public:
  static constexpr uint64_t kAheadNs = 4'000'000;
  // A clock further behind than this (the process was stopped) gives up what is missing.
  static constexpr uint64_t kGiveUpNs = 10'000'000'000;
  // One to 0.01 instructions a nanosecond.
  static constexpr uint64_t kMinRate = 1'000, kMaxRate = 100'000;
  // Rate changes: so many at once, and one more each kTokenNs.
  static constexpr unsigned kTokens = 16;
  static constexpr uint64_t kTokenNs = 50'000'000;

  // `set_rate` changes the machine's rate, and logs it where there is a log. The machine outlives the pace. The guest's
  // clock and the host's agree where they are now.
  Pace(emu::Machine& machine, HostClock clock, std::function<void(uint64_t ps_per_instruction)> set_rate);
  ~Pace();
  Pace(const Pace&) = delete;
  Pace& operator=(const Pace&) = delete;

  // The machine is to be run for at most so many instructions, with Machine::Idle::report, and then...
  uint64_t slice() const { return slice_; }
  // ...`idle`: it is halted.
  void after_slice(bool idle);

  PaceCounts counts() const;

 private:
  int64_t behind_ns(uint64_t host_ns) const {
    return static_cast<int64_t>(target_ns(host_ns)) - static_cast<int64_t>(machine_.now_ns());
  }
  // What the guest's clock should show.
  uint64_t target_ns(uint64_t host_ns) const { return guest_base_ns_ + (host_ns - host_base_ns_); }
  uint64_t host_ns_of(uint64_t guest_ns) const { return host_base_ns_ + (guest_ns - guest_base_ns_); }
  void measure(uint64_t host_ns);
  void measure_share(uint64_t host_ns, uint64_t cpu_ns);
  void let_idle_time_pass(uint64_t host_ns);
  bool catches_up(uint64_t host_ns, int64_t behind_ns);
  void adjust(uint64_t host_ns, int64_t behind_ns);
  void change_rate(uint64_t ps_per_instruction);

  emu::Machine& machine_;
  HostClock clock_;
  std::function<void(uint64_t)> set_rate_;
  uint64_t host_base_ns_ = 0, guest_base_ns_ = 0;
  uint64_t slice_;
  // The machine runs since then.
  uint64_t left_host_ns_ = 0, left_cpu_ns_ = 0, left_guest_ns_ = 0, left_icount_ = 0;
  // A stretch of the run, long enough to say how fast its code is: `extra` is what the clock went beside its rate.
  struct Stretch {
    uint64_t cpu_ns = 0, extra_ns = 0, instructions = 0;
  };
  // The rate at which the clock would have kept up with it.
  uint64_t needed(const Stretch& stretch) const;
  // Of the latest stretches.
  uint64_t median_needed(size_t count) const;
  // On the whole, without what is odd.
  uint64_t usually_needed() const;
  // Host time for computed time, in 1/256: smoothed, since other processes come and go.
  uint64_t share_ = 256, share_host_ns_ = 0, share_cpu_ns_ = 0;
  static constexpr size_t kStretches = 8;
  Stretch stretch_;
  std::array<Stretch, kStretches> stretches_;  // a ring
  size_t done_stretches_ = 0;
  int64_t least_behind_ns_ = 0;  // in this period
  uint64_t waited_ns_ = 0;       // in this period, while the guest had something to do
  uint64_t period_ends_ns_ = 0;
  uint64_t trend_ends_ns_ = 0;
  int64_t behind_then_ns_ = 0;
  unsigned tokens_ = kTokens;
  uint64_t token_ns_ = 0;
  PaceCounts counts_;
};

}  // namespace understudy::tools
