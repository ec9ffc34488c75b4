// `understudy timeline`: a recording as a picture for a trace viewer.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace understudy::tools {

void add_timeline_command(CLI::App& app, const std::function<void(std::function<int()>)>& then);

}  // namespace understudy::tools
