#include "primary/output_sums.h"

#include <xxhash.h>

namespace understudy::primary {

void OutputSums::add(emu::ChannelId channel, std::span<const uint8_t> payload) {
  Sum& sum = sums_.at(channel);
  sum.bytes += payload.size();
  sum.digest = XXH3_64bits_withSeed(payload.data(), payload.size(), sum.digest);
}

std::vector<emu::ChannelId> OutputSums::take_changed() {
  std::vector<emu::ChannelId> changed;
  for (size_t i = 0; i < sums_.size(); ++i)
    if (sums_[i] != marked_[i]) changed.push_back(static_cast<emu::ChannelId>(i));
  marked_ = sums_;
  return changed;
}

}  // namespace understudy::primary
