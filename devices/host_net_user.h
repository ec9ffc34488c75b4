// A UserStack with a thread of its own, for a machine's network card.
#pragma once

#include <thread>

#include "devices/user_stack.h"

namespace understudy::devices {

class HostNetUser : public HostNetwork {
 public:
  // Throws HostNetError.
  HostNetUser(const UserNetOptions& options, FrameReceiver receiver);
  ~HostNetUser() override;
  void send(std::span<const uint8_t> frame) override;
  HostNetCounts counts() const override;

 private:
  void run();
  void take_frames();
  UserStack stack_;
  FrameQueue queue_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace understudy::devices
