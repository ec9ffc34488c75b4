// Runs a machine for a user: moves bytes between its channels and their ends on the host, shows the screen, and decides
// when it is over. Pace keeps the guest's clock with the host's.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "primary/recorder.h"
#include "tools/machine_setup.h"
#include "tools/net_link.h"
#include "tools/pace.h"
#include "tools/run_options.h"
#include "tools/run_result.h"
#include "tools/screen_console.h"
#include "tools/serial_backend.h"
#include "tools/serial_match.h"

namespace understudy::tools {

class RunSession {
 public:
  // `recorder`, if there is one, hears of what the session does to the machine; it outlives the session.
  RunSession(const RunOptions& options, MachineSetup& setup, bool paced, primary::Recorder* recorder = nullptr);
  ~RunSession();
  // Called between two slices of the run, some hundred times a second.
  void every_slice(std::function<void()> callback) { every_slice_ = std::move(callback); }
  RunResult run();

 private:
  void connect_serial(const std::string& channel, std::unique_ptr<SerialBackend>& backend, const std::string& spec);
  void feed_inputs();
  // The next count at which run() must return, whatever the machine does.
  uint64_t next_stop();
  HostClock host_clock();
  void set_rate(uint64_t ps_per_instruction);
  std::optional<RunResult> over(emu::MachineStop stop);
  RunResult result(RunExit exit, int code);
  bool quit_asked() const;

  const RunOptions& options_;
  MachineSetup& setup_;
  emu::Machine& machine_;
  bool paced_;
  primary::Recorder* recorder_;
  std::function<void()> every_slice_;
  Wakeup wakeup_;
  std::unique_ptr<SerialBackend> serial0_, serial1_, debugcon_;
  std::unique_ptr<ScreenConsole> screen_;
  std::unique_ptr<SerialMatch> match_;
  std::unique_ptr<NetLink> net_;
  std::optional<Pace> pace_;
  uint64_t slice_state_ = 0;
  uint64_t slice_end_ = 0;
};

// SIGINT and SIGTERM end a run at the next occasion, with the terminal restored.
void install_signal_handlers();
bool interrupted();

}  // namespace understudy::tools
