// `understudy debug`: a recording under GDB, forwards and backwards.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace understudy::tools {

void add_debug_command(CLI::App& app, const std::function<void(std::function<int()>)>& then);

}  // namespace understudy::tools
