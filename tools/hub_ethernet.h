// The hub's Ethernet: a switch with a port for the service, whichever replica is live, and one for each back end of
// --net. The service's port never changes hands in the switch's eyes: a new live replica is at once where the old one
// was. Runs on the hub's thread, and the user network with it; other back ends' frames come through bounded queues,
// which it polls.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "devices/host_net.h"
#include "devices/host_net_switch.h"
#include "devices/pcap_writer.h"
#include "devices/user_stack.h"

namespace understudy::tools {

class HubEthernet {
 public:
  // `nets` as --net has them; `capture` is a file's name or empty: it hears the service's port, in this host's time.
  // `to_service` takes frames for the live replica. Throws UsageError.
  HubEthernet(const std::vector<std::string>& nets, const std::string& capture,
              std::function<void(std::span<const uint8_t>)> to_service);
  ~HubEthernet();

  // What is to be polled. Returns for how long, in milliseconds: -1 for ever.
  int add_items(std::vector<zmq::pollitem_t>& items);
  // Afterwards. Takes frames from the back ends.
  void serve();
  // A frame of the live replica's.
  void from_service(std::span<const uint8_t> frame);
  nlohmann::ordered_json status() const;

 private:
  struct BackEnd {
    std::string spec;
    devices::FrameQueue queue;  // to the switch; not the user network's
    devices::HostNetSwitch::Port port = 0;
    std::unique_ptr<devices::HostNetwork> net;  // goes first
  };
  void open_user(BackEnd& end, const devices::UserNetOptions& options);
  void serve_user();
  void capture(std::span<const uint8_t> frame);
  static uint64_t now_ns();

  std::function<void(std::span<const uint8_t>)> to_service_;
  std::unique_ptr<devices::PcapWriter> capture_;
  devices::HostNetSwitch switch_;
  devices::HostNetSwitch::Port service_ = 0;
  std::vector<std::unique_ptr<BackEnd>> back_ends_;
  devices::UserStack* user_ = nullptr;  // one of them
  std::vector<pollfd> user_polls_;
  bool has_more_ = false, from_service_ = false;
  std::vector<uint8_t> frame_;
};

}  // namespace understudy::tools
