// What --net says: which back end carries a network card's frames, and how. Its parts are separated by commas; a comma
// in a file's name is written twice.
#pragma once

#include <memory>
#include <string>
#include <variant>

#include "devices/host_net_socket.h"
#include "devices/host_net_user.h"
#include "tools/host_net_hub.h"

namespace understudy::tools {

struct NoNet {};
struct TapNet {
  std::string name;
};
using NetOptions = std::variant<NoNet, devices::UserNetOptions, TapNet, devices::HostNetTcp::Options,
                                devices::HostNetUdp::Options, HubNet>;

// Throws UsageError.
NetOptions parse_net(const std::string& spec);

// Throws UsageError if it is a TAP interface and cannot be had now.
void try_net(const std::string& spec);

// None for NoNet. Throws UsageError when the host refuses.
std::unique_ptr<devices::HostNetwork> open_net(const NetOptions& options, devices::FrameReceiver receiver);

}  // namespace understudy::tools
