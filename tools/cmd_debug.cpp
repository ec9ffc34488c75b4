#include "tools/cmd_debug.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "tools/debug_state.h"
#include "tools/gdb_replay_target.h"
#include "tools/gdb_session.h"
#include "tools/run_session.h"

namespace understudy::tools {

namespace {

struct DebugCommand {
  std::string directory;
  uint64_t at = 0;
  std::string gdb = ":0";
  std::vector<std::string> symbols;
  uint64_t snapshot_budget_mib = 1024;
};

int debug(const DebugCommand& command) {
  Timeline timeline(command.directory, {command.snapshot_budget_mib << 20});
  DebugState state;
  state.timeline = &timeline;
  state.machine = &timeline.machine();
  state.directory = command.directory;
  load_symbols(state.symbols, command.symbols);
  if (command.at > timeline.last() || (command.at != 0 && command.at < timeline.first()))
    throw UsageError(fmt::format("--at {}: {} has the instructions {} to {}", command.at, command.directory,
                                 timeline.first(), timeline.last()));
  GdbListener listener(command.gdb);
  install_signal_handlers();
  if (const Stop stop = timeline.seek(command.at); stop.why == Stop::diverged)
    fmt::print(stderr, "understudy: the replay diverges at instruction {}: {}\n", stop.at.icount, stop.message);
  fmt::print("{}: instructions {} to {}\n{}\n", command.directory, timeline.first(), timeline.last(),
             gdb_command(listener, command.symbols));
  std::fflush(stdout);
  warn_if_public(listener);
  GdbReplayTarget target(timeline, state.physical_watches);
  return serve_debugger(listener, target, state) == DebugEnd::closed ? exit_code::kQuit : 0;
}

}  // namespace

void add_debug_command(CLI::App& app, const std::function<void(std::function<int()>)>& then) {
  auto command = std::make_shared<DebugCommand>();
  CLI::App* sub = app.add_subcommand("debug", "Debug any instruction of a recording under gdb, forwards and backwards");
  sub->footer(
      "Waits for gdb, and says what to type there. In gdb, besides what always works: reverse-stepi, "
      "reverse-continue,\n"
      "and `monitor help` for what gdb has no words for: places in time, who wrote this last, the devices.\n"
      "A recording whose writer was killed opens up to its last complete entry.\n\n"
      "Examples\n"
      "  understudy debug boot.rec --symbols vmlinux\n"
      "  understudy debug boot.rec --at 1000000 --gdb :1234\n\n"
      "Exit codes\n"
      "  0  gdb's `kill`\n"
      "  2  bad usage, or nothing to debug\n"
      "  4  an internal error\n"
      "  5  the recording is damaged\n"
      "  130  you left with a signal");
  sub->add_option("DIR", command->directory, "The recording")->required();
  sub->add_option("--at", command->at, "Where to begin [its first instruction]")->type_name("ICOUNT");
  sub->add_option("--gdb", command->gdb,
                  "Where gdb connects: [ADDRESS]:PORT, on loopback without an address, or unix:PATH [any free port]")
      ->type_name("WHERE");
  sub->add_option("--symbols", command->symbols,
                  "An ELF file or a list as nm and /proc/kallsyms give it, perhaps FILE@BIAS; for monitor commands")
      ->type_name("FILE")
      ->allow_extra_args(false);
  sub->add_option("--snapshot-budget", command->snapshot_budget_mib, "Memory for snapshots, on which going back stands")
      ->type_name("MIB")
      ->capture_default_str()
      ->check(CLI::Range(uint64_t{16}, uint64_t{1} << 20));
  sub->callback([command, then] { then([command] { return debug(*command); }); });
}

}  // namespace understudy::tools
