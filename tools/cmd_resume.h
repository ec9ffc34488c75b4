// `understudy resume`: any point of a recording as a running machine, with a recording of its own.
#pragma once

#include <functional>

#include "tools/record_session.h"
#include "tools/replay_session.h"

namespace CLI {
class App;
}

namespace understudy::tools {

// Makes the machine of a replay live where it is, and runs it until it ends. The recording goes next to the old one
// unless `record` says where. Returns the exit code; throws what record_run() does.
int resume_live(ReplaySession& session, const RunOptions& live, RecordOptions record);

void add_resume_command(CLI::App& app, const std::function<void(std::function<int()>)>& then);

}  // namespace understudy::tools
