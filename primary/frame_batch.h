// Ethernet frames one after the other, each behind its length in two bytes (the lower first): frames that leave in one
// go travel in one message, which wakes the other end once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace understudy::primary::hub {

constexpr size_t kMinFrame = 14, kMaxFrame = 1518;  // Ethernet, without the frame check sequence

class FrameBatch {
 public:
  // A TCP window without scaling, and its headers.
  static constexpr size_t kMaxBytes = 96u << 10;

  // False when there is no room: what is in it has to go first. kMinFrame to kMaxFrame bytes.
  bool add(std::span<const uint8_t> frame);
  void clear();
  std::span<const uint8_t> bytes() const { return bytes_; }
  size_t frames() const { return frames_; }
  size_t frame_bytes() const { return bytes_.size() - frames_ * kLength; }

  static constexpr size_t kLength = 2;  // of a frame's length

 private:
  std::vector<uint8_t> bytes_;
  size_t frames_ = 0;
};

// The frames of a batch, by `call(frame)`, as far as it is one: true at its end.
template <typename Call>
bool for_each_frame(std::span<const uint8_t> batch, Call&& call) {
  while (batch.size() > FrameBatch::kLength) {
    const size_t size = batch[0] | static_cast<size_t>(batch[1]) << 8;
    if (size < kMinFrame || size > kMaxFrame || size > batch.size() - FrameBatch::kLength) return false;
    call(batch.subspan(FrameBatch::kLength, size));
    batch = batch.subspan(FrameBatch::kLength + size);
  }
  return batch.empty();
}

}  // namespace understudy::primary::hub
