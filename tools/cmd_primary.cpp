#include "tools/cmd_primary.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "tools/follow_session.h"
#include "tools/live_node.h"
#include "tools/recipe.h"
#include "tools/run_options.h"
#include "tools/serial_backend.h"
#include "tools/shared_disks.h"

namespace understudy::tools {

namespace {

struct PrimaryCommand {
  PairOptions pair;
  RunOptions run;
};

// The first epoch, or the next one if the user insists.
uint64_t begin_reign(const PairOptions& options, PairIdentity& identity) {
  const ftlog::Lookup before = identity.arbiter->current();
  if (!before.reachable) throw UsageError(fmt::format("--arbiter {}: {}", options.arbiter, before.reason));
  if (before.reign && !options.new_reign)
    throw UsageError(fmt::format(
        "--arbiter {}: {} reigns there in epoch {}. Join it with `understudy backup`, go on from its log with "
        "`understudy recover`, or give --new-reign to depose it and start this machine from power-on",
        options.arbiter, before.reign->node, before.reign->epoch));
  const uint64_t epoch = before.reign ? before.reign->epoch + 1 : 1;
  const ftlog::Claim claim = identity.arbiter->try_acquire(epoch, identity.node);
  if (claim.verdict == ftlog::Verdict::unreachable)
    throw UsageError(fmt::format("--arbiter {}: {}", options.arbiter, claim.reason));
  if (claim.verdict == ftlog::Verdict::lost)
    throw UsageError(fmt::format("--arbiter {}: {} was faster and reigns in epoch {}", options.arbiter,
                                 claim.holder.node, claim.holder.epoch));
  return epoch;
}

// From power-on until it is over: the process's exit code, or nothing when this node is to be a backup from here on.
std::optional<int> reign(PrimaryCommand& command, PairIdentity& identity, NodeControl& control) {
  RunOptions& run = command.run;
  const bool paced = run.paced.value_or(true);
  const int64_t start_s = rtc_start(run, paced);
  MachineSetup setup = set_up_machine(run, start_s);
  const ftlog::Start start{start_s, paced ? ftlog::Pacing::paced : ftlog::Pacing::unpaced,
                           recipe_of(run, run.reboot.value_or(setup.has_firmware))};
  emu::Machine& machine = setup.pc->machine();
  primary::OutputCommit outputs(machine);
  for (size_t i = 0; i < machine.world().channel_count(); ++i) outputs.gate(static_cast<emu::ChannelId>(i), 0);
  const uint64_t epoch = begin_reign(command.pair, identity);
  spdlog::info("epoch {}: {} is live", epoch, identity.node);
  LiveNode node(command.pair, identity, control, run, setup, outputs, start);
  const int code = node.run_from_power_on(epoch);
  return command.pair.rejoin && node.superseded() ? std::nullopt : std::optional(code);
}

int primary(PrimaryCommand& command) {
  RunOptions& run = command.run;
  if (!command.pair.join.empty() && !command.pair.rejoin)
    throw UsageError("--join: a primary joins another node only with --rejoin, once it has lost its reign");
  if (run.disk_mode == DiskMode::write)
    throw UsageError(
        "--disk-mode write: the nodes of a pair never write to their images; what the guest writes is kept by both "
        "beside them");
  if (!run.from_snapshot.empty()) throw UsageError("--from-snapshot: a pair begins at power-on, or by recovery");
  command.pair.json = run.json;
  check_world(command.pair, run);
  PairIdentity identity = identify(command.pair);
  run = with_hub_disks(std::move(run), command.pair.hub, identity.hub_keys.get());
  NodeControl control(command.pair, identity);
  if (const auto code = reign(command, identity, control)) return *code;
  FollowSession session(command.pair, identity, control, run, true);
  return session.run();
}

}  // namespace

void add_primary_command(CLI::App& app, const std::function<void(std::function<int()>)>& then) {
  auto command = std::make_shared<PrimaryCommand>();
  CLI::App* sub = app.add_subcommand("primary", "Run a machine with a backup in lock step, as soon as one joins");
  add_run_options(*sub, command->run);
  add_pair_options(*sub, command->pair);
  sub->add_flag("--new-reign", command->pair.new_reign,
                "Start from power-on although the arbiter knows of a reign, which ends");
  sub->footer(
      "Examples\n"
      "  understudy primary kernel.elf --arbiter file:/shared/arbiter --log-to tcp://127.0.0.1:7001\n"
      "  understudy backup --join tcp://127.0.0.1:7001 --arbiter file:/shared/arbiter --log-to tcp://127.0.0.1:7002\n\n"
      "Exit codes, besides those of run\n"
      "  6  another node reigns: this one stopped (with --rejoin it goes on as its backup)\n"
      "  8  the backup is lost, the arbiter out of reach, and --when-unreachable says stop");
  sub->callback([command, then] { then([command] { return primary(*command); }); });
}

}  // namespace understudy::tools
