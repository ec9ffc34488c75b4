// How much a live machine waits for its backup. Plain bookkeeping; times are the caller's.
#pragma once

#include <chrono>
#include <optional>

namespace understudy::tools {

class Slowdown {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kWindow{5};
  // Less than this of a window is not worth a word.
  static constexpr double kNotable = 0.1;

  explicit Slowdown(Clock::time_point now) : window_(now) {}
  // The machine waited so long, until `now`. At the end of a window in which it waited notably: the share of it.
  std::optional<double> add(Clock::time_point now, Clock::duration waited);
  Clock::duration total() const { return total_; }
  // Of the last whole window.
  double share(Clock::time_point now) const { return now - window_ < 2 * kWindow ? share_ : 0; }

 private:
  Clock::time_point window_;
  Clock::duration total_{}, in_window_{};
  double share_ = 0;
};

}  // namespace understudy::tools
