// How a user names a disk that lies outside of the machine, in place of an image: by its server (a URI of NBD, or the
// path of the server's Unix socket), or, for the nodes of a pair, as the hub's disk (hub:NAME).
#pragma once

#include <optional>
#include <string>

#include "ftlog/curve_keys.h"
#include "tools/run_options.h"

namespace understudy::tools {

bool is_shared_disk(const std::string& disk);
// NAME of hub:NAME.
std::optional<std::string> hub_disk(const std::string& disk);

// For a machine on its own: turns sockets into URIs, and asks each server how large its disk is. Throws UsageError,
// devices::NbdError.
RunOptions with_disk_servers(RunOptions options);

// For a node of a pair: asks the hub. `keys`: see primary::HubLink. Throws UsageError, primary::HubLinkError.
RunOptions with_hub_disks(RunOptions options, const std::string& hub, const ftlog::CurveIdentity* keys);

// What is known of a disk. Throws UsageError where nobody has asked.
SharedShape shape_of(const RunOptions& options, const std::string& disk);

}  // namespace understudy::tools
