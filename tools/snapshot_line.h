// The snapshots in memory that going back in a recording stands on: where they are, and which ones go when they take
// more than their budget. They lie dense in front of the present and ever wider apart behind it, so that the next steps
// back re-execute little, and no step back more than one wide gap.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "tools/mark.h"
#include "tools/replay_session.h"

namespace understudy::tools {

class SnapshotLine {
 public:
  struct Options {
    uint64_t budget_bytes = 1ull << 30;  // the first snapshot and the one before the present stay, whatever they take
    uint64_t widest = 20'000'000;        // instructions between two, as far as the budget goes
    uint64_t nearest = 4096;             // from the present to the last one before it, roughly
  };
  struct Snapshot {
    Mark at;
    const ReplaySession::Mark* state = nullptr;
  };

  SnapshotLine(ReplaySession& session, const Options& options) : session_(session), options_(options) {}

  // The session's machine stands at `at`; `present` is where its user is or wants to be, for what to drop.
  void take(const Mark& at, const Mark& present);
  // The last one at or before a mark, or before it; there is one unless the mark is before the first snapshot.
  Snapshot at_or_before(const Mark& mark) const;
  Snapshot before(const Mark& mark) const;
  // Where a run from `from` to `to` should take snapshots: counts, ascending, between the two.
  std::vector<uint64_t> places(const Mark& from, const Mark& to) const;
  // The next count at which a run with no known end should.
  uint64_t next_place(const Mark& from) const;
  void clear() { snapshots_.clear(); }

  std::vector<Mark> marks() const;
  // The longest stretch between two snapshots, the first to the last.
  uint64_t widest_gap() const;
  const Options& options() const { return options_; }
  uint64_t taken() const { return taken_; }
  uint64_t dropped() const { return dropped_; }

 private:
  using Snapshots = std::map<Mark, ReplaySession::Mark>;
  void keep_budget(const Mark& present);

  ReplaySession& session_;
  Options options_;
  Snapshots snapshots_;
  uint64_t taken_ = 0, dropped_ = 0;
};

}  // namespace understudy::tools
