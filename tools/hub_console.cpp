#include "tools/hub_console.h"

#include <algorithm>
#include <cassert>

namespace understudy::tools {

using primary::hub::kOutputWindow;

void HubConsole::announced(uint64_t in, uint64_t out) {
  if (!begun_) {
    begun_ = true;
    out_received_ = out_delivered_ = out;
    // What was typed before the machine was there is what it gets next.
    in_begin_ = in_send_ = in;
    return;
  }
  if (in < in_begin_) {
    // Those bytes are gone; what is here follows on what the guest has.
    counts_.lost_in += in_begin_ - in;
    in_begin_ = in;
  } else if (in > in_typed()) {
    // Bytes that came another way: the numbers go on from there.
    input_.clear();
    in_begin_ = in;
  }
  in_send_ = in;
}

std::span<const uint8_t> HubConsole::receive(uint64_t offset, std::span<const uint8_t> bytes) {
  if (offset < out_received_) {
    const uint64_t had = std::min<uint64_t>(out_received_ - offset, bytes.size());
    counts_.repeated += had;
    bytes = bytes.subspan(had);
    offset += had;
    if (bytes.empty()) return {};
  }
  const uint64_t gap = offset - out_received_;
  if (out_received_ - out_delivered_ + bytes.size() > kOutputWindow) {
    counts_.too_early += bytes.size();
    return {};
  }
  counts_.missing += gap;
  // What is missing counts as delivered: nobody shall wait for it.
  out_delivered_ += gap;
  out_received_ = offset + bytes.size();
  return bytes;
}

void HubConsole::delivered(uint64_t count) {
  out_delivered_ += count;
  assert(out_delivered_ <= out_received_);
}

void HubConsole::typed(std::span<const uint8_t> bytes) {
  assert(bytes.size() <= input_room());
  input_.insert(input_.end(), bytes.begin(), bytes.end());
}

void HubConsole::taken(uint64_t offset) {
  if (offset <= in_begin_) return;
  const uint64_t count = std::min<uint64_t>(offset - in_begin_, input_.size());
  input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(count));
  in_begin_ += count;
  in_send_ = std::max(in_send_, in_begin_);
}

HubConsole::Piece HubConsole::next_input() const {
  const size_t sent = in_send_ - in_begin_;
  const size_t count = std::min(primary::hub::kMaxConsole, input_.size() - sent);
  const auto from = input_.begin() + static_cast<std::ptrdiff_t>(sent);
  return {in_send_, {from, from + static_cast<std::ptrdiff_t>(count)}};
}

}  // namespace understudy::tools
