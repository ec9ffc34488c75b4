#include "tools/cmd_backup.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "tools/follow_session.h"
#include "tools/live_node.h"
#include "tools/run_options.h"
#include "tools/serial_backend.h"

namespace understudy::tools {

namespace {

struct BackupCommand {
  PairOptions pair;
  RunOptions run;
};

int follow(BackupCommand& command) {
  const RunOptions& run = command.run;
  command.pair.json = run.json;
  const bool own_machine = !run.images.empty() || !run.kernel.empty() || !run.flat.empty() || !run.disks.empty() ||
                           !run.cdrom.empty() || !run.floppy.empty() || !run.virtio_disks.empty();
  check_world(command.pair, run);
  PairIdentity identity = identify(command.pair);
  install_signal_handlers();
  NodeControl control(command.pair, identity);
  FollowSession session(command.pair, identity, control, run, own_machine);
  return session.run();
}

}  // namespace

void add_backup_command(CLI::App& app, const std::function<void(std::function<int()>)>& then) {
  auto command = std::make_shared<BackupCommand>();
  CLI::App* sub = app.add_subcommand("backup", "Follow a primary in lock step, and take over when it falls silent");
  sub->add_option("--inject-ram-flip", command->pair.inject_ram_flip,
                  "For tests: turns a bit of RAM over as soon as this node is in lock step and past a count")
      ->type_name("ICOUNT:ADDRESS:BIT");
  add_run_options(*sub, command->run);
  add_pair_options(*sub, command->pair);
  sub->get_option("--join")->required();
  sub->footer(
      "Without an image of its own, the backup builds the machine that the primary describes, from files at the same\n"
      "paths. A node that finds a backup there already waits, and joins when it is needed.\n\n"
      "Exit codes, besides those of run\n"
      "  6  another node reigns: this one stopped (with --rejoin it goes on as its backup)\n"
      "  8  the primary is lost, the arbiter out of reach, and --when-unreachable says stop\n"
      "  9  the primary refuses this node: another build or another machine");
  sub->callback([command, then] { then([command] { return follow(*command); }); });
}

}  // namespace understudy::tools
