// How a timeline finds the hits of breakpoints and watchpoints.
#include <algorithm>
#include <stdexcept>
#include <utility>

#include "tools/timeline.h"

namespace understudy::tools {

namespace {

constexpr uint64_t kChunk = 2'000'000;
// Replaying so much costs less than a snapshot.
constexpr uint64_t kNear = 100'000;

std::vector<uint8_t> bytes_of(emu::Machine& machine, const Watchpoint& watchpoint) {
  std::vector<uint8_t> bytes(watchpoint.length);
  if (watchpoint.physical)
    machine.memory().get(watchpoint.address, bytes);
  else
    bytes.resize(machine.cpu().mmu().peek(watchpoint.address, bytes));  // as far as it is mapped
  return bytes;
}

}  // namespace

// While it lives the CPU tells of accesses to watched bytes. Breakpoints stay set until others are wanted: to change
// them costs translated code, and to be told of them costs nothing elsewhere.
class Timeline::Armed {
 public:
  Armed(Timeline& timeline, const Condition& condition) : Armed(timeline, condition.watchpoints) {
    std::vector<uint64_t> addresses;
    for (const Breakpoint& breakpoint : condition.breakpoints) addresses.push_back(breakpoint.address);
    timeline.machine().cpu().set_breakpoints(std::move(addresses));
  }
  Armed(Timeline& timeline, const std::vector<Watchpoint>& watchpoints) : timeline_(timeline) {
    if (watchpoints.empty()) return;
    std::vector<emu::AccessWatch::Range> ranges;
    for (const Watchpoint& w : watchpoints) {
      const uint64_t last = w.address + std::min(std::max<uint64_t>(w.length, 1) - 1, ~w.address);
      ranges.push_back({w.address, last, w.reads, w.writes, w.physical});
    }
    timeline_.machine().cpu().watch_accesses(
        std::move(ranges), [this](const emu::AccessWatch::Touch& touch) { timeline_.told_of_access(touch); }, false);
    watches_ = true;
  }
  ~Armed() {
    timeline_.search_.reset();
    if (watches_) timeline_.machine().cpu().watch_accesses({}, {}, false);
  }
  Armed(const Armed&) = delete;
  Armed& operator=(const Armed&) = delete;

 private:
  Timeline& timeline_;
  bool watches_ = false;
};

void Timeline::told_of_breakpoint() {
  if (!search_) return;
  const Mark at = here();
  if (search_->stops_at_first && at == search_->begin) return;
  search_->last = Told{false, at.icount, at.icount, at};
  if (search_->stops_at_first) machine().ask_to_stop();
}

void Timeline::told_of_access(const emu::AccessWatch::Touch& touch) {
  if (!touched_ || touch.range < touched_->index) touched_ = Touched{touch.range, touch.who, std::string(touch.device)};
  if (!search_) return;
  const emu::Cpu::Executing executing = machine().cpu().executing();
  // Between two instructions: as the end of the step that led there, or in the next.
  const uint64_t first = executing.inside ? executing.first : executing.first - std::min<uint64_t>(executing.first, 1);
  if (search_->stops_at_first && search_->last) return;
  search_->last = Told{true, first, executing.last, {}};
  if (search_->stops_at_first) machine().ask_to_stop();
}

std::optional<Stop> Timeline::hit(const Condition& condition) {
  const emu::Cpu& cpu = std::as_const(machine().cpu());
  if (condition.breakpoints.empty() || !cpu.about_to_execute()) return std::nullopt;
  for (const Breakpoint& breakpoint : condition.breakpoints) {
    if (breakpoint.address != cpu.linear_pc()) continue;
    Stop found = stop(Stop::breakpoint);
    found.id = breakpoint.id;
    return found;
  }
  return std::nullopt;
}

std::optional<Timeline::FoundStep> Timeline::step_armed(const std::vector<Watchpoint>& watchpoints) {
  const Mark before = at_;
  std::vector<std::vector<uint8_t>> bytes;
  for (const Watchpoint& w : watchpoints) bytes.push_back(bytes_of(machine(), w));
  touched_.reset();
  if (auto stopped = step_once()) return FoundStep{before, at_, *stopped};
  if (!touched_) return std::nullopt;
  const Watchpoint& w = watchpoints.at(touched_->index);
  FoundStep found{before, at_, stop(Stop::watchpoint)};
  found.stop.id = w.id;
  found.stop.access = {std::move(bytes[touched_->index]), bytes_of(machine(), w), touched_->who, touched_->device};
  return found;
}

std::optional<Timeline::FoundStep> Timeline::step_watching(const std::vector<Watchpoint>& watchpoints) {
  const Armed armed(*this, watchpoints);
  return step_armed(watchpoints);
}

Stop Timeline::step(uint64_t n, const std::vector<Watchpoint>& watchpoints) {
  interrupted_ = false;
  const Armed armed(*this, watchpoints);
  for (; n > 0; --n)
    if (const auto found = step_armed(watchpoints)) return found->stop;
  return stop(Stop::limit);
}

Timeline::FoundStep Timeline::run_forward(const Condition& condition) {
  const Armed armed(*this, condition);
  const Mark begin = at_, end{condition.until_icount.value_or(~0ull), 0};
  const double length =
      static_cast<double>(std::max<uint64_t>(std::min(end.icount, last()), begin.icount + 1) - begin.icount);
  if (at_ >= end) return found_here(stop(Stop::limit));
  // An access is told of when its block of instructions has run: that block will be gone back to.
  if (!condition.watchpoints.empty() && at_.icount - line_.at_or_before(at_).at.icount > kNear) line_.take(at_, at_);
  while (at_ < end) {
    if (!may_go_on(static_cast<double>(at_.icount - begin.icount) / length)) return found_here(stop(Stop::interrupted));
    const uint64_t place = line_.next_place(at_);
    if (at_.icount >= place) {
      line_.take(at_, at_);
      continue;
    }
    search_ = Search{true, begin, {}};
    const std::optional<Stop> stopped = replay(std::min({end.icount, place, at_.icount + kChunk}));
    const std::optional<Told> told = std::exchange(search_, std::nullopt)->last;
    if (!told) {
      if (stopped && stopped->why == Stop::end_of_log && at_ > begin)
        if (const auto found = hit(condition)) return found_here(*found);
      if (stopped) return found_here(*stopped);
    } else if (!told->access) {
      const auto found = hit(condition);
      if (!found) throw std::logic_error("timeline: a breakpoint was told of where it is not");
      return found_here(*found);
    } else {
      // A CPU that is halted while a device moves data is told to stop between two marks.
      at_ = {~uint64_t{0}, 0};
      if (auto came = go_to(std::max(begin, Mark{told->first, 0}), false)) return found_here(*came);
      while (at_.icount <= told->last) {
        if (auto found = step_armed(condition.watchpoints)) return *found;
        if (const auto found = hit(condition)) return found_here(*found);
      }
      // Not met again: one of those that AccessWatch may not hear of.
    }
  }
  if (const auto found = hit(condition)) return found_here(*found);
  return found_here(stop(Stop::limit));
}

// The machine ends somewhere between the two. `to` comes nearer where what was told of is no hit.
std::optional<Timeline::FoundStep> Timeline::last_hit_in(const Condition& condition, const Mark& from, Mark& to) {
  if (auto came = go_to(from, false)) return found_here(*came);
  search_ = Search{false, from, {}};
  const std::optional<Stop> came = run_to(to, false);
  const std::optional<Told> told = std::exchange(search_, std::nullopt)->last;
  if (came) return found_here(*came);
  if (!told) {
    to = from;
    return std::nullopt;
  }
  if (!told->access) {
    if (auto stopped = go_to(told->at)) return found_here(*stopped);
    const auto found = hit(condition);
    if (!found) throw std::logic_error("timeline: a breakpoint was told of where it is not");
    return found_here(*found);
  }
  const Mark begin = std::max(from, Mark{told->first, 0});
  if (auto stopped = go_to(begin)) return found_here(*stopped);
  std::optional<FoundStep> last;
  while (at_ < to && at_.icount <= told->last) {
    if (const auto at = hit(condition)) last = found_here(*at);
    if (auto step = step_armed(condition.watchpoints)) {
      if (step->stop.why != Stop::watchpoint) return step;
      last = std::move(step);
    }
  }
  if (!last) {
    to = begin;
    return std::nullopt;
  }
  if (auto stopped = go_to(last->before)) return found_here(*stopped);
  last->stop.at = at_;
  return last;
}

Timeline::FoundStep Timeline::run_backward(const Condition& condition) {
  const Armed armed(*this, condition);
  const Mark present = at_, begin = std::max(first_, Mark{condition.until_icount.value_or(0), 0});
  const std::vector<uint64_t> recorded = session_.recorded_snapshots();
  Mark end = present;
  while (begin < end) {
    Mark from = std::max(begin, line_.before(end).at);
    const auto beside = std::lower_bound(recorded.begin(), recorded.end(), end.icount);
    if (beside != recorded.begin()) from = std::max(from, Mark{*std::prev(beside), 0});
    auto found = last_hit_in(condition, from, end);
    if (found && found->stop.why == Stop::interrupted) return found_here(back_to(present, found->stop));
    if (found) return *found;
  }
  if (begin < present)
    if (auto stopped = go_to(begin)) return found_here(*stopped);
  return found_here(stop(begin == first_ ? Stop::begin : Stop::limit));
}

Stop Timeline::run_until(const Condition& condition, Direction direction) {
  interrupted_ = false;
  return (direction == Direction::forward ? run_forward(condition) : run_backward(condition)).stop;
}

std::optional<FoundWrite> Timeline::find_write(const Watchpoint& watchpoint, const Mark& from, Direction direction) {
  const Mark present = at_;
  Condition condition;
  condition.watchpoints.push_back(watchpoint);
  std::optional<FoundWrite> found;
  interrupted_ = false;
  if (!go_to(from)) {
    const FoundStep hit = direction == Direction::forward ? run_forward(condition) : run_backward(condition);
    if (hit.stop.why == Stop::watchpoint) found = FoundWrite{hit.before, hit.after, hit.stop.access};
  }
  back_to(present, {});
  return found;
}

std::optional<FoundWrite> Timeline::last_write(uint64_t address, uint64_t length, bool physical, const Mark& before) {
  return find_write({address, length, physical}, before, Direction::backward);
}

std::optional<FoundWrite> Timeline::next_write(uint64_t address, uint64_t length, bool physical, const Mark& after) {
  return find_write({address, length, physical}, after, Direction::forward);
}

}  // namespace understudy::tools
