#include "tools/pair_options.h"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <random>
#include <set>

#include "ftlog/recording.h"
#include "primary/moment.h"
#include "tools/config_file.h"
#include "tools/node_names.h"
#include "tools/serial_backend.h"

namespace understudy::tools {

namespace {

// Each way to a node that may be live takes two threads while it is tried.
constexpr size_t kMostWays = 32;

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == 0) return "node";
  return name.data();
}

}  // namespace

std::string build_name() {
  static const std::string name = [] { return fmt::format("{:016x}", ftlog::sum_file("/proc/self/exe").checksum); }();
  return name;
}

void add_pair_options(CLI::App& command, PairOptions& o) {
  auto* pair = command.add_option_group("The pair");
  pair->add_option("--log-to", o.listen,
                   "Where a backup can join this node while it is live: tcp://HOST:PORT (* for any port) or ipc://PATH")
      ->type_name("ADDRESS");
  auto* join = pair->add_option("--join", o.join,
                                "Where the live node may be; several are asked at once, and the first that answers as "
                                "a live node of this machine is joined")
                   ->type_name("ADDRESS")
                   ->delimiter(',');
  pair->add_flag("--rejoin", o.rejoin,
                 "A node that has lost its reign, or handed it over, becomes a backup again and joins whoever of "
                 "--join is live, instead of ending")
      ->needs(join);
  pair->add_option("--arbiter", o.arbiter,
                   "Who decides which node may be live: file:DIRECTORY on a disk that all nodes share, or "
                   "etcd:http://HOST:PORT[,...][/PREFIX]")
      ->type_name("ARBITER")
      ->required();
  pair->add_option("--node", o.node, "This node's name in logs and at the arbiter [the host's name]")
      ->type_name("NAME");
  pair->add_option("--timeout", o.timeout_ms, "Milliseconds of silence after which the other side is given up")
      ->check(CLI::Range(20u, 600'000u))
      ->capture_default_str();
  pair->add_option("--lag", o.lag_ms, "Milliseconds of computing that the backup may be behind; the primary slows down")
      ->check(CLI::Range(10u, 600'000u))
      ->capture_default_str();
  pair->add_option("--give-up", o.give_up_ms,
                   "Milliseconds after which a machine that does not move counts as failed, although its process still "
                   "answers: the primary gives up a backup that stays behind, a backup a primary; 0: never")
      ->check(CLI::Range(0u, 3'600'000u))
      ->capture_default_str();
  pair->add_option("--arbiter-timeout", o.arbiter_timeout_ms,
                   "Milliseconds after which the arbiter counts as out of reach")
      ->check(CLI::Range(50u, 60'000u))
      ->capture_default_str();
  pair->add_option("--when-unreachable", o.unreachable,
                   "If the other side is silent and the arbiter out of reach: wait (outputs stand still) or stop")
      ->check(CLI::IsMember({"wait", "stop"}))
      ->capture_default_str();
  pair->add_option("--log", o.log,
                   "A folder for the log as this node has it: each stint of the node is a recording in it")
      ->type_name("DIR");
  pair->add_flag(
      "--durable", o.durable,
      "Nothing leaves before its log is on the disk too, so that losing all nodes at once loses nothing that a "
      "client saw (needs --log)");
  pair->add_option("--snapshot-every", o.snapshot_every_minstr,
                   "With --log: million instructions between snapshots, from which recovery starts, on either node; 0: "
                   "none")
      ->type_name("MINSTR")
      ->capture_default_str();
  pair->add_option("--log-limit", o.log_limit_mib,
                   "With --log: MiB of a recording in it, snapshots included, after which a live node begins another "
                   "one with a snapshot of its own; a backup begins another with each snapshot")
      ->check(CLI::Range(1u, 1u << 20))
      ->type_name("MIB")
      ->capture_default_str();
  pair->add_option(
          "--keep-logs", o.keep_logs,
          "With --log: how many of the newest recordings in it are kept, at least 2; 0: all. Recovery needs the "
          "newest one that was live or in lock step")
      ->check(CLI::IsMember(std::set<unsigned>{0}) | CLI::Range(2u, 1'000'000u))
      ->type_name("N")
      ->capture_default_str();
  pair->add_option("--hub", o.hub, "The hub's address: its network and console are the service's")
      ->type_name("ADDRESS");
  pair->add_option("--hub-key", o.hub_key, "The hub's public key file, where there are keys")->type_name("FILE");
  pair->add_option("--control", o.control,
                   "Where `status` and `ctl` reach this node: ipc://PATH or tcp://127.0.0.1:PORT")
      ->type_name("ADDRESS");
  pair->add_option("--key", o.key, "This node's secret key file (understudy keys)")->type_name("FILE");
  pair->add_option("--peer", o.peers, "A public key file of a node to talk to; may be repeated")->type_name("FILE");
  pair->add_flag("--insecure", o.insecure, "Allow addresses outside of this host without keys");
  pair->add_option("--log-level", o.log_level, "What is said on standard error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
  add_config_option(command);
  pair->add_option("--kill-at", o.kill_at,
                   "For tests: this process kills itself at a moment of the protocol, NAME[:COUNT]")
      ->type_name("MOMENT");
  pair->add_option("--hang-at", o.hang_at, "For tests: as --kill-at, but the thread that gets there never goes on")
      ->type_name("MOMENT")
      ->excludes("--kill-at");
}

PairIdentity identify(const PairOptions& options) {
  auto logger = spdlog::get("pair");
  if (!logger) logger = spdlog::stderr_color_mt("pair");
  spdlog::set_default_logger(logger);
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ %v");
  spdlog::set_level(spdlog::level::from_str(options.log_level));
  spdlog::flush_on(spdlog::level::debug);
  try {
    if (!options.kill_at.empty()) primary::kill_at(options.kill_at);
    if (!options.hang_at.empty()) primary::hang_at(options.hang_at);
  } catch (const std::invalid_argument& error) {
    throw UsageError(fmt::format("{}; the moments are {}", error.what(), fmt::join(primary::moment_names(), ", ")));
  }
  if (options.durable && options.log.empty()) throw UsageError("--durable needs --log DIR: where the log is kept");
  PairIdentity identity;
  std::random_device random;
  identity.node = fmt::format("{}/{:08x}", options.node.empty() ? host_name() : options.node, random());
  if (!ftlog::is_node_name(identity.node))
    throw UsageError(fmt::format("--node {}: want up to 190 printable characters without blanks", options.node));
  if (!options.key.empty())
    identity.keys = std::make_unique<ftlog::CurveIdentity>(ftlog::load_identity(options.key, options.peers));
  else if (!options.peers.empty())
    throw UsageError("--peer needs --key: this node's own secret key");
  if (!options.hub.empty()) {
    ftlog::check_address(options.hub, identity.keys != nullptr, options.insecure);
    if (identity.keys && options.hub_key.empty())
      throw UsageError("--hub with --key needs --hub-key: the hub's public key");
    if (identity.keys)
      identity.hub_keys = std::make_unique<ftlog::CurveIdentity>(ftlog::load_identity(options.key, {options.hub_key}));
  }
  // An address that cannot be listened at is found before anything is claimed.
  if (!options.listen.empty()) ftlog::ChannelSocket(listening_socket(options, identity));
  identity.arbiter = ftlog::open_arbiter(options.arbiter, std::chrono::milliseconds(options.arbiter_timeout_ms));
  if (!options.log.empty()) note_node(options.log, identity.node);
  return identity;
}

ftlog::ChannelSocket::Options listening_socket(const PairOptions& options, const PairIdentity& identity) {
  ftlog::ChannelSocket::Options socket;
  socket.role = ftlog::ChannelSocket::Role::bound;
  socket.address = options.listen.empty() ? "ipc://*" : options.listen;
  socket.name = identity.node;
  if (identity.keys) socket.keys = *identity.keys;
  ftlog::check_address(socket.address, identity.keys != nullptr, options.insecure);
  return socket;
}

std::vector<ftlog::ChannelSocket::Options> joining_sockets(const PairOptions& options, const PairIdentity& identity) {
  std::vector<ftlog::ChannelSocket::Options> sockets;
  static const std::vector<std::string> kNoKeys(1);
  if (identity.keys && identity.keys->peers.empty())
    throw UsageError("--key needs --peer: the public key of the node to join");
  const std::vector<std::string>& peers = identity.keys ? identity.keys->peers : kNoKeys;
  for (size_t place = 0; place < options.join.size(); ++place)
    for (size_t key = 0; key < peers.size(); ++key) {
      if (peers.size() == options.join.size() && key != place) continue;
      ftlog::ChannelSocket::Options socket;
      socket.role = ftlog::ChannelSocket::Role::connected;
      socket.address = options.join[place];
      // A node that is reached in two ways takes them for two.
      socket.name = fmt::format("{}#{}", identity.node, sockets.size());
      ftlog::check_address(socket.address, identity.keys != nullptr, options.insecure);
      if (identity.keys) {
        socket.keys = *identity.keys;
        socket.keys->peers = {peers[key]};
      }
      sockets.push_back(std::move(socket));
    }
  if (sockets.size() > kMostWays)
    throw UsageError(fmt::format("--join and --peer: {} ways to try; give one --peer for each address, in their order",
                                 sockets.size()));
  return sockets;
}

}  // namespace understudy::tools
