#include "tools/run_session.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <string_view>

#include "devices/isa_debug_exit.h"
#include "tools/local_disks.h"
#include "tools/terminal.h"
#include "tools/thread_time.h"

namespace understudy::tools {

namespace {

// Inputs are taken, and the host looked at, this often.
constexpr uint64_t kPollInstructions = 500'000;
// A serial line brings this much at a time: what its FIFO holds.
constexpr size_t kSerialBurst = 16;
// More often while a guest may wait for a disk's answer without sleeping.
constexpr uint64_t kDiskInstructions = 50'000;
// A wait for a disk's answer looks up this often.
constexpr std::chrono::milliseconds kDiskWait{200};

using SteadyClock = std::chrono::steady_clock;

uint64_t host_ns() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(SteadyClock::now().time_since_epoch()).count());
}

void warn_of_deviation(const emu::DeviationSeen& seen) {
  fmt::print(stderr, "understudy: warning: {} (CS:IP {:04x}:{:08x}, instruction {}; see emu/DEVIATIONS.md)\n",
             emu::to_string(seen.what), seen.cs, seen.eip, seen.icount);
}

// When the first signal came, in the host's nanoseconds; 0 before it.
std::atomic<int64_t> signalled = 0;
static_assert(std::atomic<int64_t>::is_always_lock_free);

// What comes so soon after the first is the same wish: a terminal's Ctrl-C goes to every process in front of it, and
// `timeout`, a shell or a supervisor passes its own on.
constexpr int64_t kSameWishNs = 500'000'000;

// A later one ends a process that the first did not: one that waits for the reader of its output, say.
extern "C" void note_signal(int) {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  const int64_t now = int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  int64_t first = 0;
  if (signalled.compare_exchange_strong(first, now) || now - first < kSameWishNs) return;
  restore_terminal();
  _exit(exit_code::kQuit);
}

}  // namespace

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = note_signal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGHUP, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

bool interrupted() { return signalled != 0; }

RunSession::RunSession(const RunOptions& options, MachineSetup& setup, bool paced, const RunParts& parts)
    : options_(options),
      setup_(setup),
      machine_(setup.pc->machine()),
      paced_(paced),
      parts_(parts),
      wakeup_(parts.wakeup != nullptr ? *parts.wakeup : own_wakeup_),
      slice_state_(options.slice_seed * 2654435761u + 1) {
  if (!options.until_serial.empty()) match_ = std::make_unique<SerialMatch>(options.until_serial);
  if (options.screen == "text") {
    if (options.serial == "stdio" || options.serial1 == "stdio")
      throw UsageError("--screen text needs the terminal: give --serial another end, such as none or file:PATH");
    screen_ = std::make_unique<ScreenConsole>(*setup.pc, wakeup_);
  }
  if (parts_.serial0 == nullptr) serial0_ = open_serial(options.serial, wakeup_);
  com1_ = parts_.serial0 != nullptr ? parts_.serial0 : serial0_.get();
  serial1_ = open_serial(options.serial1, wakeup_);
  debugcon_ = open_serial(options.debugcon, wakeup_);
  if (parts_.serial0 == nullptr) connect_serial("serial0", *com1_);
  connect_serial("serial1", *serial1_);
  connect_serial("debugcon", *debugcon_);
  if (options.trace != "error") machine_.cpu().on_deviation(warn_of_deviation);
  if (!parts_.has_network)
    net_ = std::make_unique<NetLink>(options.net, options.pcap, machine_, wakeup_, parts_.outputs);
  if (parts_.disks == nullptr && !setup.shared.empty()) own_disks_ = std::make_unique<LocalDisks>(setup, wakeup_);
}

RunSession::~RunSession() {
  machine_.cpu().on_deviation({});
  for (const char* channel : {"serial0", "serial1", "debugcon"}) {
    if (parts_.serial0 != nullptr && std::string_view(channel) == "serial0") continue;
    const emu::ChannelId id = machine_.world().channel(channel);
    if (parts_.outputs != nullptr)
      parts_.outputs->connect(id, {});
    else
      machine_.world().connect(id, {});
  }
}

void RunSession::connect_serial(const std::string& channel, SerialBackend& backend) {
  const emu::ChannelId id = machine_.world().channel(channel);
  SerialMatch* match = channel == "serial0" ? match_.get() : nullptr;
  if (parts_.outputs != nullptr) {
    // On whatever thread lets outputs go; run() looks for the match itself.
    parts_.outputs->connect(id, [end = &backend, match](uint64_t, std::span<const uint8_t> bytes) {
      end->write(bytes);
      if (match != nullptr) match->saw(bytes);
      return true;
    });
    return;
  }
  machine_.world().connect(id, [this, end = &backend, match](std::span<const uint8_t> bytes) {
    end->write(bytes);
    if (match != nullptr && match->saw(bytes)) machine_.stop_with(emu::MachineStop::asked);
  });
}

void RunSession::feed_inputs() {
  emu::World& world = machine_.world();
  for (const auto& [channel, backend] : {std::pair{"serial0", com1_}, std::pair{"serial1", serial1_.get()}}) {
    const std::vector<uint8_t> bytes = backend->take(kSerialBurst);
    if (!bytes.empty()) world.post(world.channel(channel), bytes);
  }
  if (screen_) screen_->type_waiting_keys();
  if (disks() != nullptr) disks()->feed();
}

uint64_t RunSession::next_look() const {
  uint64_t within = pace_ ? pace_->slice() : kPollInstructions;
  if (awaits_disk()) within = std::min(within, kDiskInstructions);
  return machine_.icount() + within;
}

uint64_t RunSession::next_stop() {
  uint64_t stop = emu::Machine::kNoLimit;
  if (options_.slice != 0) {
    if (slice_end_ <= machine_.icount()) {
      slice_state_ = slice_state_ * 6364136223846793005ull + 1442695040888963407ull;
      slice_end_ = machine_.icount() + 1 + (slice_state_ >> 33) % options_.slice;
    }
    stop = std::min(stop, slice_end_);
  }
  if (options_.stop_at) stop = std::min(stop, std::max(*options_.stop_at, machine_.icount()));
  if (options_.digest_every != 0)
    stop = std::min(stop, (machine_.icount() / options_.digest_every + 1) * options_.digest_every);
  return stop;
}

HostClock RunSession::host_clock() {
  return {[this] { return host_ns() - stood_ns_; }, thread_cpu_ns,
          [this](uint64_t ns) {
            wakeup_.wait_until(SteadyClock::time_point(
                std::chrono::duration_cast<SteadyClock::duration>(std::chrono::nanoseconds(ns + stood_ns_))));
          }};
}

bool RunSession::may_run(uint64_t& until_icount) {
  if (!control_) return true;
  const uint64_t asked_ns = host_ns();
  const std::optional<uint64_t> until = control_();
  stood_ns_ += host_ns() - asked_ns;
  if (until) until_icount = std::min(until_icount, std::max(*until, machine_.icount()));
  return until.has_value();
}

void RunSession::set_rate(uint64_t ps_per_instruction) {
  if (parts_.recorder != nullptr)
    parts_.recorder->set_rate(ps_per_instruction);
  else
    machine_.time().set_rate(machine_.icount(), ps_per_instruction);
}

bool RunSession::quit_asked() const {
  return interrupted() || com1_->wants_quit() || serial1_->wants_quit() || (screen_ && screen_->wants_quit());
}

RunResult RunSession::result(RunExit exit, int code) {
  RunResult result;
  result.exit = exit;
  result.code = code;
  result.icount = machine_.icount();
  result.virtual_ns = machine_.time().ns_at(machine_.icount());
  result.digest = machine_.digest();
  if (net_) result.net = net_->counts();
  if (pace_) result.pace = pace_->counts();
  return result;
}

std::optional<RunResult> RunSession::over(emu::MachineStop stop) {
  using emu::MachineStop;
  switch (stop) {
    case MachineStop::shutdown:
      return result(RunExit::shutdown, 0);
    case MachineStop::debug_exit:
      return result(RunExit::debug_exit, devices::IsaDebugExit::process_exit_code(setup_.pc->debug_exit_code()));
    case MachineStop::halted:
      if (paced_) return std::nullopt;
      return result(RunExit::halted, exit_code::kHalted);
    case MachineStop::reset:
      if (options_.reboot.value_or(setup_.has_firmware)) {
        if (parts_.recorder != nullptr) parts_.recorder->resetting();
        setup_.pc->reset();
        return std::nullopt;
      }
      return result(RunExit::reset, exit_code::kReset);
    case MachineStop::asked:
      if (match_ && match_->matched()) return result(RunExit::until_serial, 0);
      return std::nullopt;
    case MachineStop::limit:
    case MachineStop::idle:
      return std::nullopt;
  }
  return std::nullopt;
}

void RunSession::end(RunExit exit, int code) { end_ = {exit, code}; }

RunResult RunSession::run(std::optional<emu::MachineStop> stopped) {
  const auto begin = SteadyClock::now();
  if (paced_) pace_.emplace(machine_, host_clock(), [this](uint64_t rate) { set_rate(rate); });
  auto ended = [&](RunResult finished) {
    finished.wall_s = std::chrono::duration<double>(SteadyClock::now() - begin).count();
    if (screen_) screen_->show();
    return finished;
  };
  if (stopped) {
    if (auto finished = over(*stopped)) return ended(*finished);
  }
  while (true) {
    if (quit_asked()) return ended(result(RunExit::quit, exit_code::kQuit));
    if (end_) return ended(result(end_->first, end_->second));
    if (match_ && match_->matched()) return ended(result(RunExit::until_serial, 0));
    if (options_.stop_at && machine_.icount() >= *options_.stop_at) return ended(result(RunExit::stop_at, 0));
    feed_inputs();
    uint64_t until_icount = next_stop();
    if (!may_run(until_icount)) return ended(result(RunExit::quit, exit_code::kQuit));
    const bool reports_idle = paced_ || awaits_disk();
    emu::MachineStop stop = machine_.run(
        until_icount, reports_idle ? emu::Machine::Idle::report : emu::Machine::Idle::skip, 0, next_look());
    if (stop == emu::MachineStop::halted && awaits_disk()) stop = emu::MachineStop::idle;
    if (auto finished = over(stop)) return ended(*finished);
    if (parts_.recorder != nullptr) parts_.recorder->poll(host_ns());
    if (every_slice_) every_slice_();
    if (screen_) screen_->show_sometimes();
    if (options_.digest_every != 0 && machine_.icount() % options_.digest_every == 0 &&
        stop == emu::MachineStop::limit) {
      const emu::Digest digest = machine_.digest();
      fmt::print(stderr, "digest {} {:016x} cpu {:016x} ram {:016x} devices {:016x}\n", machine_.icount(), digest.all,
                 digest.cpu, digest.ram, digest.devices);
    }
    if (pace_)
      pace_->after_slice(stop == emu::MachineStop::idle || stop == emu::MachineStop::halted);
    else if (stop == emu::MachineStop::idle && awaits_disk())
      wakeup_.wait_until(SteadyClock::now() + kDiskWait);
  }
}

}  // namespace understudy::tools
