// `understudy pack` and `understudy unpack`: a recording as one file for another machine, and back.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace understudy::tools {

void add_pack_commands(CLI::App& app, const std::function<void(std::function<int()>)>& then);

}  // namespace understudy::tools
