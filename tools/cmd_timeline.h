// `understudy timeline`: a recording as a picture for a trace viewer.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace understudy::tools {

void add_timeline_command(CLI::App& app, const std::function<void(std::function<int()>)>& then);

}  // namespace understudy::tools
