#include "devices/host_net_user.h"

#include <utility>

namespace understudy::devices {

namespace {
// Frames handed to the stack before its sockets are looked at again.
constexpr unsigned kFramesPerRound = 64;
}  // namespace

HostNetUser::HostNetUser(const UserNetOptions& options, FrameReceiver receiver)
    : stack_(options, std::move(receiver)), thread_([this] { run(); }) {}

HostNetUser::~HostNetUser() {
  stopping_.store(true);
  queue_.wake();
  thread_.join();
}

void HostNetUser::send(std::span<const uint8_t> frame) {
  if (!fits(frame))
    counters_.out_bad_size.fetch_add(1, std::memory_order_relaxed);
  else if (!queue_.push(frame))
    counters_.out_queue_full.fetch_add(1, std::memory_order_relaxed);
}

HostNetCounts HostNetUser::counts() const {
  const HostNetCounts refused = HostNetwork::counts();
  HostNetCounts counts = stack_.counts();
  counts.out_bad_size += refused.out_bad_size;
  counts.out_queue_full += refused.out_queue_full;
  return counts;
}

void HostNetUser::run() {
  std::vector<pollfd> polls;
  while (true) {
    polls.assign(1, {queue_.ready(), POLLIN, 0});
    const int wait = stack_.add_polls(polls);
    const bool failed = ::poll(polls.data(), polls.size(), wait) < 0;
    if (stopping_.load()) return;
    if (!failed && polls[0].revents != 0) take_frames();
    stack_.serve(failed ? std::span<const pollfd>() : std::span(polls).subspan(1));
  }
}

void HostNetUser::take_frames() {
  queue_.clear_ready();
  std::vector<uint8_t> frame;
  for (unsigned i = 0; i < kFramesPerRound; ++i) {
    if (!queue_.pop(frame)) return;
    stack_.send(frame);
  }
  queue_.wake();  // more may wait
}

}  // namespace understudy::devices
