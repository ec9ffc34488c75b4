#include "devices/waiting_frames.h"

#include "devices/ethernet.h"

namespace understudy::devices {

namespace {
constexpr size_t kLengthBytes = 2;
}

bool WaitingFrames::push(std::span<const uint8_t> frame) {
  if (!is_ethernet_frame(frame) || state_.frames >= limit_) return false;
  state_.bytes.push_back(static_cast<uint8_t>(frame.size()));
  state_.bytes.push_back(static_cast<uint8_t>(frame.size() >> 8));
  state_.bytes.insert(state_.bytes.end(), frame.begin(), frame.end());
  ++state_.frames;
  return true;
}

size_t WaitingFrames::front_size() const {
  return static_cast<size_t>(state_.bytes[taken_] | state_.bytes[taken_ + 1] << 8);
}

std::span<const uint8_t> WaitingFrames::front() const {
  return std::span(state_.bytes).subspan(taken_ + kLengthBytes, front_size());
}

void WaitingFrames::pop() {
  taken_ += kLengthBytes + front_size();
  if (--state_.frames == 0) return clear();
  // Not each time: a long queue would be moved once for every frame.
  if (taken_ > state_.bytes.size() / 2) drop_taken();
}

void WaitingFrames::clear() {
  state_ = {};
  taken_ = 0;
}

void WaitingFrames::drop_taken() {
  state_.bytes.erase(state_.bytes.begin(), state_.bytes.begin() + static_cast<std::ptrdiff_t>(taken_));
  taken_ = 0;
}

void WaitingFrames::visit_state(emu::StateVisitor& visitor, std::string_view name) {
  drop_taken();
  visitor.sequence(name, state_.bytes, limit_ * (kEthernetMaxFrame + kLengthBytes));
  visitor.value(std::string(name) + "_frames", state_.frames);
  if (!visitor.is_loading()) return;
  // What a snapshot says must hold together.
  size_t at = 0;
  uint32_t frames = 0;
  while (at + kLengthBytes <= state_.bytes.size()) {
    const auto size = static_cast<size_t>(state_.bytes[at] | state_.bytes[at + 1] << 8);
    if (size < kEthernetHeader || size > kEthernetMaxFrame || at + kLengthBytes + size > state_.bytes.size()) break;
    at += kLengthBytes + size;
    ++frames;
  }
  if (at != state_.bytes.size() || frames != state_.frames) clear();
}

}  // namespace understudy::devices
