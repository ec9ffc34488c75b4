// Where a live node's entries go: to its backup, and to a log of its own if it keeps one.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "emu/snapshot_file.h"
#include "ftlog/log_writer.h"
#include "ftlog/recording.h"
#include "primary/backup_link.h"
#include "primary/recorder.h"
#include "tools/machine_setup.h"

namespace understudy::tools {

// A stint of a node as a recording of its own, in a numbered folder under the node's log folder.
class StintLog {
 public:
  // Throws RecordingError, LogError.
  StintLog(const std::string& folder, MachineSetup& setup, bool durable);
  const std::string& directory() const { return recording_.directory(); }
  ftlog::LogWriter& writer() { return *writer_; }
  // The first entries of a stint that does not begin at power-on: how the machine is built, what had left it, a
  // snapshot.
  void begin(const ftlog::Start& start, const primary::OutputSums& sums);
  // Writes a snapshot of the machine; its entry is the caller's to append.
  ftlog::Snapshot take_snapshot();
  void finish() { recording_.finish(); }

 private:
  MachineSetup& setup_;
  ftlog::Recording recording_;
  std::unique_ptr<ftlog::LogWriter> writer_;
  std::optional<emu::SavedSnapshot> last_;
  unsigned chain_ = 0;
};

// The newest stint in a node's log folder, or nothing.
std::optional<std::string> newest_stint(const std::string& folder);

class PairLog : public ftlog::LogSink {
 public:
  PairLog(primary::BackupLink& link, ftlog::LogWriter* own) : link_(link), own_(own) {}
  uint64_t append(uint64_t icount, uint64_t virtual_ns, const ftlog::Payload& payload) override {
    // On the own disk first, where that is the rule for outputs.
    if (own_ != nullptr) own_->append(icount, virtual_ns, payload);
    return link_.append(icount, virtual_ns, payload);
  }
  void tick(uint64_t host_ns) override {
    if (own_ != nullptr) own_->tick(host_ns);
  }

 private:
  primary::BackupLink& link_;
  ftlog::LogWriter* own_;
};

}  // namespace understudy::tools
