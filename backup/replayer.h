// Makes a machine do again what a log says a machine of the same kind did: runs it to each entry's point, hands it the
// inputs, and compares what it became with the digests and marks. Entries come from wherever the caller gets them (a
// file, a socket). A machine that is at another state than the log says is never run further: see divergence().
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "emu/machine.h"
#include "ftlog/entry.h"
#include "primary/output_sums.h"

namespace understudy::backup {

enum class ReplayStop : uint8_t {
  limit,     // the count asked for
  asked,     // Machine::ask_to_stop(): run() goes on from there
  starved,   // the next entry is not there (yet)
  ended,     // the log's End, reached and proven
  diverged,  // see divergence()
};

struct Divergence {
  uint64_t sequence = 0;            // of the entry that the machine does not agree with
  uint64_t icount = 0;              // where the machine is
  uint64_t last_proven_icount = 0;  // of the last state digest that was equal
  std::string what;                 // one line
  // Which parts of a state digest differ.
  bool cpu = false, ram = false, devices = false;
};

class Replayer {
 public:
  // `next` gives the entries in order; false when there is none now. `reset_board` does what the board does at a reset.
  // The machine is at the log's first point, or at a snapshot's, and `next` begins behind its entry.
  Replayer(emu::Machine& machine, std::function<bool(ftlog::LogEntry&)> next, std::function<void()> reset_board);
  ~Replayer();
  Replayer(const Replayer&) = delete;
  Replayer& operator=(const Replayer&) = delete;

  // Runs until icount() == `until_icount` or something else happens. All entries at the count are applied.
  ReplayStop run(uint64_t until_icount);

  // After `starved`: runs on to a point before which nothing more will come. The machine may have stopped by itself on
  // the way, see stopped().
  ReplayStop run_to(uint64_t icount, uint64_t virtual_ns);
  // What the machine stopped with, if the log has not explained it yet.
  const std::optional<emu::MachineStop>& stopped() const { return stopped_; }

  const std::optional<Divergence>& divergence() const { return divergence_; }
  // The entry that ended the log; valid after `ended`.
  const ftlog::End& end() const { return end_; }
  // Sequence of the last entry that was applied.
  uint64_t position() const { return position_; }
  uint64_t proofs() const { return proofs_; }
  // Where the replay is, so that it can be taken up there again with a machine that is as it was (and a `next` that
  // goes on behind the entry next_sequence() - 1).
  struct Progress {
    primary::OutputSums sums;
    std::optional<ftlog::LogEntry> entry;
    std::optional<emu::MachineStop> stopped;
    uint64_t position = 0, proofs = 0, last_proven_icount = 0;
    uint64_t next_sequence() const { return entry ? entry->sequence + 1 : position + 1; }
  };
  Progress progress() const { return {sums_, entry_, stopped_, position_, proofs_, last_proven_icount_}; }
  void go_back(const Progress& progress);
  // What has left the machine, and come in.
  const primary::OutputSums& sums() const { return sums_; }
  void set_sums(primary::OutputSums sums) { sums_ = std::move(sums); }
  // For a machine that begins at a snapshot: what had left on a channel by then.
  void set_output(const ftlog::OutputMark& mark);
  // Called with each entry that has been applied.
  void on_applied(std::function<void(const ftlog::LogEntry&)> callback) { applied_ = std::move(callback); }
  // Called between entries too, about every so many instructions.
  static constexpr uint64_t kUnderwayEvery = 500'000;
  void on_underway(std::function<void()> callback) { underway_ = std::move(callback); }

 private:
  std::optional<ReplayStop> go_to(uint64_t icount, uint64_t ns);
  std::optional<ReplayStop> apply(const ftlog::LogEntry& entry);
  std::optional<ReplayStop> apply_reset(const ftlog::LogEntry& entry);
  std::optional<ReplayStop> apply_end(const ftlog::End& end);
  ReplayStop diverge(std::string what);
  bool at(const ftlog::LogEntry& entry) const;

  emu::Machine& machine_;
  std::function<bool(ftlog::LogEntry&)> next_;
  std::function<void()> reset_board_;
  std::function<void(const ftlog::LogEntry&)> applied_;
  std::function<void()> underway_;
  primary::OutputSums sums_;
  std::optional<ftlog::LogEntry> entry_;
  std::optional<emu::MachineStop> stopped_;  // the machine stopped by itself, which the next entry must explain
  std::optional<Divergence> divergence_;
  ftlog::End end_;
  uint64_t position_ = 0, proofs_ = 0, last_proven_icount_ = 0;
};

}  // namespace understudy::backup
