#include "primary/lease.h"

#include <algorithm>
#include <ctime>
#include <utility>

namespace understudy::primary {

Lease::Lease(std::chrono::milliseconds timeout, std::function<uint64_t()> now_ns)
    : now_ns_(std::move(now_ns)),
      begin_ns_(now_ns_()),
      length_ns_(static_cast<uint64_t>(std::chrono::nanoseconds(timeout).count()) / 8 * 7) {}

uint64_t Lease::clock_ns() {
  timespec time{};
  clock_gettime(CLOCK_BOOTTIME, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

// Rounded down: earlier than it is can only shorten the lease.
uint64_t Lease::stamp() const { return 1 + (now_ns_() - begin_ns_) / kStampNs; }

void Lease::renew(uint64_t stamp) {
  if (stamp == 0 || stamp > this->stamp()) return;
  const uint64_t until = begin_ns_ + (stamp - 1) * kStampNs + length_ns_;
  uint64_t before = until_ns_;
  while (before < until && !until_ns_.compare_exchange_weak(before, until)) {
  }
}

}  // namespace understudy::primary
