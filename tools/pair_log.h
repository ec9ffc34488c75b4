// Where a live node's entries go: to its backup, and to a log of its own if it keeps one.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "emu/snapshot_file.h"
#include "ftlog/log_writer.h"
#include "ftlog/recording.h"
#include "primary/backup_link.h"
#include "primary/recorder.h"
#include "tools/machine_setup.h"

namespace understudy::tools {

// A stint of a node as a recording of its own, in a numbered folder under the node's log folder. It is forced to the
// disk now and then, and when its owner wants that.
class StintLog {
 public:
  // Throws RecordingError, LogError.
  StintLog(const std::string& folder, MachineSetup& setup);
  const std::string& directory() const { return recording_.directory(); }
  ftlog::LogWriter& writer() { return *writer_; }
  // What it takes of the disk so far.
  uint64_t bytes() const { return writer_->bytes_written() + snapshot_bytes_; }
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
  uint64_t snapshot_bytes_ = 0;
};

// The stints in a node's log folder, the newest first.
std::vector<std::string> stints(const std::string& folder);
// Removes all but the newest `keep` of them, and nothing that is being written; 0: all are kept.
void forget_stints(const std::string& folder, unsigned keep);
void remove_stint(const std::string& stint);

class PairLog : public ftlog::LogSink {
 public:
  PairLog(primary::BackupLink& link, ftlog::LogWriter* own) : link_(link), own_(own) {}
  void go_on_in(ftlog::LogWriter& own) { own_ = &own; }
  uint64_t append(uint64_t icount, uint64_t virtual_ns, const ftlog::Payload& payload) override {
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
