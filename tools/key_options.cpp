#include "tools/key_options.h"

#include <CLI/CLI.hpp>

namespace understudy::tools {

void add_key_options(CLI::App& command, KeyOptions& options) {
  auto* keys = command.add_option("--key", options.secret_file,
                                  "This node's secret key file (`understudy keys new` makes one): everything is "
                                  "encrypted, and both ends prove who they are");
  command.add_option("--peer", options.peer_files, "Public key file of a node to talk to; may be repeated")
      ->type_name("FILE")
      ->allow_extra_args(false)
      ->needs(keys);
  keys->type_name("FILE");
  command.add_flag("--insecure", options.insecure,
                   "Without keys, allow addresses that other hosts reach: whoever reaches them is let in");
}

std::optional<ftlog::CurveIdentity> load_keys(const KeyOptions& options) {
  if (!options.has_keys()) return {};
  return ftlog::load_identity(options.secret_file, options.peer_files);
}

}  // namespace understudy::tools
