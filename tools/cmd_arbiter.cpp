#include "tools/cmd_arbiter.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "ftlog/arbiter.h"
#include "tools/run_session.h"

namespace understudy::tools {

namespace {

using ftlog::Verdict;
using Json = nlohmann::ordered_json;

struct ArbiterCommand {
  std::string spec, node;
  uint64_t epoch = 0, timeout_ms = 5000;
  bool json = false;
};

Json to_json(const ftlog::Reign& reign) { return {{"epoch", reign.epoch}, {"node", reign.node}}; }

int unreachable(const std::string& reason) {
  fmt::print(stderr, "understudy: {}\n", reason);
  return exit_code::kUnreachable;
}

int claim(const ArbiterCommand& command, ftlog::Arbiter& arbiter) {
  const ftlog::Claim claim = arbiter.try_acquire(command.epoch, command.node);
  if (command.json) {
    Json json = {{"verdict", to_string(claim.verdict)}};
    if (claim.verdict == Verdict::lost) json["holder"] = to_json(claim.holder);
    if (claim.verdict == Verdict::unreachable) json["reason"] = claim.reason;
    fmt::print("{}\n", json.dump());
  }
  switch (claim.verdict) {
    case Verdict::won:
      if (!command.json) fmt::print("won: epoch {} is {}'s\n", command.epoch, command.node);
      return 0;
    case Verdict::lost:
      if (!command.json) fmt::print("lost: epoch {} is {}'s\n", claim.holder.epoch, claim.holder.node);
      return exit_code::kLost;
    case Verdict::unreachable:
      break;
  }
  return unreachable(claim.reason);
}

int show(const ArbiterCommand& command, ftlog::Arbiter& arbiter) {
  const ftlog::Lookup lookup = arbiter.current();
  if (command.json) {
    Json json = {{"reachable", lookup.reachable}, {"reign", nullptr}};
    if (lookup.reign) json["reign"] = to_json(*lookup.reign);
    if (!lookup.reachable) json["reason"] = lookup.reason;
    fmt::print("{}\n", json.dump());
  }
  if (!lookup.reachable) return unreachable(lookup.reason);
  if (command.json) return 0;
  if (lookup.reign)
    fmt::print("epoch {} is {}'s\n", lookup.reign->epoch, lookup.reign->node);
  else
    fmt::print("no reign yet\n");
  return 0;
}

int run(const ArbiterCommand& command) {
  try {
    const auto arbiter = ftlog::open_arbiter(command.spec, std::chrono::milliseconds(command.timeout_ms));
    return command.epoch != 0 ? claim(command, *arbiter) : show(command, *arbiter);
  } catch (const ftlog::ArbiterError& error) {
    throw UsageError(error.what());
  }
}

}  // namespace

void add_arbiter_command(CLI::App& app, const std::function<void(std::function<int()>)>& then) {
  auto options = std::make_shared<ArbiterCommand>();
  CLI::App* command = app.add_subcommand("arbiter", "Show which node may be live, or claim an epoch for one");
  command
      ->add_option(
          "SPEC", options->spec,
          "file:DIRECTORY on a disk that all nodes share, or etcd:http://HOST:PORT[,http://HOST:PORT...][/PREFIX]")
      ->required();
  auto* epoch = command->add_option("--acquire", options->epoch, "Claim this epoch: one node wins it, for ever")
                    ->type_name("EPOCH")
                    ->check(CLI::Range(uint64_t{1}, UINT64_MAX));
  auto* node = command->add_option("--node", options->node, "Whose claim it is; a name that no other process uses");
  epoch->needs(node);
  node->needs(epoch);
  command->add_option("--timeout", options->timeout_ms, "Milliseconds to wait for the arbiter")
      ->check(CLI::Range(uint64_t{1}, uint64_t{3'600'000}))
      ->capture_default_str();
  command->add_flag("--json", options->json, "One JSON object");
  command->footer(
      "Exit code 0: won, or shown; 6: lost to another node; 8: the arbiter cannot be asked, so nothing was won as far "
      "as\n"
      "can be told (the same claim asked again tells). A claim takes the right to be live from the node that has it:\n"
      "by hand that is for tests, and for an arbiter that begins anew (--acquire 1).");
  command->callback([options, then] { then([options] { return run(*options); }); });
}

}  // namespace understudy::tools
