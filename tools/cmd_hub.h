// `understudy hub`: the outside world of a service, which outlives the replicas that run it.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace understudy::tools {

// Adds the subcommand. When it was chosen, `then` is called with what carries it out and gives the exit code.
void add_hub_command(CLI::App& app, const std::function<void(std::function<int()>)>& then);

}  // namespace understudy::tools
