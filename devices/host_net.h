// Where a NIC's frames go on the host, and where those it receives come from. A frame is an Ethernet frame from
// destination address to the end of its payload, without FCS. A back end never makes the machine wait: a frame that
// finds no room is dropped and counted, as on a wire. What a back end receives depends on the host's clock and on other
// programs; its frames are inputs like any other, and deterministic only from the door (emu/world.h) on.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "devices/host_fd.h"

namespace understudy::devices {

// An Ethernet header, and an untagged maximum frame with one VLAN tag (IEEE 802.3 clause 3.1, without FCS).
constexpr size_t kMinFrame = 14;
constexpr size_t kMaxFrame = 1518;

// A back end that cannot be set up as asked; one line.
class HostNetError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// "out" is from the guest. Every frame is in one of the counts of its direction.
struct HostNetCounts {
  uint64_t frames_out = 0, bytes_out = 0;
  uint64_t frames_in = 0, bytes_in = 0;
  uint64_t out_bad_size = 0;    // shorter than a header or longer than kMaxFrame
  uint64_t out_queue_full = 0;  // the host is slower than the guest
  uint64_t out_no_link = 0;     // no peer, or an interface that is down
  uint64_t out_refused = 0;     // by a limit of the back end
  uint64_t in_bad_size = 0;
  uint64_t in_queue_full = 0;  // the guest is slower than the host
  uint64_t links_cut = 0;      // connections closed because the peer broke the protocol
};

// Takes a received frame, on the back end's thread; false when there is no room for it.
using FrameReceiver = std::function<bool(std::span<const uint8_t>)>;

class HostNetwork {
 public:
  HostNetwork() = default;
  HostNetwork(const HostNetwork&) = delete;
  HostNetwork& operator=(const HostNetwork&) = delete;
  virtual ~HostNetwork() = default;
  // From one thread. Does not block.
  virtual void send(std::span<const uint8_t> frame) = 0;
  // Any thread.
  virtual HostNetCounts counts() const;

 protected:
  struct Counters {
    std::atomic<uint64_t> frames_out{0}, bytes_out{0}, frames_in{0}, bytes_in{0}, out_bad_size{0}, out_queue_full{0},
        out_no_link{0}, out_refused{0}, in_bad_size{0}, in_queue_full{0}, links_cut{0};
  };
  static bool fits(std::span<const uint8_t> frame) { return frame.size() >= kMinFrame && frame.size() <= kMaxFrame; }
  void count_out(size_t bytes);
  // Checks a frame's size, hands it on, counts.
  void receive(std::span<const uint8_t> frame, const FrameReceiver& receiver);

  Counters counters_;
};

// Frames on their way from the machine's thread to a back end's. Bounded; ready() can be polled for input.
class FrameQueue {
 public:
  static constexpr size_t kMaxFrames = 1024;

  // False when kMaxFrames wait already.
  bool push(std::span<const uint8_t> frame);
  // Takes the oldest; false when none waits.
  bool pop(std::vector<uint8_t>& frame);
  // Readable when a frame has come that none waited before, or after wake(): who stops before the last frame wakes
  // himself.
  int ready() const { return event_.fd(); }
  // From any thread: ends the other side's poll().
  void wake() { event_.notify(); }
  // Before looking for frames: forgets what made ready() readable.
  void clear_ready() { event_.clear(); }

 private:
  std::mutex mutex_;
  std::deque<std::vector<uint8_t>> frames_;
  EventFd event_;
};

}  // namespace understudy::devices
