// What the parts of a debugging session share: the machine, the recording it came from while it is one, and what the
// user has set up. A session outlives its clients: breakpoints go with a client, checkpoints stay.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "emu/machine.h"
#include "tools/gdb_server.h"
#include "tools/symbols.h"
#include "tools/timeline.h"

namespace understudy::tools {

struct DebugState {
  emu::Machine* machine = nullptr;
  Timeline* timeline = nullptr;  // null: the machine is live
  std::string directory;         // of the recording
  Symbols symbols;
  GdbServer::Settings settings;
  std::map<std::string, Mark> checkpoints;
  std::vector<Watchpoint> physical_watches;
  bool told_of_stale_view = false;
};

}  // namespace understudy::tools
