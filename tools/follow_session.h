// A node that follows: takes a primary's machine and does what its log says, until the primary is lost (then it tries
// to take over), ends, or does something that this machine cannot agree with.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "backup/primary_link.h"
#include "backup/replayer.h"
#include "primary/output_commit.h"
#include "tools/live_node.h"
#include "tools/machine_setup.h"
#include "tools/pair_log.h"
#include "tools/pair_options.h"
#include "tools/ram_flip.h"
#include "tools/run_options.h"
#include "tools/wakeup.h"

namespace understudy::tools {

class FollowSession {
 public:
  // `own_machine`: the machine's options as the user gave them here; without them the primary says how to build it.
  FollowSession(const PairOptions& options, PairIdentity& identity, NodeControl& control, const RunOptions& run,
                bool own_machine);
  ~FollowSession();

  // Joins whoever of --join is live, follows, and takes over if it must, again and again where that is wanted. Returns
  // the process's exit code.
  int run();

 private:
  // Nothing: to be done again.
  std::optional<int> attempt();
  bool join();
  // What the last attempt left behind.
  void drop_machine();
  // Builds the machine and takes the primary's state. False when it came to nothing.
  bool take_state();
  enum class Outcome { ended, failed, lost, handover, interrupted };
  Outcome follow();
  ftlog::Horizon here() const;
  std::optional<int> take_over(bool graceful);
  // Both on the channel's thread.
  void keep(const std::vector<ftlog::LogEntry>& entries);
  void note_engaged();
  void begin_own_log();
  // Now and then another recording, with a snapshot of where the machine is and what was received beyond.
  void renew_own_log();
  void write_unapplied(StintLog& log);
  nlohmann::ordered_json status() const;

  const PairOptions& options_;
  PairIdentity& identity_;
  NodeControl& control_;
  RunOptions run_options_;
  bool own_machine_;
  bool told_who_is_silent_ = false;
  Wakeup answered_;                            // by one of those who are asked
  std::unique_ptr<backup::PrimaryLink> link_;  // calls what is below
  ftlog::Start start_;
  MachineSetup setup_;
  std::unique_ptr<primary::OutputCommit> outputs_;
  std::unique_ptr<backup::Replayer> replayer_;
  std::mutex own_mutex_;
  std::unique_ptr<StintLog> own_;
  bool own_counts_ = false;  // it has its epoch
  std::mutex unapplied_mutex_;
  std::deque<ftlog::LogEntry> unapplied_;  // received, and in the own log if there is one yet
  uint64_t next_snapshot_ = 0;
  uint64_t own_icount_ = 0, own_virtual_ns_ = 0;  // of its first entries
  std::optional<RamFlip> flip_;
  std::optional<int> ended_;
};

}  // namespace understudy::tools
