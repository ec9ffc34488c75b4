// Runs a machine for a user: moves bytes between its channels and their ends on the host, keeps pace, shows the screen,
// and decides when it is over.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "tools/machine_setup.h"
#include "tools/net_link.h"
#include "tools/run_options.h"
#include "tools/screen_console.h"
#include "tools/serial_backend.h"
#include "tools/serial_match.h"

namespace understudy::tools {

enum class RunExit { shutdown, reset, debug_exit, stop_at, until_serial, halted, quit, error };
const char* to_string(RunExit exit);

// What a run's end means to the shell.
namespace exit_code {
constexpr int kUsage = 2, kHalted = 3, kInternal = 4, kDamaged = 5, kReset = 7, kQuit = 130;
}

struct RunResult {
  RunExit exit = RunExit::error;
  int code = exit_code::kInternal;
  uint64_t icount = 0;
  uint64_t virtual_ns = 0;
  double wall_s = 0;
  emu::Digest digest;
  std::optional<devices::HostNetCounts> net;
};

class RunSession {
 public:
  RunSession(const RunOptions& options, MachineSetup& setup, bool paced);
  ~RunSession();
  RunResult run();

 private:
  using HostClock = std::chrono::steady_clock;
  void connect_serial(const std::string& channel, std::unique_ptr<SerialBackend>& backend, const std::string& spec);
  void feed_inputs();
  // The next count at which run() must return, whatever the machine does.
  uint64_t next_stop();
  bool keep_pace();
  std::optional<RunResult> over(emu::MachineStop stop);
  RunResult result(RunExit exit, int code);
  bool quit_asked() const;

  const RunOptions& options_;
  MachineSetup& setup_;
  emu::Machine& machine_;
  bool paced_;
  Wakeup wakeup_;
  std::unique_ptr<SerialBackend> serial0_, serial1_, debugcon_;
  std::unique_ptr<ScreenConsole> screen_;
  std::unique_ptr<SerialMatch> match_;
  std::unique_ptr<NetLink> net_;
  HostClock::time_point started_;
  uint64_t started_ns_ = 0;
  uint64_t slice_state_ = 0;
  uint64_t slice_end_ = 0;
};

// SIGINT and SIGTERM end a run at the next occasion, with the terminal restored.
void install_signal_handlers();

}  // namespace understudy::tools
