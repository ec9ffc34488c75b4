#include "tools/machine_activity.h"

#include <fmt/format.h>

#include <algorithm>

#include "emu/segment_load.h"
#include "tools/log_text.h"
#include "tools/trace_format.h"

namespace understudy::tools {

namespace {

// Tracks, in the order in which they stand.
constexpr unsigned kModeTracks = 1, kConsole = 5, kResets = 6, kInputs = 0x100, kOutputs = 0x300, kSystemCalls = 0x500,
                   kHardware = 0x600, kSoftware = 0x700, kExceptions = 0x800, kBreakpoints = 0x900;
constexpr size_t kLongestLine = 100;
constexpr std::array<const char*, 3> kModeNames = {"user", "kernel", "idle"};

uint64_t share_of(uint64_t whole, uint64_t part_ns, uint64_t all_ns) {
  __extension__ using Wide = unsigned __int128;
  return all_ns == 0 ? 0 : static_cast<uint64_t>(static_cast<Wide>(whole) * part_ns / all_ns);
}

}  // namespace

MachineActivity::MachineActivity(emu::Machine& machine, TraceEventWriter& writer, const ActivityOptions& options)
    : machine_(machine), writer_(writer), options_(options) {
  now_ns_ = mode_since_ns_ = graphs_begin_ns_ = machine.now_ns();
  now_icount_ = machine.icount();
  mode_ = emu::current_privilege(machine.cpu().engine().cpu()) == 3 ? kUser : kKernel;
  for (unsigned i = 0; i < kModes; ++i) track(kModeTracks + i, kModeNames[i]);
  machine.cpu().observe(this, {.events = true, .privilege = true, .instructions = false});
  machine.observe_idle([this](uint64_t from_ns, uint64_t to_ns) {
    pass_to(from_ns);
    const Mode before = mode_;
    enter(kIdle);
    pass_to(to_ns);
    enter(before);
  });
  emu::World& world = machine.world();
  const auto channels = static_cast<emu::ChannelId>(world.channel_count());
  for (emu::ChannelId channel = 0; channel < channels; ++channel)
    world.connect(channel, [this, channel, serial = world.channel_name(channel) == "serial0"](auto bytes) {
      const uint64_t ns = machine_.time().now_ns();
      track(kOutputs + channel, "out: " + machine_.world().channel_name(channel)).add(ns, ns, "output", bytes.size());
      if (serial) console(bytes);
    });
}

MachineActivity::~MachineActivity() {
  machine_.cpu().observe_nothing();
  machine_.observe_idle({});
  const auto channels = static_cast<emu::ChannelId>(machine_.world().channel_count());
  for (emu::ChannelId channel = 0; channel < channels; ++channel) machine_.world().connect(channel, {});
}

MergedTrack& MachineActivity::track(unsigned number, const std::string& name) {
  const auto found = tracks_.find(number);
  if (found != tracks_.end()) return found->second;
  return tracks_.try_emplace(number, writer_, number, name, options_.resolution_ns).first->second;
}

void MachineActivity::pass_to(uint64_t ns) {
  uint64_t instructions = machine_.icount() - now_icount_;
  now_icount_ = machine_.icount();
  while (now_ns_ < ns) {
    const uint64_t left_ns = ns - now_ns_;
    const uint64_t here_ns = std::min(left_ns, graphs_begin_ns_ + options_.graph_ns - now_ns_);
    const uint64_t here = share_of(instructions, here_ns, left_ns);
    graphs_.ns[mode_] += here_ns;
    graphs_.instructions += here;
    instructions -= here;
    now_ns_ += here_ns;
    if (now_ns_ == graphs_begin_ns_ + options_.graph_ns) write_graphs();
  }
  graphs_.instructions += instructions;
}

void MachineActivity::enter(Mode mode) {
  if (mode == mode_) return;
  if (now_ns_ > mode_since_ns_)
    track(kModeTracks + mode_, kModeNames[mode_]).add(mode_since_ns_, now_ns_, kModeNames[mode_]);
  mode_ = mode;
  mode_since_ns_ = now_ns_;
}

void MachineActivity::write_graphs() {
  const uint64_t ns = now_ns_ - graphs_begin_ns_;
  if (ns != 0 && !(any_written_ && graphs_ == written_)) {
    const auto percent = [&](Mode mode) {
      return static_cast<double>(graphs_.ns[mode]) * 100 / static_cast<double>(ns);
    };
    writer_.counter("CPU %", graphs_begin_ns_,
                    fmt::format(R"("user":{:.2f},"kernel":{:.2f},"idle":{:.2f})", percent(kUser), percent(kKernel),
                                percent(kIdle)));
    writer_.counter(
        "MIPS", graphs_begin_ns_,
        fmt::format(R"("MIPS":{:.3f})", static_cast<double>(graphs_.instructions) * 1e3 / static_cast<double>(ns)));
  }
  any_written_ = true;
  written_ = graphs_;
  graphs_ = {};
  graphs_begin_ns_ = now_ns_;
}

void MachineActivity::event(const emu::Event& event, uint64_t) {
  const uint64_t ns = machine_.now_ns();
  pass_to(ns);
  entered_by_event_ = true;
  entered_icount_ = machine_.icount();
  const bool exception = event.kind == emu::EventKind::exception || event.kind == emu::EventKind::debug_trap;
  const unsigned group = event.kind == emu::EventKind::hardware       ? kHardware
                         : event.kind == emu::EventKind::software_int ? kSoftware
                         : exception                                  ? kExceptions
                                                                      : kBreakpoints;
  const std::string name = event_name(event);
  track(group + event.vector, name).add(ns, ns, name);
}

void MachineActivity::privilege(unsigned level) {
  const uint64_t ns = machine_.now_ns();
  pass_to(ns);
  enter(level == 3 ? kUser : kKernel);
  // What led into the kernel and was no interrupt or exception was SYSCALL, SYSENTER or a call gate.
  if (level != 3 && !(entered_by_event_ && entered_icount_ == machine_.icount()))
    track(kSystemCalls, "system calls").add(ns, ns, "system call");
  entered_by_event_ = false;
}

void MachineActivity::input(emu::ChannelId channel, size_t bytes) {
  const uint64_t ns = machine_.now_ns();
  pass_to(ns);
  track(kInputs + channel, "in: " + machine_.world().channel_name(channel)).add(ns, ns, "input", bytes);
}

void MachineActivity::reset() {
  const uint64_t ns = machine_.now_ns();
  pass_to(ns);
  enter(kKernel);
  track(kResets, "resets").add(ns, ns, "reset");
}

void MachineActivity::console(std::span<const uint8_t> bytes) {
  for (const uint8_t byte : bytes) {
    if (byte != '\n') {
      if (byte != '\r' && line_.size() < kLongestLine) line_ += static_cast<char>(byte);
      continue;
    }
    const uint64_t ns = machine_.time().now_ns();
    if (!line_.empty()) track(kConsole, "console").add(ns, ns, one_line(line_));
    line_.clear();
  }
}

void MachineActivity::finish() {
  look();
  const Mode last = mode_;
  enter(last == kIdle ? kKernel : kIdle);
  write_graphs();
  writer_.counter("CPU %", now_ns_, R"("user":0,"kernel":0,"idle":0)");
  writer_.counter("MIPS", now_ns_, R"("MIPS":0)");
  for (auto& [number, merged] : tracks_) merged.flush();
}

}  // namespace understudy::tools
