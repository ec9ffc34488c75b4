#include "tools/slowdown.h"

namespace understudy::tools {

std::optional<double> Slowdown::add(Clock::time_point now, Clock::duration waited) {
  total_ += waited;
  in_window_ += waited;
  const auto passed = now - window_;
  if (passed < kWindow) return std::nullopt;
  share_ = std::chrono::duration<double>(in_window_) / std::chrono::duration<double>(passed);
  window_ = now;
  in_window_ = {};
  if (share_ < kNotable) return std::nullopt;
  return share_;
}

}  // namespace understudy::tools
