// A network card's cable to a hub, for a machine that runs on its own: it announces itself there as the replica of an
// epoch, and its frames go wherever the hub's Ethernet goes. When another replica has announced a later epoch, the
// cable is dead.
#pragma once

#include <optional>
#include <string>

#include "devices/host_net.h"
#include "ftlog/curve_keys.h"
#include "primary/hub_link.h"

namespace understudy::tools {

struct HubNet {
  std::string address;
  uint64_t epoch = 1;
  std::string node;  // empty: this host's name and the process
  std::string key_file, peer_file;
  bool insecure = false;
};

class HostNetHub : public devices::HostNetwork {
 public:
  // Throws devices::HostNetError, ftlog::KeyError.
  HostNetHub(const HubNet& options, devices::FrameReceiver receiver);
  void send(std::span<const uint8_t> frame) override;

 private:
  devices::FrameReceiver receiver_;
  std::optional<ftlog::CurveIdentity> keys_;
  std::optional<primary::HubLink> link_;  // goes first
};

// What a node is called that was given no name: the host's, and the process's number.
std::string default_node_name();

}  // namespace understudy::tools
