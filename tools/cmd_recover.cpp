#include "tools/cmd_recover.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "ftlog/log_reader.h"
#include "ftlog/recording.h"
#include "tools/follow_session.h"
#include "tools/live_node.h"
#include "tools/node_names.h"
#include "tools/recipe.h"
#include "tools/replay_session.h"
#include "tools/run_options.h"

namespace understudy::tools {

namespace {

struct RecoverCommand {
  PairOptions pair;
  RunOptions run;
  bool force = false;
};

// A log, and what its end knows.
struct LogEnd {
  std::string stint;
  uint64_t epoch = 0;
  bool finished = false;
};

LogEnd end_of(const std::string& directory) {
  LogEnd end{directory, 0, false};
  ftlog::LogReader reader(directory);
  for (ftlog::LogEntry entry; reader.next(entry);) {
    if (const auto* epoch = std::get_if<ftlog::Epoch>(&entry.payload)) end.epoch = epoch->epoch;
    end.finished = std::holds_alternative<ftlog::End>(entry.payload);
  }
  return end;
}

// The newest stint that has an epoch. One without was never counted on: its node had not got as far as lock step, or
// died between winning an epoch and the first word of it in its log. Then the stint before has everything.
LogEnd newest_log(const std::string& folder) {
  for (const std::string& stint : stints(folder)) {
    if (ftlog::is_being_recorded(stint))
      throw UsageError(fmt::format("{}: a process still writes this log and may be live: stop it first", stint));
    try {
      LogEnd end = end_of(stint);
      if (end.epoch != 0) return end;
      spdlog::info("{}: its node was not live or in lock step yet; looking further back", stint);
    } catch (const ftlog::LogError& error) {
      // A damaged log that may have counted is not passed over.
      if (std::filesystem::exists(ftlog::segment_path(stint, 1))) throw;
    }
  }
  throw UsageError(fmt::format("{}: holds no log of a node that was live or in lock step", folder));
}

// The next epoch; refuses a log that another node's reign has outlived. Epochs that this log knows nothing of are no
// harm if the last of them was won by a node that kept its log here: whoever wins an epoch was live or in lock step in
// the one before, and a node that is says so in its log first. So nobody else can have been live since, and as what
// leaves a node follows its epoch in the log, nothing has left.
uint64_t begin_reign(const RecoverCommand& command, const PairIdentity& identity, const LogEnd& end) {
  const std::string& arbiter = command.pair.arbiter;
  const ftlog::Lookup before = identity.arbiter->current();
  if (!before.reachable) throw UsageError(fmt::format("--arbiter {}: {}", arbiter, before.reason));
  const uint64_t reigned = before.reign ? before.reign->epoch : 0;
  const bool own = before.reign && reigned > end.epoch && has_node(command.pair.log, before.reign->node);
  if (end.epoch != reigned && !own && !command.force)
    throw UsageError(fmt::format(
        "{}: this log is of epoch {}, but {} reigned last, in epoch {}, and kept no log in {}: what clients saw since "
        "is in that node's log (or, if that is lost for good, give --force)",
        end.stint, end.epoch, before.reign ? before.reign->node : "nobody", reigned, command.pair.log));
  if (own)
    spdlog::info("{} won epoch {} and died before its log said so: this log has everything", before.reign->node,
                 reigned);
  const ftlog::Claim claim = identity.arbiter->try_acquire(reigned + 1, identity.node);
  if (claim.verdict == ftlog::Verdict::unreachable)
    throw UsageError(fmt::format("--arbiter {}: {}", arbiter, claim.reason));
  if (claim.verdict == ftlog::Verdict::lost)
    throw UsageError(
        fmt::format("--arbiter {}: {} reigns in epoch {}: join it", arbiter, claim.holder.node, claim.holder.epoch));
  return reigned + 1;
}

// The process's exit code, or nothing when this node is to be a backup from here on.
std::optional<int> recover(RecoverCommand& command, PairIdentity& identity, NodeControl& control) {
  const LogEnd end = newest_log(command.pair.log);
  if (end.finished)
    throw UsageError(fmt::format("{}: its machine ended by itself: there is nothing to recover", end.stint));
  ReplaySession session(end.stint);
  // Slower, but the same machine: the log has what came after any of them.
  session.start_near(session.last_icount(),
                     [](const std::string& why) { spdlog::warn("{}; looking further back", why); });
  if (!session.setup().shared.empty() && command.pair.hub.empty())
    throw UsageError(fmt::format("{}: its machine has a disk of the hub's: give --hub", end.stint));
  // Console output since that point leaves once more: a hub knows what it has had. Frames that a client lacks are sent
  // again by the guest's protocols.
  emu::Machine& machine = session.machine();
  const emu::ChannelId console = machine.world().channel("serial0");
  primary::OutputCommit outputs(machine);
  outputs.gate(console, session.replayer().sums()[console].bytes);
  session.show_progress(command.pair.log_level == "debug");
  install_signal_handlers();
  spdlog::info("replaying {} from instruction {} to {}", end.stint, machine.icount(), session.last_icount());
  if (session.run_to(UINT64_MAX) == backup::ReplayStop::diverged) {
    spdlog::error("{} cannot be replayed: {}", end.stint, session.replayer().divergence()->what);
    return exit_code::kDiverged;
  }
  if (interrupted()) return exit_code::kQuit;
  LiveNode::Takeover takeover;
  takeover.last_heard = takeover.given_up = takeover.replayed = std::chrono::steady_clock::now();
  takeover.sums = session.replayer().sums();
  takeover.stopped = session.replayer().stopped();
  takeover.log = {session.replayer().position() + 1, machine.icount(), machine.now_ns(),
                  machine.time().ps_per_instruction()};
  takeover.on_live = [] {};
  const ftlog::Start start = session.start();
  const RunOptions run = with_ends(session.options(), command.run);
  session.end_replay();
  for (size_t i = 0; i < takeover.sums.size(); ++i)
    if (i != console) outputs.gate(static_cast<emu::ChannelId>(i), takeover.sums[i].bytes);
  takeover.epoch = begin_reign(command, identity, end);
  takeover.own = std::make_unique<StintLog>(command.pair.log, session.setup());
  takeover.own->begin(start, takeover.sums);
  spdlog::info("epoch {}: {} recovers the machine at instruction {}", takeover.epoch, identity.node, machine.icount());
  LiveNode node(command.pair, identity, control, run, session.setup(), outputs, start);
  const int code = node.run_from_takeover(std::move(takeover));
  return command.pair.rejoin && node.superseded() ? std::nullopt : std::optional(code);
}

int recover_and_stand_by(RecoverCommand& command) {
  command.pair.json = command.run.json;
  if (command.pair.log.empty()) throw UsageError("recover needs --log DIR: the log to go on from");
  if (!command.pair.join.empty() && !command.pair.rejoin)
    throw UsageError("--join: a recovered node joins another only with --rejoin, once it has lost its reign");
  check_world(command.pair, command.run);
  PairIdentity identity = identify(command.pair);
  NodeControl control(command.pair, identity);
  if (const auto code = recover(command, identity, control)) return *code;
  FollowSession session(command.pair, identity, control, command.run, false);
  return session.run();
}

}  // namespace

void add_recover_command(CLI::App& app, const std::function<void(std::function<int()>)>& then) {
  auto command = std::make_shared<RecoverCommand>();
  CLI::App* sub = app.add_subcommand("recover", "Go on from a node's log after all nodes were lost");
  add_live_options(*sub, command->run);
  add_pair_options(*sub, command->pair);
  sub->add_flag("--force", command->force, "Go on from a log that is not of the last epoch: loses what came after");
  sub->footer(
      "With --durable on all nodes, the log of whichever node was live or in lock step last holds everything that a\n"
      "client saw. The arbiter knows who reigned last: if it was another node than those that kept their log here, in\n"
      "an epoch that this log does not know, that node may have been live since, and recovery is refused.\n\n"
      "Example\n"
      "  understudy recover --log /var/lib/node --durable --arbiter file:/shared/arbiter --log-to "
      "tcp://127.0.0.1:7001");
  sub->callback([command, then] { then([command] { return recover_and_stand_by(*command); }); });
}

}  // namespace understudy::tools
