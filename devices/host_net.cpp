#include "devices/host_net.h"

namespace understudy::devices {

namespace {
constexpr auto kRelaxed = std::memory_order_relaxed;
}

HostNetCounts HostNetwork::counts() const {
  const Counters& c = counters_;
  return {.frames_out = c.frames_out.load(kRelaxed),
          .bytes_out = c.bytes_out.load(kRelaxed),
          .frames_in = c.frames_in.load(kRelaxed),
          .bytes_in = c.bytes_in.load(kRelaxed),
          .out_bad_size = c.out_bad_size.load(kRelaxed),
          .out_queue_full = c.out_queue_full.load(kRelaxed),
          .out_no_link = c.out_no_link.load(kRelaxed),
          .out_refused = c.out_refused.load(kRelaxed),
          .in_bad_size = c.in_bad_size.load(kRelaxed),
          .in_queue_full = c.in_queue_full.load(kRelaxed),
          .links_cut = c.links_cut.load(kRelaxed)};
}

void HostNetwork::count_out(size_t bytes) {
  counters_.frames_out.fetch_add(1, kRelaxed);
  counters_.bytes_out.fetch_add(bytes, kRelaxed);
}

void HostNetwork::receive(std::span<const uint8_t> frame, const FrameReceiver& receiver) {
  if (!fits(frame)) {
    counters_.in_bad_size.fetch_add(1, kRelaxed);
  } else if (!receiver(frame)) {
    counters_.in_queue_full.fetch_add(1, kRelaxed);
  } else {
    counters_.frames_in.fetch_add(1, kRelaxed);
    counters_.bytes_in.fetch_add(frame.size(), kRelaxed);
  }
}

bool FrameQueue::push(std::span<const uint8_t> frame) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    if (frames_.size() >= kMaxFrames) return false;
    first = frames_.empty();
    frames_.emplace_back(frame.begin(), frame.end());
  }
  if (first) event_.notify();
  return true;
}

bool FrameQueue::pop(std::vector<uint8_t>& frame) {
  const std::lock_guard lock(mutex_);
  if (frames_.empty()) return false;
  frame = std::move(frames_.front());
  frames_.pop_front();
  return true;
}

}  // namespace understudy::devices
