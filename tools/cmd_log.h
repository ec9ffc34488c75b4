// `understudy log`: shows what is in a recording's log, counts it, or checks the recording.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace understudy::tools {

// Adds the subcommand. When it was chosen, `then` is called with what carries it out and gives the exit code.
void add_log_command(CLI::App& app, const std::function<void(std::function<int()>)>& then);

}  // namespace understudy::tools
