// Ethernet frames that wait their turn, as part of a network card's state: a bounded queue.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "emu/state_visitor.h"

namespace understudy::devices {

class WaitingFrames {
 public:
  explicit WaitingFrames(uint32_t limit) : limit_(limit) {}

  bool empty() const { return state_.frames == 0; }
  // False, and nothing is taken, when the queue is full or this is no frame.
  bool push(std::span<const uint8_t> frame);
  std::span<const uint8_t> front() const;
  void pop();
  void clear();

  // As the fields NAME and NAME_frames.
  void visit_state(emu::StateVisitor& visitor, std::string_view name);

 private:
  struct State {
    // Each after its length in two bytes, low first.
    std::vector<uint8_t> bytes;
    uint32_t frames = 0;
  };
  size_t front_size() const;
  void drop_taken();

  State state_;
  size_t taken_ = 0;  // bytes before the front: gone before anybody looks
  const uint32_t limit_;
};

}  // namespace understudy::devices
