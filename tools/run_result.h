// How a run ended, for the shell and for scripts.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "devices/host_net.h"
#include "emu/machine.h"
#include "tools/pace.h"

namespace understudy::tools {

enum class RunExit { shutdown, reset, debug_exit, stop_at, until_serial, halted, quit, error };
const char* to_string(RunExit exit);

// What a run's end means to the shell.
namespace exit_code {
constexpr int kUsage = 2, kHalted = 3, kInternal = 4, kDiverged = 5, kDamaged = 5, kLost = 6, kReset = 7,
              kUnreachable = 8, kRefused = 9, kQuit = 130;
}

struct RunResult {
  RunExit exit = RunExit::error;
  int code = exit_code::kInternal;
  uint64_t icount = 0;
  uint64_t virtual_ns = 0;
  double wall_s = 0;
  emu::Digest digest;
  std::optional<devices::HostNetCounts> net;
  std::optional<PaceCounts> pace;  // of a paced run
};

// A back end's counts by name.
nlohmann::ordered_json net_counts_json(const devices::HostNetCounts& counts);
// Writes the result as one JSON object; "-" is standard output. Throws UsageError.
void write_json(const std::string& path, const RunResult& result);
// A line on standard error about an end that is not what a user hopes for.
void explain(const RunResult& result);

}  // namespace understudy::tools
