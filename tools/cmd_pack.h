// `understudy pack` and `understudy unpack`: a recording as one file for another machine, and back.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace understudy::tools {

void add_pack_commands(CLI::App& app, const std::function<void(std::function<int()>)>& then);

}  // namespace understudy::tools
