// The frames that the service was sent last. What a replica was sent and had not logged when it died is lost with it;
// its successor gets the last moments' frames again, so that clients need not wait for their own retransmission. A
// network may duplicate frames, so what the successor knows from the log already does no harm. No more than a card
// takes at once: the newest are the likeliest to be unknown, and a burst that overruns the card would lose just those.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <vector>

#include "devices/virtio_net.h"

namespace understudy::tools {

class RecentFrames {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kKeep{3};
  static constexpr size_t kMaxFrames = devices::VirtioNet::kMaxWaiting;

  void add(std::span<const uint8_t> frame, Clock::time_point now) {
    frames_.push_back({now, {frame.begin(), frame.end()}});
    while (frames_.size() > kMaxFrames || now - frames_.front().at > kKeep) frames_.pop_front();
  }
  // Oldest first; they are kept no longer.
  void take(Clock::time_point now, const std::function<void(std::span<const uint8_t>)>& call) {
    for (; !frames_.empty(); frames_.pop_front())
      if (now - frames_.front().at <= kKeep) call(frames_.front().bytes);
  }
  size_t size() const { return frames_.size(); }

 private:
  struct Frame {
    Clock::time_point at;
    std::vector<uint8_t> bytes;
  };
  std::deque<Frame> frames_;
};

}  // namespace understudy::tools
