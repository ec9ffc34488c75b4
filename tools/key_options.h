// The options by which a command that opens ZeroMQ sockets learns its keys: --key, --peer, --insecure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ftlog/curve_keys.h"

namespace CLI {
class App;
}

namespace understudy::tools {

struct KeyOptions {
  std::string secret_file;
  std::vector<std::string> peer_files;
  bool insecure = false;

  bool has_keys() const { return !secret_file.empty(); }
};

void add_key_options(CLI::App& command, KeyOptions& options);
// None without --key. Throws ftlog::KeyError.
std::optional<ftlog::CurveIdentity> load_keys(const KeyOptions& options);

}  // namespace understudy::tools
