// Runs a machine for a user: moves bytes between its channels and their ends on the host, shows the screen, and decides
// when it is over. Pace keeps the guest's clock with the host's.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "primary/output_commit.h"
#include "primary/recorder.h"
#include "tools/disk_ends.h"
#include "tools/machine_setup.h"
#include "tools/net_link.h"
#include "tools/pace.h"
#include "tools/run_options.h"
#include "tools/run_result.h"
#include "tools/screen_console.h"
#include "tools/serial_backend.h"
#include "tools/serial_match.h"

namespace understudy::tools {

// What a session may have besides a machine; all of it outlives the session.
struct RunParts {
  primary::Recorder* recorder = nullptr;     // hears of what the session does to the machine
  primary::OutputCommit* outputs = nullptr;  // holds what leaves the machine, instead of letting it go at once
  SerialBackend* serial0 = nullptr;          // COM1's input, instead of the options' end; its output is its own affair
  bool has_network = false;                  // the card's cable is somebody else's
  DiskEnds* disks = nullptr;                 // of the shared disks, instead of their servers
  Wakeup* wakeup = nullptr;                  // what ends the wait of an idle machine, instead of the session's own
};

class RunSession {
 public:
  RunSession(const RunOptions& options, MachineSetup& setup, bool paced, const RunParts& parts = {});
  ~RunSession();
  // Called between two slices of the run, some hundred times a second.
  void every_slice(std::function<void()> callback) { every_slice_ = std::move(callback); }
  // Called in front of each slice, for the count at which it ends at the latest, or nothing to end the run. It may keep
  // the machine standing for as long as it likes: the guest's clock stands, too.
  void control(std::function<std::optional<uint64_t>()> callback) { control_ = std::move(callback); }
  // `stopped`: what the machine stopped with before the session began.
  RunResult run(std::optional<emu::MachineStop> stopped = std::nullopt);
  // From between two slices: run() shall return this.
  void end(RunExit exit, int code);
  // Out of the card's cable at once, past everything that holds the machine's own frames.
  void send_frame(std::span<const uint8_t> frame) {
    if (net_) net_->send(frame);
  }
  // Ends the wait of an idle machine. Any thread.
  void wake() { wakeup_.notify(); }

 private:
  DiskEnds* disks() const { return parts_.disks != nullptr ? parts_.disks : own_disks_.get(); }
  bool awaits_disk() const { return disks() != nullptr && disks()->busy(); }
  void connect_serial(const std::string& channel, SerialBackend& backend);
  void feed_inputs();
  // About when the session looks after its ends again; the next count at which run() must return, whatever the machine
  // does.
  uint64_t next_look() const;
  uint64_t next_stop();
  // False: the run is to end.
  bool may_run(uint64_t& until_icount);
  HostClock host_clock();
  void set_rate(uint64_t ps_per_instruction);
  std::optional<RunResult> over(emu::MachineStop stop);
  RunResult result(RunExit exit, int code);
  bool quit_asked() const;

  const RunOptions& options_;
  MachineSetup& setup_;
  emu::Machine& machine_;
  bool paced_;
  RunParts parts_;
  std::function<void()> every_slice_;
  std::function<std::optional<uint64_t>()> control_;
  uint64_t stood_ns_ = 0;  // host time that was not the machine's
  Wakeup own_wakeup_;
  Wakeup& wakeup_;
  std::unique_ptr<SerialBackend> serial0_, serial1_, debugcon_;
  std::unique_ptr<ScreenConsole> screen_;
  std::unique_ptr<SerialMatch> match_;
  SerialBackend* com1_;
  std::unique_ptr<NetLink> net_;
  std::unique_ptr<DiskEnds> own_disks_;
  std::optional<Pace> pace_;
  std::optional<std::pair<RunExit, int>> end_;
  uint64_t slice_state_ = 0;
  uint64_t slice_end_ = 0;
};

// SIGINT, SIGTERM and SIGHUP end a run at the next occasion; another one, from half a second after the first on, at
// once, without what a run does at its end, but the terminal is restored.
void install_signal_handlers();
bool interrupted();

}  // namespace understudy::tools
