// A node that is live: runs the machine for the world, holds its outputs until the backup has the log, lets backups
// join, and stops when another node reigns. A primary is one from power-on, a backup from its takeover on.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "devices/station_announcement.h"
#include "primary/backup_link.h"
#include "primary/lag_control.h"
#include "primary/output_commit.h"
#include "primary/recorder.h"
#include "primary/work_map.h"
#include "tools/hub_ends.h"
#include "tools/machine_setup.h"
#include "tools/node_control.h"
#include "tools/pair_log.h"
#include "tools/pair_options.h"
#include "tools/run_session.h"
#include "tools/slowdown.h"

namespace understudy::tools {

// Throws UsageError when the machine's ends, as a node of a pair has them, cannot be opened on this host.
void check_world(const PairOptions& options, const RunOptions& run);

class LiveNode {
 public:
  // All outlive the node. `run` says where the machine's ends are on this host.
  LiveNode(const PairOptions& options, PairIdentity& identity, NodeControl& control, const RunOptions& run,
           MachineSetup& setup, primary::OutputCommit& outputs, const ftlog::Start& start);
  ~LiveNode();

  // From power-on, in this epoch.
  int run_from_power_on(uint64_t epoch);
  // A machine that was replayed until here: `log` and `sums` are where its streams stand, `own` the log that this node
  // kept while it was a backup.
  struct Takeover {
    std::chrono::steady_clock::time_point last_heard;  // from the old primary
    std::chrono::steady_clock::time_point given_up, replayed;
    uint64_t epoch = 0;
    ftlog::CodecState log;
    primary::OutputSums sums{0};
    std::optional<emu::MachineStop> stopped;
    std::unique_ptr<StintLog> own;
    std::function<void()> on_live;  // right after outputs may leave
  };
  int run_from_takeover(Takeover takeover);
  // After the run: another node reigns now, and this one could be its backup.
  bool superseded() const { return superseded_; }

 private:
  int run(std::optional<emu::MachineStop> stopped, const std::function<void()>& on_live);
  void connect_world(uint64_t epoch);
  void make_link(const ftlog::CodecState& log, uint64_t epoch);
  // With --durable: what is in the own log holds outputs up until it is on the disk.
  void follow_the_disk();
  void between_slices();
  void hold_back();
  void tell_of_waits(std::chrono::steady_clock::time_point now);
  uint64_t look_at_lag(const ftlog::Horizon& replayed);
  void snapshot_sometimes();
  // Another recording, which begins with a snapshot.
  void begin_stint();
  void announce();
  void switch_over();
  nlohmann::ordered_json status() const;

  const PairOptions& options_;
  PairIdentity& identity_;
  NodeControl& control_;
  const RunOptions& run_options_;
  MachineSetup& setup_;
  emu::Machine& machine_;
  primary::OutputCommit& outputs_;
  ftlog::Start start_;
  std::unique_ptr<StintLog> own_;
  std::unique_ptr<primary::BackupLink> link_;
  std::unique_ptr<PairLog> log_;
  std::unique_ptr<primary::Recorder> recorder_;
  Wakeup wakeup_;
  std::unique_ptr<HubEnds> hub_;
  std::unique_ptr<RunSession> session_;
  // Both of one backup, with how far it was behind when last looked at.
  std::optional<primary::LagControl> lag_;
  primary::WorkMap work_;
  std::atomic<uint64_t> lag_ns_{0};
  uint64_t lag_of_ = 0;  // which backup's
  Slowdown slowdown_{std::chrono::steady_clock::now()};
  std::chrono::steady_clock::time_point next_word_of_waits_{};
  uint64_t next_snapshot_ = 0;
  std::optional<devices::StationAnnouncer> announcer_;
  bool handing_over_ = false, superseded_ = false;
  nlohmann::ordered_json takeover_;  // how it went, for status()
  std::chrono::steady_clock::time_point live_since_;
};

}  // namespace understudy::tools
