// The file of --config: options beside the command line, for every role of a pair in one file. It is TOML: a key is an
// option's name without its dashes. Keys before any section hold for every role that has such an option; a section
// [role.hub], [role.primary], [role.backup] or [role.recover] is that role's alone, and goes before those. The command
// line wins.
#pragma once

namespace CLI {
class App;
}

namespace understudy::tools {

// Gives a role's command the option --config. What the file says is taken while the command line is parsed, so that an
// option is "given" wherever it came from. Then parsing throws UsageError, with file and line, for what is wrong there.
void add_config_option(CLI::App& command);

}  // namespace understudy::tools
