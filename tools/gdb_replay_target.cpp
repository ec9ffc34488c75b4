#include "tools/gdb_replay_target.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace understudy::tools {

namespace {

constexpr std::chrono::milliseconds kShowEvery{2000};

bool is_at_breakpoint(const std::vector<GdbBreakpoint>& breakpoints, uint64_t pc, GdbBreakpoint& found) {
  const auto hit = std::find_if(breakpoints.begin(), breakpoints.end(), [pc](const GdbBreakpoint& breakpoint) {
    return !breakpoint.is_watchpoint() && breakpoint.address == pc;
  });
  if (hit == breakpoints.end()) return false;
  found = *hit;
  return true;
}

}  // namespace

ShownProgress::ShownProgress(Timeline& timeline, GdbUser& user) : timeline_(timeline) {
  const auto begun = std::chrono::steady_clock::now();
  timeline_.on_progress([&timeline, &user, begun, shown = begun](double fraction) mutable {
    const auto now = std::chrono::steady_clock::now();
    if (now - shown >= kShowEvery) {
      shown = now;
      user.say(fmt::format("{:3.0f}% after {} s, at instruction {}; Ctrl-C ends it\n", 100 * fraction,
                           std::chrono::duration_cast<std::chrono::seconds>(now - begun).count(),
                           timeline.machine().icount()));
    }
    return !user.wants_stop();
  });
}

ShownProgress::~ShownProgress() { timeline_.on_progress({}); }

std::string mark_text(const Mark& mark) {
  return mark.deliveries == 0 ? fmt::format("{}", mark.icount) : fmt::format("{}.{}", mark.icount, mark.deliveries);
}

void GdbReplayTarget::about_to_write() {
  throw GdbRefusal(
      "this is a replay: what is recorded has happened. `understudy resume DIR --at INSTRUCTION` goes on live from any "
      "point (`monitor when` tells this one)");
}

void GdbReplayTarget::insert(const GdbBreakpoint& breakpoint) {
  if (breakpoint.kind == GdbBreakpoint::Kind::read || breakpoint.kind == GdbBreakpoint::Kind::access)
    throw GdbRefusal("reads cannot be watched in a replay; writes can (`watch`)");
  GdbMachineTarget::insert(breakpoint);
}

bool GdbReplayTarget::watches() const {
  return !physical_watches_.empty() ||
         std::any_of(breakpoints().begin(), breakpoints().end(),
                     [](const GdbBreakpoint& breakpoint) { return breakpoint.is_watchpoint(); });
}

// Those that the debugger set have their index as the number, the others follow.
Condition GdbReplayTarget::condition(bool with_breakpoints) const {
  Condition condition;
  for (size_t i = 0; i < breakpoints().size(); ++i) {
    const GdbBreakpoint& breakpoint = breakpoints()[i];
    const int id = static_cast<int>(i);
    if (breakpoint.is_watchpoint())
      condition.watchpoints.push_back({breakpoint.address, breakpoint.length, false, id});
    else if (with_breakpoints)
      condition.breakpoints.push_back({breakpoint.address, id});
  }
  for (size_t i = 0; i < physical_watches_.size(); ++i) {
    condition.watchpoints.push_back(physical_watches_[i]);
    condition.watchpoints.back().id = static_cast<int>(breakpoints().size() + i);
  }
  return condition;
}

// A step that touches a watchpoint says so, as a CPU's debug registers would.
Stop GdbReplayTarget::step(bool backward) {
  const Mark begin = timeline_.mark();
  const Stop stepped = backward ? timeline_.reverse_step() : timeline_.step();
  if (stepped.why != Stop::limit || !watches()) return stepped;
  const Mark end = timeline_.mark(), later = std::max(begin, end), earlier = std::min(begin, end);
  if (Stop moved = timeline_.seek(later); moved.why != Stop::limit) return moved;
  Condition touched = condition(false);
  touched.until_icount = earlier.icount;
  Stop hit = timeline_.run_until(touched, Direction::backward);
  const bool is_hit = hit.why == Stop::watchpoint && hit.at == earlier;
  if (hit.why == Stop::interrupted || hit.why == Stop::diverged) return hit;
  if (Stop moved = timeline_.seek(end); moved.why != Stop::limit) return moved;
  hit.at = end;
  return is_hit ? hit : stepped;
}

GdbStop GdbReplayTarget::step_through(const GdbResume& range, GdbUser& user) {
  constexpr unsigned kAskEvery = 4096;
  GdbStop stop;
  for (unsigned steps = 1;; ++steps) {
    const Stop stepped = step(false);
    // With watchpoints each step is dear, and the debugger asks again.
    if (stepped.why != Stop::limit || watches()) return report(stepped, user);
    if (is_at_breakpoint(breakpoints(), pc(), stop.hit)) {
      stop.why = GdbStop::Why::breakpoint;
      return stop;
    }
    if (pc() < range.first || pc() >= range.last) return stop;
    if (steps % kAskEvery == 0 && user.wants_stop()) {
      stop.why = GdbStop::Why::interrupted;
      return stop;
    }
  }
}

GdbStop GdbReplayTarget::report(const Stop& stop, GdbUser& user) const {
  GdbStop out;
  const auto index = static_cast<size_t>(stop.id);
  switch (stop.why) {
    case Stop::limit:
      break;
    case Stop::breakpoint:
      out.why = GdbStop::Why::breakpoint;
      out.hit = breakpoints().at(index);
      break;
    case Stop::watchpoint:
      if (index < breakpoints().size()) {
        out.why = GdbStop::Why::watchpoint;
        out.hit = breakpoints()[index];
      } else {
        const Watchpoint& watch = physical_watches_.at(index - breakpoints().size());
        user.say(fmt::format("Physical watchpoint: {:#x}, {} byte{}\n", watch.address, watch.length,
                             watch.length == 1 ? "" : "s"));
      }
      break;
    case Stop::begin:
      out.why = GdbStop::Why::log_begin;
      break;
    case Stop::end_of_log:
      out.why = GdbStop::Why::log_end;
      break;
    case Stop::interrupted:
      out.why = GdbStop::Why::interrupted;
      break;
    case Stop::diverged:
      user.say(fmt::format("The replay diverges, and cannot go on: {}\n", stop.message));
      break;
  }
  return out;
}

GdbStop GdbReplayTarget::resume(const GdbResume& how, GdbUser& user) {
  const ShownProgress shown(timeline_, user);
  switch (how.kind) {
    case GdbResume::Kind::step:
      return report(step(how.backward), user);
    case GdbResume::Kind::range:
      return step_through(how, user);
    case GdbResume::Kind::run:
      break;
  }
  return report(timeline_.run_until(condition(true), how.backward ? Direction::backward : Direction::forward), user);
}

}  // namespace understudy::tools
