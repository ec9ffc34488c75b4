#include "tools/timeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace understudy::tools {

namespace {

constexpr uint64_t kChunk = 2'000'000;
constexpr uint64_t kSnapshotEvery = 20'000'000;

// Of a watched range, as far as it is mapped.
std::vector<uint8_t> bytes_of(emu::Machine& machine, uint64_t address, uint64_t length, bool physical) {
  std::vector<uint8_t> bytes(length);
  if (!physical) {
    bytes.resize(machine.cpu().mmu().peek(address, bytes));
    return bytes;
  }
  machine.memory().get(address, bytes);
  return bytes;
}

}  // namespace

Timeline::Timeline(const std::string& directory, const TimelineOptions& options)
    : session_(directory), options_(options) {
  machine().cpu().on_delivery([this](const emu::Cpu::Delivered&) {
    const uint64_t icount = machine().icount();
    seen_ = {icount, seen_.icount == icount ? seen_.deliveries + 1 : 1};
    if (wanted_ && seen_ >= *wanted_) machine().ask_to_stop();
  });
  session_.on_applied([this](const ftlog::LogEntry& entry) {
    // What the CPU entered before it shut down is no point of its own.
    if (std::holds_alternative<ftlog::Reset>(entry.payload)) seen_ = {entry.icount, 0};
  });
  seen_ = {machine().icount(), 0};
  session_.run_to(machine().icount());
  first_ = at_ = here();
  snapshot_here();
}

Timeline::~Timeline() { machine().cpu().on_delivery({}); }

Mark Timeline::here() {
  const uint64_t icount = machine().icount();
  return seen_.icount == icount ? seen_ : Mark{icount, 0};
}

Stop Timeline::stop(Stop::Why why) const {
  Stop stop;
  stop.why = why;
  stop.at = at_;
  return stop;
}

bool Timeline::may_go_on(double fraction) {
  if (!interrupted_ && progress_ && !progress_(std::clamp(fraction, 0.0, 1.0))) interrupted_ = true;
  return !interrupted_;
}

void Timeline::snapshot_here() {
  if (snapshots_.contains(at_)) return;
  ++taken_;
  snapshots_.emplace(at_, session_.mark());
  keep_budget();
}

// Drops where what is left leaves the smallest gap.
void Timeline::keep_budget() {
  while (session_.mark_bytes() > options_.snapshot_budget_bytes && snapshots_.size() > 2) {
    auto drop = std::next(snapshots_.begin());
    const auto gap = [](auto at) { return std::next(at)->first.icount - std::prev(at)->first.icount; };
    for (auto at = drop; std::next(at) != snapshots_.end(); ++at)
      if (gap(at) < gap(drop)) drop = at;
    snapshots_.erase(drop);
    ++dropped_;
  }
}

std::optional<Stop> Timeline::replay(uint64_t icount) {
  const backup::ReplayStop why = session_.run_to(icount);
  at_ = here();
  if (why == backup::ReplayStop::diverged) {
    Stop diverged = stop(Stop::diverged);
    diverged.message = session_.replayer().divergence()->what;
    return diverged;
  }
  if ((why == backup::ReplayStop::ended || why == backup::ReplayStop::starved) && at_.icount < icount)
    return stop(Stop::end_of_log);
  return std::nullopt;
}

std::optional<Stop> Timeline::run_to(const Mark& to) {
  const uint64_t begin = at_.icount, length = std::max<uint64_t>(to.icount - begin, 1);
  while (at_.icount < to.icount) {
    if (!may_go_on(static_cast<double>(at_.icount - begin) / static_cast<double>(length)))
      return stop(Stop::interrupted);
    if (at_.icount - std::prev(snapshots_.upper_bound(at_))->first.icount >= kSnapshotEvery) snapshot_here();
    if (auto stopped = replay(std::min(to.icount, at_.icount + kChunk))) return stopped;
  }
  if (at_ >= to) return std::nullopt;
  wanted_ = to;
  auto stopped = replay(to.icount + 1);
  wanted_.reset();
  return stopped;
}

std::optional<Stop> Timeline::go_to(const Mark& to) {
  const auto found = std::prev(snapshots_.upper_bound(to));
  if (to < at_ || found->first > at_) {
    session_.go_back(found->second);
    ++restored_;
    seen_ = at_ = found->first;
  }
  return run_to(to);
}

Stop Timeline::seek(const Mark& to) {
  interrupted_ = false;
  if (auto stopped = go_to(std::max(to, first_))) return *stopped;
  return stop(to < first_ ? Stop::begin : Stop::limit);
}

std::optional<Stop> Timeline::step_once() {
  wanted_ = Mark{at_.icount, at_.deliveries + 1};
  auto stopped = replay(at_.icount + 1);
  wanted_.reset();
  return stopped;
}

Stop Timeline::step(uint64_t n) {
  interrupted_ = false;
  for (; n > 0; --n)
    if (auto stopped = step_once()) return *stopped;
  return stop(Stop::limit);
}

std::vector<Mark> Timeline::marks_between(const Mark& from, const Mark& to) {
  std::vector<Mark> marks;
  if (go_to(from)) return marks;
  while (at_ < to) {
    marks.push_back(at_);
    if (step_once()) break;
  }
  return marks;
}

Stop Timeline::reverse_step(uint64_t n) {
  interrupted_ = false;
  const Mark present = at_;
  // As many counts back there are at least as many points.
  Mark from = std::max(first_, Mark{present.icount - std::min(n, present.icount), 0});
  const std::vector<Mark> marks = marks_between(from, present);
  const Mark to = marks.size() >= n ? marks[marks.size() - n] : first_;
  if (auto stopped = go_to(to)) return *stopped;
  return stop(marks.size() >= n ? Stop::limit : Stop::begin);
}

std::optional<Stop> Timeline::hit(const Condition& condition) {
  const emu::Cpu& cpu = std::as_const(machine().cpu());
  if (!cpu.about_to_execute()) return std::nullopt;
  for (const Breakpoint& breakpoint : condition.breakpoints) {
    if (breakpoint.address != cpu.linear_pc()) continue;
    Stop found = stop(Stop::breakpoint);
    found.id = breakpoint.id;
    return found;
  }
  return std::nullopt;
}

std::optional<Stop> Timeline::step_watched(const Condition& condition) {
  std::vector<std::vector<uint8_t>> before;
  for (const Watchpoint& w : condition.watchpoints)
    before.push_back(bytes_of(machine(), w.address, w.length, w.physical));
  if (auto stopped = step_once()) return stopped;
  for (size_t i = 0; i < before.size(); ++i) {
    const Watchpoint& w = condition.watchpoints[i];
    std::vector<uint8_t> after = bytes_of(machine(), w.address, w.length, w.physical);
    if (after == before[i]) continue;
    Stop found = stop(Stop::watchpoint);
    found.id = w.id;
    found.access.before = before[i];
    found.access.after = std::move(after);
    return found;
  }
  return std::nullopt;
}

Stop Timeline::run_until(const Condition& condition, Direction direction) {
  interrupted_ = false;
  if (direction == Direction::backward) return run_backward(condition);
  const Mark end{condition.until_icount.value_or(~0ull), 0};
  while (at_ < end) {
    if (at_.icount % 4096 == 0 && !may_go_on(0)) return stop(Stop::interrupted);
    if (auto found = step_watched(condition)) return *found;
    if (auto found = hit(condition)) return *found;
  }
  return stop(Stop::limit);
}

Stop Timeline::run_backward(const Condition& condition) {
  const Mark present = at_;
  const Mark begin = std::max(first_, Mark{condition.until_icount.value_or(0), 0});
  Mark end = present;
  while (begin < end) {
    const Mark from = std::max(begin, std::prev(snapshots_.lower_bound(end))->first);
    std::optional<Stop> last;
    if (auto stopped = go_to(from)) return *stopped;
    while (at_ < end) {
      if (at_.icount % 4096 == 0 && !may_go_on(0)) {
        interrupted_ = false;
        go_to(present);
        interrupted_ = true;
        return stop(Stop::interrupted);
      }
      const Mark at = at_;
      if (auto found = hit(condition)) last = found;
      auto found = step_watched(condition);
      if (found && found->why != Stop::watchpoint) return *found;
      if (!found) continue;
      last = found;
      last->at = at;
    }
    if (last) {
      go_to(last->at);
      return *last;
    }
    end = from;
  }
  go_to(begin);
  return stop(begin == first_ ? Stop::begin : Stop::limit);
}

std::optional<FoundWrite> Timeline::find_write(uint64_t address, uint64_t length, bool physical, const Mark& from,
                                               Direction direction) {
  const Mark present = at_;
  Condition condition;
  condition.watchpoints.push_back({address, length, physical, 0});
  std::optional<FoundWrite> found;
  interrupted_ = false;
  if (!go_to(from)) {
    const Stop hit = run_until(condition, direction);
    if (hit.why == Stop::watchpoint) {
      found = FoundWrite{hit.at, hit.at, hit.access};
      if (direction == Direction::backward) {
        step_once();
        found->after = at_;
      } else {
        reverse_step(1);
        found->before = at_;
      }
    }
  }
  const bool was_interrupted = std::exchange(interrupted_, false);
  go_to(present);
  interrupted_ = was_interrupted;
  return found;
}

std::optional<FoundWrite> Timeline::last_write(uint64_t address, uint64_t length, bool physical, const Mark& before) {
  return find_write(address, length, physical, before, Direction::backward);
}

std::optional<FoundWrite> Timeline::next_write(uint64_t address, uint64_t length, bool physical, const Mark& after) {
  return find_write(address, length, physical, after, Direction::forward);
}

SnapshotStatistics Timeline::snapshots() const {
  SnapshotStatistics statistics;
  for (const auto& [at, snapshot] : snapshots_) statistics.snapshots.push_back(at);
  statistics.bytes = session_.mark_bytes();
  statistics.dropped = dropped_;
  statistics.budget_bytes = options_.snapshot_budget_bytes;
  statistics.restored = restored_;
  statistics.taken = taken_;
  statistics.recorded = session_.recorded_snapshots();
  return statistics;
}

int Timeline::branch_to(const RunOptions& live, const RecordOptions& record) {
  machine().cpu().on_delivery({});
  snapshots_.clear();
  return resume_live(session_, live, record);
}

}  // namespace understudy::tools
