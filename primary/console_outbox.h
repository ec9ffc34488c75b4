// Console output on its way to the hub: kept, by its number in the stream since power-on, until the hub has delivered
// it, so that it can be sent again. Bounded; a piece that finds no room is refused whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

namespace understudy::primary {

class ConsoleOutbox {
 public:
  static constexpr size_t kMaxBytes = 8u << 20;

  // The number of the next byte, if nothing is kept.
  void begin(uint64_t offset);
  // False, and nothing changes, when there is no room. What was put, or delivered, before is left out; what is missing
  // before `offset` stays missing.
  bool put(uint64_t offset, std::span<const uint8_t> bytes);
  // The hub needs nothing before `offset` again.
  void delivered(uint64_t offset);
  // To be sent next: what is at `offset`, or the first thing after it.
  void send_from(uint64_t offset) { send_ = offset; }
  void clear();

  struct Piece {
    uint64_t offset = 0;
    std::span<const uint8_t> bytes;  // good until the next change
  };
  // At most this much, and nothing that ends beyond the window after what was delivered. Empty when there is nothing.
  Piece next(size_t most, uint64_t window) const;

  bool empty() const { return kept_.empty(); }
  size_t size() const { return bytes_; }
  // The first byte that is kept; without one, the next to come.
  uint64_t front() const;

 private:
  struct Run {
    uint64_t offset;
    std::vector<uint8_t> bytes;
    uint64_t end() const { return offset + bytes.size(); }
  };
  std::deque<Run> kept_;  // ascending, none empty
  size_t bytes_ = 0;      // of all runs
  uint64_t end_ = 0;      // of the last run
  uint64_t delivered_ = 0;
  uint64_t send_ = 0;
};

}  // namespace understudy::primary
