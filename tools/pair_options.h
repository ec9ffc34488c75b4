// What a node of a pair was asked to be, besides its machine.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ftlog/arbiter.h"
#include "ftlog/channel_socket.h"
#include "ftlog/curve_keys.h"

namespace CLI {
class App;
}

namespace understudy::tools {

struct PairOptions {
  std::string listen;             // where backups join this node, while it is live
  std::vector<std::string> join;  // where the live node may be
  bool rejoin = false;            // a node that has lost its reign becomes a backup again
  std::string arbiter;
  std::string node;                // empty: the host's name
  std::string key;                 // secret file; empty: no keys
  std::vector<std::string> peers;  // public files
  bool insecure = false;
  unsigned timeout_ms = 250;
  unsigned arbiter_timeout_ms = 1000;
  unsigned lag_ms = 100;
  unsigned give_up_ms = 5000;
  bool durable = false;
  std::string log;  // a folder for the log that this node keeps; empty: none
  uint64_t snapshot_every_minstr = 2000;
  uint64_t log_limit_mib = 512;
  unsigned keep_logs = 3;
  std::string unreachable = "wait";
  std::string hub, hub_key;
  std::string control;
  std::string json;
  std::string log_level = "info";
  std::string kill_at, hang_at, inject_ram_flip;
  bool new_reign = false;
};

void add_pair_options(CLI::App& command, PairOptions& options);

// Everything a node is that follows from its options alone.
struct PairIdentity {
  std::string node;                                // unique to this process
  std::unique_ptr<ftlog::CurveIdentity> keys;      // with the other nodes as peers
  std::unique_ptr<ftlog::CurveIdentity> hub_keys;  // with the hub as the peer
  std::unique_ptr<ftlog::Arbiter> arbiter;
};
// Throws UsageError, ftlog::KeyError, ftlog::ArbiterError, and what note_node() throws. Sets up logging.
PairIdentity identify(const PairOptions& options);
// Both check the address. Throw ftlog::KeyError.
ftlog::ChannelSocket::Options listening_socket(const PairOptions& options, const PairIdentity& identity);
// One for each address of --join, with keys each with its peer's (given in the same order), or with every peer's where
// there are not as many. Throws UsageError too.
std::vector<ftlog::ChannelSocket::Options> joining_sockets(const PairOptions& options, const PairIdentity& identity);
// A digest of this program's own file: two nodes run the same program, or do not talk.
std::string build_name();

}  // namespace understudy::tools
