// `understudy resume`: any point of a recording as a running machine, with a recording of its own.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace understudy::tools {

void add_resume_command(CLI::App& app, std::function<void(std::function<int()>)> then);

}  // namespace understudy::tools
