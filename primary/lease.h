// How long a primary may let outputs go on its backup's word where nothing outside fences off whoever was deposed. The
// backup takes over only when it has heard nothing for the timeout, so what was sent at a moment and heard later holds
// it back until that moment and the timeout: until then the primary is the only live one, if the two clocks run equally
// fast within an eighth. The clock is one that also counts while the host sleeps. A process that was stopped finds its
// lease run out, whatever acknowledgements are waiting for it. Any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>

namespace understudy::primary {

class Lease {
 public:
  // `now_ns` stands in for the clock in tests.
  explicit Lease(std::chrono::milliseconds timeout, std::function<uint64_t()> now_ns = clock_ns);

  // To be sent along: of now, never 0.
  uint64_t stamp() const;
  // The backup has heard what carried this stamp. One that was never given out is ignored.
  void renew(uint64_t stamp);
  void end() { until_ns_ = 0; }
  bool holds() const { return now_ns_() < until_ns_; }

  static uint64_t clock_ns();

 private:
  static constexpr uint64_t kStampNs = 1'000'000;
  std::function<uint64_t()> now_ns_;
  uint64_t begin_ns_, length_ns_;
  std::atomic<uint64_t> until_ns_{0};
};

}  // namespace understudy::primary
