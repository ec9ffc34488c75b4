// The guest's cable in a TAP interface of the host's kernel: what the guest sends arrives at that interface, and what
// the host sends out of it arrives at the guest. Addresses, bridges and routes are the host's affair.
#pragma once

#include <string>
#include <thread>

#include "devices/host_net.h"

namespace understudy::devices {

class HostNetTap : public HostNetwork {
 public:
  // Opens the interface, or makes it if it does not exist and this process may. Throws HostNetError.
  HostNetTap(const std::string& name, FrameReceiver receiver);
  ~HostNetTap() override;
  void send(std::span<const uint8_t> frame) override;

 private:
  void serve();
  std::string name_;
  FrameReceiver receiver_;
  HostFd tap_;
  EventFd stop_;
  std::thread thread_;
};

}  // namespace understudy::devices
