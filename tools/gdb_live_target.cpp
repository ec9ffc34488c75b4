#include "tools/gdb_live_target.h"

#include <fmt/format.h>

#include <algorithm>

namespace understudy::tools {

namespace {

constexpr std::chrono::milliseconds kAskEvery{20};

}  // namespace

GdbLiveTarget::GdbLiveTarget(emu::Machine& machine, RunGate& gate) : GdbMachineTarget(machine), gate_(gate) {
  machine.cpu().on_breakpoint([this](uint64_t pc) {
    // What the run begins in front of is no hit.
    if (!stops_at_breakpoints_ || hit_ || this->machine().icount() == begin_) return;
    for (const GdbBreakpoint& breakpoint : known_)
      if (!breakpoint.is_watchpoint() && breakpoint.address == pc) hit_ = breakpoint;
    if (!hit_) return;
    gate_.ask_to_stop();
    this->machine().ask_to_stop();
  });
}

GdbLiveTarget::~GdbLiveTarget() {
  machine().cpu().on_breakpoint({});
  machine().cpu().set_breakpoints({});
  machine().cpu().watch_accesses({}, {}, false);
}

void GdbLiveTarget::attached() {
  gate_.ask_to_stop();
  while (!gate_.wait(kAskEvery)) {
  }
}

// Free, until another client comes.
void GdbLiveTarget::detached() {
  stops_at_breakpoints_ = false;
  watch_for_breakpoints();
  gate_.let_run();
}

void GdbLiveTarget::about_to_write() {
  if (gate_.exit_code()) throw GdbRefusal("the machine is off");
}

// Between runs. To change what the CPU looks for costs it its translated code.
void GdbLiveTarget::watch_for_breakpoints() {
  if (known_ == breakpoints()) return;
  known_ = breakpoints();
  std::vector<uint64_t> addresses;
  std::vector<emu::AccessWatch::Range> ranges;
  std::vector<size_t> watched;  // which of known_ each range is
  for (size_t i = 0; i < known_.size(); ++i) {
    const GdbBreakpoint& breakpoint = known_[i];
    if (!breakpoint.is_watchpoint()) {
      addresses.push_back(breakpoint.address);
      continue;
    }
    emu::AccessWatch::Range range;
    range.first = breakpoint.address;
    range.last = breakpoint.address + (breakpoint.length - 1);
    range.reads = breakpoint.kind != GdbBreakpoint::Kind::write;
    range.writes = breakpoint.kind != GdbBreakpoint::Kind::read;
    range.physical = false;
    ranges.push_back(range);
    watched.push_back(i);
  }
  machine().cpu().set_breakpoints(std::move(addresses));
  machine().cpu().watch_accesses(
      std::move(ranges),
      [this, watched](const emu::AccessWatch::Touch& touch) {
        if (hit_) return;
        hit_ = known_[watched[touch.range]];
        hit_by_device_ = touch.who == emu::AccessWatch::Who::device;
        gate_.ask_to_stop();
        machine().ask_to_stop();
      },
      true);
}

GdbStop GdbLiveTarget::run(uint64_t until_icount, GdbUser& user) {
  GdbStop stop;
  begin_ = machine().icount();
  hit_.reset();
  hit_by_device_ = false;
  watch_for_breakpoints();
  gate_.let_run(until_icount);
  bool asked = false;
  while (!gate_.wait(kAskEvery)) {
    if (asked || !user.wants_stop()) continue;
    asked = true;
    gate_.ask_to_stop();
  }
  if (const auto code = gate_.exit_code()) {
    stop.why = GdbStop::Why::ended;
    stop.exit_code = *code;
  } else if (hit_) {
    stop.why = hit_->is_watchpoint() ? GdbStop::Why::watchpoint : GdbStop::Why::breakpoint;
    stop.hit = *hit_;
    if (hit_by_device_) user.say("Not by an instruction: by a device\n");
  } else if (asked) {
    stop.why = GdbStop::Why::interrupted;
  }
  return stop;
}

GdbStop GdbLiveTarget::resume(const GdbResume& how, GdbUser& user) {
  if (how.backward)
    throw GdbRefusal("this machine is live and has no past to go back to: record it, and debug the recording");
  if (gate_.exit_code()) throw GdbRefusal("the machine is off");
  stops_at_breakpoints_ = how.kind == GdbResume::Kind::run;
  if (how.kind == GdbResume::Kind::run) return run(~0ull, user);
  while (true) {
    const GdbStop stop = run(machine().icount() + 1, user);
    if (how.kind == GdbResume::Kind::step || stop.why != GdbStop::Why::stepped) return stop;
    const uint64_t at = pc();
    if (at < how.first || at >= how.last) return stop;
    const auto hit = std::find_if(breakpoints().begin(), breakpoints().end(), [at](const GdbBreakpoint& breakpoint) {
      return !breakpoint.is_watchpoint() && breakpoint.address == at;
    });
    if (hit != breakpoints().end()) return {GdbStop::Why::breakpoint, *hit, 0};
  }
}

}  // namespace understudy::tools
