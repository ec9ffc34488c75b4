// Replays a recording for a user: builds its machine, refuses one that is not the recorded one, runs it to where the
// user wants it, and says how far it is.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backup/replayer.h"
#include "emu/memory_snapshot.h"
#include "ftlog/log_reader.h"
#include "tools/machine_setup.h"
#include "tools/ram_flip.h"
#include "tools/run_options.h"
#include "tools/serial_backend.h"
#include "tools/wakeup.h"

namespace understudy::tools {

class ReplaySession {
 public:
  // Opens the recording and builds its machine at power-on. Throws RecordingError, LogError, UsageError (another
  // machine: with what differs), and what set_up_machine() throws.
  explicit ReplaySession(const std::string& directory);

  // Where COM1's output goes; nothing by default.
  void connect_serial(const std::string& spec);
  // Chops the replay into random slices of at most `most` instructions: changes nothing, for tests.
  void slice(uint64_t most, uint64_t seed);
  void show_progress(bool show) { progress_ = show; }

  // What the log says of state digests and outputs is not compared: for a log of which it is known to be wrong. Before
  // anything is replayed.
  void ignore_proofs() { ignores_proofs_ = true; }

  // Throws UsageError for an address outside of RAM.
  void inject(const RamFlip& flip);
  bool injected() const { return injected_; }

  // A point to which this session can go back.
  struct Mark {
    emu::MemorySnapshot machine;
    backup::Replayer::Progress progress;
    bool injected = false;
  };
  Mark mark();
  void go_back(const Mark& mark);
  // What all marks that still exist take of the host's memory, and what the last one added.
  uint64_t mark_bytes() const { return keeper_ ? keeper_->bytes() : 0; }

  // Begins at the newest snapshot at or before `icount`, if there is one after power-on. Before anything is replayed.
  // A snapshot file that is damaged or gone: `pass_over` hears of it, and the one before is taken, at last the
  // beginning; without it, throws SnapshotError, or UsageError for a file that is not the recorded one.
  void start_near(uint64_t icount, const std::function<void(const std::string& why)>& pass_over = {});
  // To a snapshot beside the log, at any time. Throws as start_near() does.
  void go_to_recorded(uint64_t icount);
  // Replays until `icount`, or to the end of what there is, or until a signal.
  backup::ReplayStop run_to(uint64_t icount);

  const std::string& directory() const { return directory_; }
  emu::Machine& machine() { return setup_.pc->machine(); }
  MachineSetup& setup() { return setup_; }
  const backup::Replayer& replayer() const { return *replayer_; }
  // See Replayer.
  void on_applied(std::function<void(const ftlog::LogEntry&)> callback) { replayer_->on_applied(std::move(callback)); }
  // The counts at which there are snapshots beside the log, ascending.
  std::vector<uint64_t> recorded_snapshots() const;
  const ftlog::LogReader& log() const { return log_; }
  // The last point that the log tells of: what there is to replay.
  uint64_t last_icount() const { return last_icount_; }
  const ftlog::Start& start() const { return start_; }
  // How the machine was built, for a run that goes on from here.
  const RunOptions& options() const { return options_; }
  // Lets go of the machine, which then is as live as any.
  void end_replay() { replayer_.reset(); }

 private:
  using HostClock = std::chrono::steady_clock;
  // Reads the whole log once: where it ends, and its snapshots.
  void survey();
  void enter(const ftlog::LogEntry& snapshot);
  void show(bool last);
  backup::ReplayStop run_on(uint64_t icount);

  std::string directory_;
  ftlog::LogReader log_;
  ftlog::Start start_;
  RunOptions options_;
  MachineSetup setup_;
  std::unique_ptr<backup::Replayer> replayer_;
  std::optional<ftlog::LogEntry> first_;  // read to learn how to build the machine
  uint64_t last_icount_ = 0;
  std::vector<ftlog::LogEntry> snapshots_;
  Wakeup wakeup_;
  std::unique_ptr<SerialBackend> serial_;
  std::optional<RamFlip> flip_;
  bool injected_ = false;
  bool ignores_proofs_ = false;
  std::optional<emu::SnapshotKeeper> keeper_;
  bool progress_ = false;
  uint64_t slice_ = 0, slice_state_ = 0;
  HostClock::time_point started_, shown_;
  uint64_t started_icount_ = 0;
};

}  // namespace understudy::tools
