#include "tools/snapshot_line.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>

namespace understudy::tools {

namespace {

// How much further back each of the snapshots in front of the present is than the one behind it.
constexpr uint64_t kFactor = 8;

}  // namespace

void SnapshotLine::take(const Mark& at, const Mark& present) {
  if (snapshots_.contains(at)) return;
  ++taken_;
  snapshots_.emplace(at, session_.mark());
  keep_budget(present);
}

SnapshotLine::Snapshot SnapshotLine::at_or_before(const Mark& mark) const {
  const auto behind = snapshots_.upper_bound(mark);
  if (behind == snapshots_.begin()) throw std::logic_error("no snapshot so early");
  return {std::prev(behind)->first, &std::prev(behind)->second};
}

SnapshotLine::Snapshot SnapshotLine::before(const Mark& mark) const {
  const auto at = snapshots_.lower_bound(mark);
  if (at == snapshots_.begin()) throw std::logic_error("no snapshot so early");
  return {std::prev(at)->first, &std::prev(at)->second};
}

uint64_t SnapshotLine::next_place(const Mark& from) const {
  const uint64_t last = at_or_before(from).at.icount;
  return std::max(from.icount, last + std::min(options_.widest, ~uint64_t{0} - last));
}

std::vector<uint64_t> SnapshotLine::places(const Mark& from, const Mark& to) const {
  std::vector<uint64_t> wide, near;
  uint64_t distance = options_.nearest;
  for (; distance < options_.widest && distance <= to.icount - from.icount; distance *= kFactor)
    near.push_back(to.icount - distance);
  std::reverse(near.begin(), near.end());
  for (uint64_t at = next_place(from); at < to.icount; at += options_.widest) wide.push_back(at);
  std::vector<uint64_t> all;
  std::merge(wide.begin(), wide.end(), near.begin(), near.end(), std::back_inserter(all));
  // Not where there is one about as near to `to` already.
  std::vector<uint64_t> places;
  uint64_t last = at_or_before(from).at.icount;
  for (const uint64_t at : all) {
    if (at < from.icount || at - last < std::min(options_.widest, (to.icount - at) / 2)) continue;
    const auto behind = snapshots_.lower_bound({at, 0});
    if (behind != snapshots_.end() && behind->first.icount < to.icount &&
        behind->first.icount - at < (to.icount - at) / 2)
      continue;
    places.push_back(at);
    last = at;
  }
  return places;
}

// Drops where what is left leaves the smallest gap for how far away it is.
void SnapshotLine::keep_budget(const Mark& present) {
  while (session_.mark_bytes() > options_.budget_bytes && snapshots_.size() > 2) {
    const auto needed = std::prev(snapshots_.upper_bound(present));
    auto drop = snapshots_.end();
    double least = 0;
    for (auto at = std::next(snapshots_.begin()); at != snapshots_.end(); ++at) {
      if (at == needed) continue;
      const uint64_t begin = std::prev(at)->first.icount;
      const uint64_t end = std::next(at) == snapshots_.end() ? at->first.icount : std::next(at)->first.icount;
      const uint64_t here = at->first.icount;
      const uint64_t away = here > present.icount ? here - present.icount : present.icount - here;
      const double weight = static_cast<double>(end - begin) / static_cast<double>(away + options_.nearest);
      if (drop != snapshots_.end() && weight >= least) continue;
      drop = at;
      least = weight;
    }
    if (drop == snapshots_.end()) return;
    snapshots_.erase(drop);
    ++dropped_;
  }
}

std::vector<Mark> SnapshotLine::marks() const {
  std::vector<Mark> marks;
  for (const auto& [at, snapshot] : snapshots_) marks.push_back(at);
  return marks;
}

uint64_t SnapshotLine::widest_gap() const {
  uint64_t widest = 0;
  for (auto at = snapshots_.begin(); at != snapshots_.end() && std::next(at) != snapshots_.end(); ++at)
    widest = std::max(widest, std::next(at)->first.icount - at->first.icount);
  return widest;
}

}  // namespace understudy::tools
