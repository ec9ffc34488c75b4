// `understudy replay`: a recording once more, proven against its digests.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace understudy::tools {

void add_replay_command(CLI::App& app, const std::function<void(std::function<int()>)>& then);

}  // namespace understudy::tools
