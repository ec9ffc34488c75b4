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

std::string accessor_text(const MemoryAccess& access) {
  switch (access.who) {
    case emu::AccessWatch::Who::device:
      return fmt::format("By a device: {}", access.device.empty() ? "one without a name" : access.device);
    case emu::AccessWatch::Who::cpu:
      return "By the CPU itself: a frame, a descriptor or a table's entry";
    case emu::AccessWatch::Who::instruction:
      break;
  }
  return "By an instruction";
}

void GdbReplayTarget::about_to_write() {
  throw GdbRefusal(
      "this is a replay: what is recorded has happened. `understudy resume DIR --at INSTRUCTION` goes on live from any "
      "point (`monitor when` tells this one)");
}

// Those that the debugger set have their index as the number, the others follow.
std::vector<Watchpoint> GdbReplayTarget::watchpoints() const {
  std::vector<Watchpoint> all;
  for (size_t i = 0; i < breakpoints().size(); ++i) {
    const GdbBreakpoint& breakpoint = breakpoints()[i];
    if (!breakpoint.is_watchpoint()) continue;
    Watchpoint& watch = all.emplace_back();
    watch.address = breakpoint.address;
    watch.length = breakpoint.length;
    watch.id = static_cast<int>(i);
    watch.reads = breakpoint.kind != GdbBreakpoint::Kind::write;
    watch.writes = breakpoint.kind != GdbBreakpoint::Kind::read;
  }
  for (size_t i = 0; i < physical_watches_.size(); ++i) {
    all.push_back(physical_watches_[i]);
    all.back().id = static_cast<int>(breakpoints().size() + i);
  }
  return all;
}

Condition GdbReplayTarget::condition() const {
  Condition condition;
  for (size_t i = 0; i < breakpoints().size(); ++i)
    if (!breakpoints()[i].is_watchpoint())
      condition.breakpoints.push_back({breakpoints()[i].address, static_cast<int>(i)});
  condition.watchpoints = watchpoints();
  return condition;
}

// A step that touches a watchpoint says so, as a CPU's debug registers would.
Stop GdbReplayTarget::step(bool backward) {
  return backward ? timeline_.reverse_step(1, watchpoints()) : timeline_.step(1, watchpoints());
}

GdbStop GdbReplayTarget::step_through(const GdbResume& range, GdbUser& user) {
  constexpr unsigned kAskEvery = 4096;
  GdbStop stop;
  for (unsigned steps = 1;; ++steps) {
    const Stop stepped = step(false);
    if (stepped.why != Stop::limit) return report(stepped, user);
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
      if (stop.access.who != emu::AccessWatch::Who::instruction) user.say(accessor_text(stop.access) + "\n");
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
  return report(timeline_.run_until(condition(), how.backward ? Direction::backward : Direction::forward), user);
}

}  // namespace understudy::tools
