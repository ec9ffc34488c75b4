#include "tools/replay_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "emu/snapshot_file.h"
#include "ftlog/recording.h"
#include "tools/packed_images.h"
#include "tools/recipe.h"
#include "tools/run_session.h"

namespace understudy::tools {

namespace {

constexpr uint64_t kPollInstructions = 5'000'000;
constexpr std::chrono::milliseconds kShowEvery{500};

const std::string& checked(const std::string& directory) {
  ftlog::require_recording(directory);
  return directory;
}

}  // namespace

ReplaySession::ReplaySession(const std::string& directory) : directory_(directory), log_(checked(directory)) {
  ftlog::LogEntry first;
  const bool was_finished = ftlog::was_finished(directory);
  const bool begun = log_.next(first);
  if (!begun && was_finished) throw ftlog::cut_off(log_.tail());
  if (!begun) throw UsageError(fmt::format("{}: the log holds no entry: nothing to replay", directory));
  const auto* start = std::get_if<ftlog::Start>(&first.payload);
  if (start == nullptr) throw UsageError(fmt::format("{}: the log does not begin with a start entry", directory));
  start_ = *start;
  options_ = options_of_recipe(start->text, directory);
  for (const auto& [path, file] : packed_images(directory)) options_.stand_ins[path] = file;
  setup_ = set_up_machine(options_, start->rtc_start_s);
  const emu::MachineDescription recorded = emu::MachineDescription::from_text(log_.description());
  const std::string differences = recorded.differences(setup_.description(), "the recording", "this machine");
  if (!differences.empty()) throw UsageError(fmt::format("{}: not the recorded machine: {}", directory, differences));
  const bool reboots = *options_.reboot;
  const uint64_t begin = first.icount;
  first_ = std::move(first);
  replayer_ = std::make_unique<backup::Replayer>(
      machine(),
      [this](ftlog::LogEntry& entry) {
        if (first_) {
          entry = *std::exchange(first_, std::nullopt);
          return true;
        }
        while (log_.next(entry)) {
          const bool proof = std::holds_alternative<ftlog::StateDigest>(entry.payload) ||
                             std::holds_alternative<ftlog::OutputMark>(entry.payload);
          if (!proof || !ignores_proofs_) return true;
        }
        return false;
      },
      [this, reboots] {
        if (reboots) setup_.pc->reset();
      });
  survey();
  if (begin == 0) return;
  // A recording that was resumed out of another one begins with a snapshot.
  if (snapshots_.empty() || snapshots_.front().icount != begin)
    throw UsageError(
        fmt::format("{}: it begins at instruction {} but has no snapshot of that point", directory, begin));
  enter(snapshots_.front());
}

void ReplaySession::survey() {
  ftlog::LogReader reader(directory_);
  for (ftlog::LogEntry entry; reader.next(entry);) {
    last_icount_ = entry.icount;
    if (std::holds_alternative<ftlog::Snapshot>(entry.payload)) snapshots_.push_back(entry);
  }
}

void ReplaySession::start_near(uint64_t icount, const std::function<void(const std::string&)>& pass_over) {
  for (auto snapshot = snapshots_.rbegin(); snapshot != snapshots_.rend(); ++snapshot) {
    if (snapshot->icount > icount) continue;
    if (snapshot->icount <= machine().icount()) return;
    try {
      return enter(*snapshot);
    } catch (const std::runtime_error& error) {
      if (!pass_over) throw;
      pass_over(error.what());
    }
  }
}

void ReplaySession::go_to_recorded(uint64_t icount) {
  for (const ftlog::LogEntry& snapshot : snapshots_)
    if (snapshot.icount == icount) return enter(snapshot);
}

std::vector<uint64_t> ReplaySession::recorded_snapshots() const {
  std::vector<uint64_t> icounts;
  for (const ftlog::LogEntry& snapshot : snapshots_) icounts.push_back(snapshot.icount);
  return icounts;
}

void ReplaySession::enter(const ftlog::LogEntry& at) {
  const auto& snapshot = std::get<ftlog::Snapshot>(at.payload);
  const std::string path = directory_ + "/" + snapshot.file;
  const ftlog::FileSum sum = ftlog::sum_file(path);
  if (sum.checksum != snapshot.checksum || sum.bytes != snapshot.bytes)
    throw UsageError(
        fmt::format("{}: not the snapshot that was recorded: {} bytes with checksum {:016x}, not {} with "
                    "{:016x}",
                    path, sum.bytes, sum.checksum, snapshot.bytes, snapshot.checksum));
  emu::load_snapshot(machine(), setup_.description(), path);
  if (machine().icount() != at.icount)
    throw UsageError(
        fmt::format("{}: a snapshot of instruction {}, where the log says {}", path, machine().icount(), at.icount));
  // What had left by then stands right before the snapshot's entry.
  replayer_->go_back(
      {primary::OutputSums(machine().world().channel_count()), {}, {}, at.sequence, replayer_->proofs(), at.icount});
  log_ = ftlog::LogReader(directory_);
  log_.seek_icount(at.icount);
  for (ftlog::LogEntry entry; log_.next(entry) && entry.sequence < at.sequence;)
    if (const auto* mark = std::get_if<ftlog::OutputMark>(&entry.payload)) replayer_->set_output(*mark);
  first_.reset();
}

void ReplaySession::connect_serial(const std::string& spec) {
  serial_ = open_serial(spec, wakeup_);
  emu::World& world = machine().world();
  world.connect(world.channel("serial0"), [this](std::span<const uint8_t> bytes) { serial_->write(bytes); });
}

void ReplaySession::slice(uint64_t most, uint64_t seed) {
  slice_ = most;
  slice_state_ = seed;
}

void ReplaySession::inject(const RamFlip& flip) {
  check(flip, machine());
  flip_ = flip;
}

ReplaySession::Mark ReplaySession::mark() {
  if (!keeper_) keeper_.emplace(machine());
  return {keeper_->take(), replayer_->progress(), injected_};
}

void ReplaySession::go_back(const Mark& mark) {
  keeper_->restore(mark.machine);
  replayer_->go_back(mark.progress);
  injected_ = mark.injected;
  first_.reset();
  log_.seek_sequence(mark.progress.next_sequence());
}

backup::ReplayStop ReplaySession::run_to(uint64_t icount) {
  if (!flip_ || injected_ || icount < flip_->icount || machine().icount() > flip_->icount) return run_on(icount);
  const backup::ReplayStop stop = run_on(flip_->icount);
  if (stop != backup::ReplayStop::limit || machine().icount() != flip_->icount) return stop;
  turn_over(*flip_, machine());
  injected_ = true;
  return icount == flip_->icount ? stop : run_on(icount);
}

backup::ReplayStop ReplaySession::run_on(uint64_t icount) {
  started_ = shown_ = HostClock::now();
  started_icount_ = machine().icount();
  while (true) {
    uint64_t step = kPollInstructions;
    if (slice_ != 0) {
      slice_state_ = slice_state_ * 6364136223846793005ull + 1442695040888963407ull;
      step = 1 + (slice_state_ >> 33) % slice_;
    }
    const uint64_t target = std::min(icount, machine().icount() + step);
    const backup::ReplayStop stop = replayer_->run(target);
    if (stop != backup::ReplayStop::limit || target == icount || interrupted()) {
      show(true);
      return stop;
    }
    if (progress_) show(false);
  }
}

void ReplaySession::show(bool last) {
  if (!progress_) return;
  const auto now = HostClock::now();
  if (!last && now - shown_ < kShowEvery) return;
  shown_ = now;
  const double seconds = std::chrono::duration<double>(now - started_).count();
  const double speed = seconds > 0 ? static_cast<double>(machine().icount() - started_icount_) / seconds : 0;
  const double left =
      speed > 0 ? static_cast<double>(last_icount_ - std::min(last_icount_, machine().icount())) / speed : 0;
  const double percent =
      last_icount_ == 0 ? 100 : 100.0 * static_cast<double>(machine().icount()) / static_cast<double>(last_icount_);
  fmt::print(stderr, "\r{:5.1f}%  instruction {}  {:.0f} MIPS  {:.0f} s left \033[K{}", std::min(percent, 100.0),
             machine().icount(), speed / 1e6, left, last ? "\n" : "");
  std::fflush(stderr);
}

}  // namespace understudy::tools
