// Keeps a primary's machine from running away from its backup: how far the backup is behind, in the work that it has
// still to do (primary/work_map.h), stays below a bound, and with it the time a takeover takes. Up to half of the bound
// nothing happens. From there on the machine may go at the backup's own speed times a factor that falls from any to
// none at the bound; it is 1 half-way between, where lag settles, whatever the backup's speed is. Pure arithmetic on
// what it is told; one object per backup.
#pragma once

#include <cstdint>
#include <deque>

namespace understudy::primary {

class LagControl {
 public:
  // `stall_ns`: of the host's time, without any progress, after which a backup that is behind counts as stalled.
  explicit LagControl(uint64_t bound_ns = 100'000'000, uint64_t stall_ns = 2'000'000'000)
      : bound_ns_(bound_ns), stall_ns_(stall_ns) {}

  struct Position {
    uint64_t icount = 0, virtual_ns = 0, work_ns = 0;
    bool operator==(const Position&) const = default;
  };
  // To be asked before each slice of the machine's run, with where the machine is, what the backup last reported to
  // have replayed, and a clock of the host that never goes back. 0: run. Otherwise so many nanoseconds of the host's
  // time are to pass, or fewer if the backup reports meanwhile, and then ask again. A slice that takes half of the
  // bound or more can exceed it.
  uint64_t wait_ns(const Position& primary, const Position& backup, uint64_t host_ns);

  // As of the last question.
  uint64_t lag_ns() const { return lag_ns_; }
  // The backup is behind and stands still. What follows is the caller's decision; until then the machine waits as soon
  // as the bound wants it. Time during which nobody asked does not count.
  bool stalled() const { return still_ns_ >= stall_ns_; }

 private:
  void observe_slice(const Position& primary, uint64_t host_ns);
  void observe_backup(const Position& backup, uint64_t host_ns);
  double backup_speed() const;

  struct Report {
    uint64_t host_ns, work_ns;
  };
  uint64_t bound_ns_, stall_ns_;
  bool asked_ = false;
  uint64_t asked_ns_ = 0;  // by the host's clock
  Position primary_, backup_;
  uint64_t slice_start_ns_ = 0;  // host's time of the last slice's start
  uint64_t slice_work_ns_ = 0;   // what it took
  std::deque<Report> reports_;   // of the last while, the oldest first
  uint64_t lag_ns_ = 0;
  uint64_t still_ns_ = 0;
};

}  // namespace understudy::primary
