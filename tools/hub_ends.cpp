#include "tools/hub_ends.h"

#include <algorithm>

namespace understudy::tools {

namespace {
constexpr size_t kMaxTyped = 16u << 10;
}

HubEnds::HubEnds(primary::HubLink::Options options, emu::Machine& machine, primary::OutputCommit& outputs,
                 const primary::OutputSums& sums, Wakeup& wakeup,
                 std::function<void(uint64_t, const std::string&)> fenced)
    : machine_(machine),
      outputs_(outputs),
      wakeup_(wakeup),
      console_(machine.world().channel("serial0")),
      net_(machine.world().find_channel("net0")),
      accepted_(sums.input_bytes(console_)),
      seen_(accepted_),
      link_(
          std::move(options),
          [this](std::span<const uint8_t> frame) {
            if (!net_ || !machine_.world().post(*net_, frame)) return false;
            wakeup_.notify();
            return true;
          },
          [this](std::span<const uint8_t> bytes) { return typed(bytes); }, std::move(fenced)) {
  outputs_.connect(
      console_, [this](uint64_t offset, std::span<const uint8_t> bytes) { return link_.send_console(offset, bytes); });
  if (net_)
    outputs_.connect(*net_, [this](uint64_t, std::span<const uint8_t> frame) {
      link_.send_frame(frame);
      return true;
    });
}

HubEnds::~HubEnds() {
  outputs_.connect(console_, {});
  if (net_) outputs_.connect(*net_, {});
}

void HubEnds::announce(uint64_t epoch) {
  // With the lock, so that nothing typed comes in between the count and the announcement.
  const std::lock_guard lock(mutex_);
  link_.announce(epoch, accepted_, outputs_.next_offset(console_));
}

bool HubEnds::typed(std::span<const uint8_t> bytes) {
  {
    const std::lock_guard lock(mutex_);
    if (input_.size() + bytes.size() > kMaxTyped) return false;
    input_.insert(input_.end(), bytes.begin(), bytes.end());
    accepted_ += bytes.size();
  }
  wakeup_.notify();
  return true;
}

std::vector<uint8_t> HubEnds::take(size_t most) {
  const std::lock_guard lock(mutex_);
  const auto count = static_cast<std::ptrdiff_t>(std::min(most, input_.size()));
  std::vector<uint8_t> bytes(input_.begin(), input_.begin() + count);
  input_.erase(input_.begin(), input_.begin() + count);
  return bytes;
}

void HubEnds::between_slices(const primary::OutputSums& sums, uint64_t appended, uint64_t committed) {
  if (const uint64_t in = sums.input_bytes(console_); in != seen_) {
    seen_ = in;
    taken_.emplace_back(appended, in);
  }
  while (!taken_.empty() && taken_.front().first <= committed) {
    link_.console_taken(taken_.front().second);
    taken_.pop_front();
  }
  outputs_.retry();
}

}  // namespace understudy::tools
