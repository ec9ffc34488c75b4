// `understudy run`: boots an image and runs it to its end.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace understudy::tools {

// Adds the subcommand. When it was chosen, `then` is called with what carries it out and gives the exit code.
void add_run_command(CLI::App& app, const std::function<void(std::function<int()>)>& then);

}  // namespace understudy::tools
