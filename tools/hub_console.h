// The hub's half of the console: which bytes of either stream it has, has passed on and still keeps. Bytes are numbered
// from the guest's power-on; the guest's side of the count is the truth, the hub's follows it.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "primary/hub_protocol.h"

namespace understudy::tools {

class HubConsole {
 public:
  // A new live replica, or the same again on a new connection: its guest has had the input before `in` and will send
  // output from `out` on.
  void announced(uint64_t in, uint64_t out);

  // --- output, from the guest
  // The part of a piece that is new; empty when there is none, or when it lies further ahead than the hub has room for.
  std::span<const uint8_t> receive(uint64_t offset, std::span<const uint8_t> bytes);
  // So many bytes more have left the hub.
  void delivered(uint64_t count);
  uint64_t out_received() const { return out_received_; }
  uint64_t out_delivered() const { return out_delivered_; }

  // --- input, to the guest
  size_t input_room() const { return primary::hub::kInputWindow - input_.size(); }
  // At most input_room() bytes.
  void typed(std::span<const uint8_t> bytes);
  // The live replica will not ask for bytes before `offset` again.
  void taken(uint64_t offset);
  struct Piece {
    uint64_t offset = 0;
    std::vector<uint8_t> bytes;
  };
  // To be sent next to the live replica; empty when all was.
  Piece next_input() const;
  void input_sent(size_t count) { in_send_ += count; }
  uint64_t in_taken() const { return in_begin_; }
  uint64_t in_typed() const { return in_begin_ + input_.size(); }

  struct Counts {
    uint64_t repeated = 0;   // output that the hub had already
    uint64_t missing = 0;    // output that never came: others after it did
    uint64_t too_early = 0;  // output beyond the window
    uint64_t lost_in = 0;    // input that the guest needs and nobody has any more
  };
  const Counts& counts() const { return counts_; }

 private:
  bool begun_ = false;  // there was an announcement
  uint64_t out_received_ = 0, out_delivered_ = 0;
  std::deque<uint8_t> input_;  // from in_begin_ on
  uint64_t in_begin_ = 0, in_send_ = 0;
  Counts counts_;
};

}  // namespace understudy::tools
