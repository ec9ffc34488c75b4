// `understudy diff`: where two recordings part, or what is not the same at two points.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace understudy::tools {

void add_diff_command(CLI::App& app, const std::function<void(std::function<int()>)>& then);

}  // namespace understudy::tools
