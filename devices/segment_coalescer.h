// Makes one long TCP segment of several that follow each other, as network cards and Linux do on reception ("receive
// segment coalescing", "GRO"): whoever takes segments one by one has less to do, and acknowledges them once.
//
// Only what a receiver could not tell from the sender's having sent it in one go is put together: IPv4 without options
// or fragments, one connection, data behind data, equal acknowledgements and TCP options, no flags but ACK and PSH, all
// checksums right. Everything else goes through as it is, and nothing overtakes.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace understudy::devices {

class SegmentCoalescer {
 public:
  using Sink = std::function<void(std::span<const uint8_t> frame)>;
  // A frame that was put together has at most so many bytes.
  static constexpr size_t kMaxBytes = 32u << 10;

  explicit SegmentCoalescer(Sink sink) : sink_(std::move(sink)) {}
  // An Ethernet frame. It goes to the sink at once, or with others, flush() at the latest.
  void add(std::span<const uint8_t> frame);
  void flush();

 private:
  bool follows(std::span<const uint8_t> frame) const;

  Sink sink_;
  std::vector<uint8_t> pending_;
  bool has_grown_ = false;
};

}  // namespace understudy::devices
