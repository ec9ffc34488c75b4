#include "tools/timeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace understudy::tools {

namespace {

// How long a user who wants it to end waits.
constexpr uint64_t kChunk = 2'000'000;
// To read a snapshot from the disk takes about as long as replaying this many instructions.
constexpr uint64_t kRecordedCosts = 50'000'000;

// The point `n` steps in front of `present`, given all deliveries between it and `from`; nothing if `from` is less far
// back than that.
std::optional<Mark> steps_back(const std::vector<Mark>& deliveries, const Mark& from, const Mark& present, uint64_t n) {
  n -= present.deliveries;
  uint64_t count = present.icount;  // `n` steps back from (count, 0)
  for (auto last = deliveries.rbegin(); last != deliveries.rend(); ++last) {
    if (last->icount >= count) continue;  // an earlier one at a count that is behind us
    const uint64_t steps = count - last->icount;
    if (n < steps) return Mark{count - n, 0};
    n -= steps;
    if (n <= last->deliveries) return Mark{last->icount, last->deliveries - n};
    n -= last->deliveries;
    count = last->icount;
  }
  if (n > count - from.icount) return std::nullopt;
  return Mark{count - n, 0};
}

}  // namespace

Timeline::Timeline(const std::string& directory, const TimelineOptions& options)
    : session_(directory), line_(session_, options) {
  machine().cpu().on_delivery([this](const emu::Cpu::Delivered&) { told_of_delivery(); });
  machine().cpu().on_breakpoint([this](uint64_t) { told_of_breakpoint(); });
  session_.on_applied([this](const ftlog::LogEntry& entry) {
    if (!std::holds_alternative<ftlog::Reset>(entry.payload)) return;
    // What the CPU entered before it shut down is no point of its own.
    seen_ = {entry.icount, 0};
    if (deliveries_ != nullptr)
      std::erase_if(*deliveries_, [&](const Mark& mark) { return mark.icount == entry.icount; });
  });
  seen_ = {machine().icount(), 0};
  session_.run_to(machine().icount());
  first_ = at_ = here();
  line_.take(at_, at_);
}

Timeline::~Timeline() {
  emu::Cpu& cpu = machine().cpu();
  cpu.on_delivery({});
  cpu.on_breakpoint({});
}

void Timeline::told_of_delivery() {
  const uint64_t icount = machine().icount();
  seen_ = {icount, seen_.icount == icount ? seen_.deliveries + 1 : 1};
  if (deliveries_ != nullptr) deliveries_->push_back(seen_);
  if (wanted_ && seen_ >= *wanted_) machine().ask_to_stop();
}

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

std::optional<Stop> Timeline::replay(uint64_t icount) {
  backup::ReplayStop why = session_.run_to(icount);
  if (why == backup::ReplayStop::asked) {
    // Stopped by something else than a count: what the log has for this one may be still to come.
    wanted_.reset();
    const std::optional<Search> search = std::exchange(search_, std::nullopt);
    do why = session_.run_to(machine().icount());
    while (why == backup::ReplayStop::asked);
    search_ = search;
  }
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

// With `dense`, snapshots lie ever denser towards `to`, to go back from there.
std::optional<Stop> Timeline::run_to(const Mark& to, bool dense) {
  const uint64_t begin = at_.icount, length = std::max<uint64_t>(to.icount - begin, 1);
  std::vector<uint64_t> places;
  if (dense) places = line_.places(at_, to);
  size_t next = 0;
  while (at_.icount < to.icount) {
    if (!may_go_on(static_cast<double>(at_.icount - begin) / static_cast<double>(length)))
      return stop(Stop::interrupted);
    const uint64_t place = !dense ? line_.next_place(at_) : next < places.size() ? places[next] : ~0ull;
    if (at_.icount >= place) {
      line_.take(at_, to);
      ++next;
      continue;
    }
    if (auto stopped = replay(std::min({to.icount, place, at_.icount + kChunk}))) return stopped;
  }
  if (at_ >= to) return std::nullopt;
  wanted_ = to;
  auto stopped = replay(to.icount + 1);
  wanted_.reset();
  return stopped;
}

void Timeline::go_back(const Mark& to, const ReplaySession::Mark& snapshot) {
  session_.go_back(snapshot);
  ++restored_;
  seen_ = at_ = to;
}

// Goes to a snapshot beside the log, if that is worth it compared with the point that is nearest otherwise.
bool Timeline::enter_recorded(const Mark& nearest, const Mark& to) {
  const std::vector<uint64_t> recorded = session_.recorded_snapshots();
  auto at = std::upper_bound(recorded.begin(), recorded.end(), to.icount);
  while (at != recorded.begin()) {
    --at;
    if (*at < nearest.icount || *at - nearest.icount < kRecordedCosts) return false;
    if (std::find(unusable_recorded_.begin(), unusable_recorded_.end(), *at) != unusable_recorded_.end()) continue;
    try {
      session_.go_to_recorded(*at);
    } catch (const std::runtime_error& error) {
      unusable_recorded_.push_back(*at);
      unusable_.push_back(error.what());
      const SnapshotLine::Snapshot back = line_.at_or_before(to);
      go_back(back.at, *back.state);
      continue;
    }
    seen_ = at_ = {*at, 0};
    ++restored_;
    return true;
  }
  return false;
}

std::optional<Stop> Timeline::go_to(const Mark& to, bool dense) {
  const SnapshotLine::Snapshot found = line_.at_or_before(to);
  const bool stays = at_ <= to && at_ >= found.at;
  if (enter_recorded(stays ? at_ : found.at, to)) {
    // What the log has for this count behind the snapshot.
    if (auto stopped = replay(at_.icount)) return stopped;
    line_.take(at_, to);
  } else if (!stays) {
    go_back(found.at, *found.state);
  }
  return run_to(to, dense);
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

// Goes `n` steps back from `present`, or to the first point if there are not so many.
Stop Timeline::go_back_steps(const Mark& present, uint64_t n) {
  if (present.deliveries >= n) {
    if (auto stopped = go_to({present.icount, present.deliveries - n})) return *stopped;
    return stop(Stop::limit);
  }
  // As many counts back there are at least as many points. How many there are is seen on the way to `present`.
  const Mark from = std::max(first_, Mark{present.icount - std::min(n, present.icount), 0});
  if (auto stopped = go_to(from)) return *stopped;
  const ReplaySession::Mark snapshot = session_.mark();
  std::vector<Mark> deliveries;
  deliveries_ = &deliveries;
  auto stopped = run_to(present, false);
  deliveries_ = nullptr;
  if (stopped) return *stopped;
  const std::optional<Mark> to = steps_back(deliveries, from, present, n);
  go_back(from, snapshot);
  if ((stopped = run_to(to.value_or(first_), true))) return *stopped;
  return stop(to ? Stop::limit : Stop::begin);
}

// A machine that was to go backwards and did not get there stays where it was.
Stop Timeline::back_to(const Mark& present, Stop stop) {
  const auto progress = std::exchange(progress_, {});
  const bool interrupted = std::exchange(interrupted_, false);
  go_to(present);
  progress_ = progress;
  interrupted_ = interrupted;
  stop.at = at_;
  return stop;
}

Stop Timeline::reverse_step(uint64_t n, const std::vector<Watchpoint>& watchpoints) {
  interrupted_ = false;
  const Mark present = at_;
  if (n == 0) return stop(Stop::limit);
  Stop stopped = go_back_steps(present, n);
  if (stopped.why == Stop::interrupted) return back_to(present, stopped);
  if (stopped.why != Stop::limit || watchpoints.empty()) return stopped;
  const Mark to = at_;
  const ReplaySession::Mark snapshot = session_.mark();
  const std::optional<FoundStep> found = step_watching(watchpoints);
  go_back(to, snapshot);
  if (!found) return stopped;
  Stop hit = found->stop;
  hit.at = at_;
  return hit;
}

SnapshotStatistics Timeline::snapshots() const {
  SnapshotStatistics statistics;
  statistics.snapshots = line_.marks();
  statistics.bytes = session_.mark_bytes();
  statistics.taken = line_.taken();
  statistics.dropped = line_.dropped();
  statistics.budget_bytes = line_.options().budget_bytes;
  statistics.widest_gap = line_.widest_gap();
  statistics.wanted_gap = line_.options().widest;
  statistics.restored = restored_;
  statistics.recorded = session_.recorded_snapshots();
  statistics.unusable = unusable_;
  return statistics;
}

int Timeline::branch_to(const RunOptions& live, const RecordOptions& record) {
  emu::Cpu& cpu = machine().cpu();
  cpu.on_delivery({});
  cpu.on_breakpoint({});
  cpu.set_breakpoints({});
  line_.clear();
  return resume_live(session_, live, record);
}

}  // namespace understudy::tools
