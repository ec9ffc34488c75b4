// `understudy trace`: what a recorded machine did, instruction by instruction.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace understudy::tools {

void add_trace_command(CLI::App& app, const std::function<void(std::function<int()>)>& then);

}  // namespace understudy::tools
