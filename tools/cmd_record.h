// `understudy record`: a run whose inputs are written to a recording.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace understudy::tools {

void add_record_command(CLI::App& app, const std::function<void(std::function<int()>)>& then);

}  // namespace understudy::tools
