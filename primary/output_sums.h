// What has left a machine on each of its channels so far, as numbers that two runs can compare: how many bytes, and a
// running digest that depends on where one output ends and the next begins.
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

  explicit OutputSums(size_t channels) : sums_(channels), marked_(channels) {}
  void add(emu::ChannelId channel, std::span<const uint8_t> payload);
  void set(emu::ChannelId channel, const Sum& sum) { sums_.at(channel) = sum; }
  const Sum& operator[](size_t channel) const { return sums_[channel]; }
  size_t size() const { return sums_.size(); }
  // The channels whose sum has changed since the last call.
  std::vector<emu::ChannelId> take_changed();

 private:
  std::vector<Sum> sums_, marked_;
};

}  // namespace understudy::primary
