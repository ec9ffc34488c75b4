// What has left a machine on each of its channels so far, as numbers that two runs can compare: how many bytes, and a
// running digest that depends on where one output ends and the next begins. And how many bytes came in, so that a
// machine's successor knows where the streams stand.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "emu/world.h"

namespace understudy::primary {

class OutputSums {
 public:
  struct Sum {
    uint64_t bytes = 0;
    uint64_t digest = 0;
    bool operator==(const Sum&) const = default;
  };

  explicit OutputSums(size_t channels) : sums_(channels), marked_(channels), inputs_(channels) {}
  void add(emu::ChannelId channel, std::span<const uint8_t> payload);
  void add_input(emu::ChannelId channel, size_t bytes) { inputs_.at(channel) += bytes; }
  uint64_t input_bytes(size_t channel) const { return inputs_[channel]; }
  void set_input_bytes(emu::ChannelId channel, uint64_t bytes) { inputs_.at(channel) = bytes; }
  void set(emu::ChannelId channel, const Sum& sum) { sums_.at(channel) = sum; }
  const Sum& operator[](size_t channel) const { return sums_[channel]; }
  size_t size() const { return sums_.size(); }
  // The channels whose sum has changed since the last call.
  std::vector<emu::ChannelId> take_changed();

 private:
  std::vector<Sum> sums_, marked_;
  std::vector<uint64_t> inputs_;
};

}  // namespace understudy::primary
