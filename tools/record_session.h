// A run whose inputs go into a recording: from power-on (`record`), or from a point of another recording (`resume`).
#pragma once

#include <cstdint>
#include <string>

#include "ftlog/log_writer.h"
#include "tools/machine_setup.h"
#include "tools/run_options.h"
#include "tools/run_result.h"

namespace CLI {
class App;
}

namespace understudy::tools {

struct RecordOptions {
  std::string directory;
  ftlog::SyncPolicy sync = ftlog::SyncPolicy::interval;
  double digest_every_s = 1;
  uint64_t snapshot_every_minstr = 0;
};

// How a run's end is written at the end of its log.
ftlog::EndReason end_reason(RunExit exit);

void add_record_options(CLI::App& command, RecordOptions& options);

// How its log is written.
ftlog::LogOptions log_options(const RecordOptions& options, bool paced);

// Runs the machine from where it is; one that is past power-on begins its recording with a snapshot. Returns the exit
// code. Throws RecordingError, LogError, and what a run throws.
int record_run(MachineSetup& setup, const RunOptions& run, bool paced, int64_t rtc_start_s,
               const RecordOptions& options);

}  // namespace understudy::tools
