#include "primary/lag_control.h"

#include <algorithm>

namespace understudy::primary {

namespace {

constexpr uint64_t kMs = 1'000'000;
// What the backup's speed is measured over: longer than its reports are apart.
constexpr uint64_t kWindow = 200 * kMs;
constexpr uint64_t kBetweenReports = 10 * kMs;
// The situation is judged anew at least so often.
constexpr uint64_t kLongestWait = 5 * kMs;
// Nobody was here to ask: this process stood still, not the backup.
constexpr uint64_t kGap = 100 * kMs;
constexpr double kLeastSpeed = 0.001;

}  // namespace

uint64_t LagControl::wait_ns(const Position& primary, const Position& backup, uint64_t host_ns) {
  observe_slice(primary, host_ns);
  lag_ns_ = primary.work_ns > backup.work_ns ? primary.work_ns - backup.work_ns : 0;
  observe_backup(backup, host_ns);
  asked_ = true;
  asked_ns_ = host_ns;
  if (lag_ns_ < bound_ns_ / 2) return 0;
  // The next slice will be as the last was.
  const auto slice = static_cast<double>(slice_work_ns_);
  const double ahead = (static_cast<double>(lag_ns_) + slice) / static_cast<double>(bound_ns_);
  if (ahead >= 1) return kLongestWait;
  const double speed = backup_speed() * (1 - ahead) / (ahead - 0.5);
  const double due = slice / speed;
  const auto passed = static_cast<double>(host_ns - slice_start_ns_);
  if (due <= passed) return 0;
  return std::clamp(static_cast<uint64_t>(std::min(due - passed, 1e9)), uint64_t{1}, kLongestWait);
}

void LagControl::observe_slice(const Position& primary, uint64_t host_ns) {
  if (!asked_ || primary.work_ns < primary_.work_ns) {
    slice_work_ns_ = 0;
    slice_start_ns_ = host_ns;
  } else if (primary != primary_) {
    slice_work_ns_ = primary.work_ns - primary_.work_ns;
    slice_start_ns_ = asked_ns_;
  }
  primary_ = primary;
}

void LagControl::observe_backup(const Position& backup, uint64_t host_ns) {
  const uint64_t passed = asked_ ? host_ns - asked_ns_ : 0;
  if (lag_ns_ == 0 || backup != backup_)
    still_ns_ = 0;
  else
    still_ns_ += std::min(passed, kGap);
  if (passed > kGap || backup.work_ns < backup_.work_ns) reports_.clear();
  backup_ = backup;
  if (reports_.empty() || host_ns - reports_.back().host_ns >= kBetweenReports)
    reports_.push_back({host_ns, backup.work_ns});
  // One that is older than the window stays, as the window's other end.
  while (reports_.size() > 2 && host_ns - reports_[1].host_ns >= kWindow) reports_.pop_front();
}

// Nanoseconds of work done per nanosecond of the host.
double LagControl::backup_speed() const {
  const uint64_t time = asked_ns_ - reports_.front().host_ns;
  // Nothing is known yet.
  if (time < kBetweenReports) return 1;
  const uint64_t replayed = backup_.work_ns - reports_.front().work_ns;
  return std::max(kLeastSpeed, static_cast<double>(replayed) / static_cast<double>(time));
}

}  // namespace understudy::primary
