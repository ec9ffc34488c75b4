#include "primary/frame_batch.h"

#include <cassert>

namespace understudy::primary::hub {

bool FrameBatch::add(std::span<const uint8_t> frame) {
  assert(frame.size() >= kMinFrame && frame.size() <= kMaxFrame);
  if (bytes_.size() + kLength + frame.size() > kMaxBytes) return false;
  bytes_.push_back(static_cast<uint8_t>(frame.size()));
  bytes_.push_back(static_cast<uint8_t>(frame.size() >> 8));
  bytes_.insert(bytes_.end(), frame.begin(), frame.end());
  ++frames_;
  return true;
}

void FrameBatch::clear() {
  bytes_.clear();
  frames_ = 0;
}

}  // namespace understudy::primary::hub
