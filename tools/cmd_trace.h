// `understudy trace`: what a recorded machine did, instruction by instruction.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace understudy::tools {

void add_trace_command(CLI::App& app, const std::function<void(std::function<int()>)>& then);

}  // namespace understudy::tools
