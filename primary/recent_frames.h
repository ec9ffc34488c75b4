// The newest frames that went to somebody, for a little while. What a replica was sent and had not logged when it died
// is lost with it, and so is what was under way on a connection that breaks: whoever comes next, or comes back, gets
// the last moments' frames again, so that nobody need wait for a retransmission. A network may duplicate frames, so
// what is known already does no harm. There is a bound: a card that is sent more than it takes at once loses the
// newest, and these are the likeliest to be unknown.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <vector>

namespace understudy::primary {

class RecentFrames {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kKeep{3};

  explicit RecentFrames(size_t most) : most_(most) {}
  void add(std::span<const uint8_t> frame, Clock::time_point now) {
    frames_.push_back({now, {frame.begin(), frame.end()}});
    while (frames_.size() > most_ || now - frames_.front().at > kKeep) frames_.pop_front();
  }
  // Oldest first; they are kept no longer.
  void take(Clock::time_point now, const std::function<void(std::span<const uint8_t>)>& call) {
    for (; !frames_.empty(); frames_.pop_front())
      if (now - frames_.front().at <= kKeep) call(frames_.front().bytes);
  }
  void clear() { frames_.clear(); }
  size_t size() const { return frames_.size(); }

 private:
  struct Frame {
    Clock::time_point at;
    std::vector<uint8_t> bytes;
  };
  size_t most_;
  std::deque<Frame> frames_;
};

}  // namespace understudy::primary
