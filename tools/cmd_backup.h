// `understudy backup`: follows a primary in lock step, and takes over when it falls silent.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace understudy::tools {

// Adds the subcommand. When it was chosen, `then` is called with what carries it out and gives the exit code.
void add_backup_command(CLI::App& app, const std::function<void(std::function<int()>)>& then);

}  // namespace understudy::tools
