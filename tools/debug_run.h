// A run under a debugger: the machine stands still from its first instruction on until gdb lets it go.
#pragma once

#include <string>
#include <vector>

#include "tools/machine_setup.h"
#include "tools/run_result.h"

namespace understudy::tools {

struct DebugRunOptions {
  std::string gdb;  // where gdb connects; empty: no debugger
  std::vector<std::string> symbols;
};

// Throws UsageError, and what a run throws.
RunResult run_debugged(const RunOptions& options, MachineSetup& setup, bool paced, const DebugRunOptions& debug);

}  // namespace understudy::tools
