#include "tools/pace.h"

#include <algorithm>
#include <array>
#include <utility>

namespace understudy::tools {

namespace {

// A clock further behind than this, and not about to catch up, needs another rate.
constexpr int64_t kBehindNs = 4'000'000;
// What is missing is to be made up in this time, with the host's speed as it is.
constexpr uint64_t kCatchUpNs = 50'000'000;
// An idle guest's clock catches up by itself as a rule: within this time it must have begun to.
constexpr uint64_t kTrendNs = 10'000'000;
constexpr uint64_t kStretchNs = 3'000'000;
// Code that has become slower shows in so many stretches. One that took more than so many times what is usual is odd:
// new code is translated, or the host did something else.
constexpr size_t kLately = 3;
constexpr uint64_t kOdd = 10;
constexpr uint64_t kShareNs = 50'000'000;
constexpr uint64_t kPeriodNs = 25'000'000;
// Who waited longer than this in a period has too high a rate.
constexpr uint64_t kWaitsNs = 3'000'000;
constexpr uint64_t kWhole = 256;
// An idle machine that nothing is due in is looked after this often.
constexpr uint64_t kIdleNs = 200'000'000;
// How long a slice should take the host, and what it may be.
constexpr uint64_t kSliceNs = 2'000'000;
constexpr uint64_t kMinSlice = 10'000, kMaxSlice = 500'000;

// With room for what the host will do next; and no change for a trifle.
constexpr uint64_t with_headroom(uint64_t rate) { return rate + rate / 20; }
constexpr uint64_t clearly_above(uint64_t rate) { return rate + rate / 8; }

}  // namespace

Pace::Pace(emu::Machine& machine, HostClock clock, std::function<void(uint64_t)> set_rate)
    : machine_(machine), clock_(std::move(clock)), set_rate_(std::move(set_rate)), slice_(kMaxSlice) {
  host_base_ns_ = left_host_ns_ = token_ns_ = clock_.now_ns();
  guest_base_ns_ = left_guest_ns_ = machine_.now_ns();
  left_icount_ = machine_.icount();
  left_cpu_ns_ = clock_.cpu_ns();
  period_ends_ns_ = host_base_ns_ + kPeriodNs;
  machine_.pause_at(guest_base_ns_ + kAheadNs);
}

Pace::~Pace() { machine_.pause_at(emu::EventQueue::kNever); }

// The time that instructions take beside their rate (port accesses) counts for the guest's clock as the rest does.
void Pace::measure(uint64_t host_ns) {
  const uint64_t instructions = machine_.icount() - left_icount_;
  if (instructions == 0) return;
  const uint64_t cpu_ns = clock_.cpu_ns() - left_cpu_ns_;
  measure_share(host_ns - left_host_ns_, cpu_ns);
  const uint64_t clock_ns = machine_.now_ns() - left_guest_ns_;
  const uint64_t rated_ns = instructions * machine_.time().ps_per_instruction() / 1000;
  stretch_.cpu_ns += cpu_ns;
  stretch_.extra_ns += clock_ns > rated_ns ? clock_ns - rated_ns : 0;
  stretch_.instructions += instructions;
  const uint64_t slice = instructions * kSliceNs / std::max<uint64_t>(cpu_ns, 1);
  slice_ = std::clamp((slice_ + std::min(slice, kMaxSlice)) / 2, kMinSlice, kMaxSlice);
  if (stretch_.cpu_ns < kStretchNs && stretch_.instructions < kMaxSlice) return;
  stretches_[done_stretches_++ % kStretches] = std::exchange(stretch_, {});
}

uint64_t Pace::needed(const Stretch& work) const {
  const uint64_t taken_ns = work.cpu_ns * share_ / kWhole;
  return work.instructions == 0 || taken_ns <= work.extra_ns ? 0
                                                             : (taken_ns - work.extra_ns) * 1000 / work.instructions;
}

uint64_t Pace::median_needed(size_t count) const {
  count = std::min(count, done_stretches_);
  if (count == 0) return 0;
  std::array<uint64_t, kStretches> latest{};
  for (size_t i = 0; i < count; ++i) latest[i] = needed(stretches_[(done_stretches_ - 1 - i) % kStretches]);
  const auto middle = latest.begin() + static_cast<ptrdiff_t>(count / 2);
  std::nth_element(latest.begin(), middle, latest.begin() + static_cast<ptrdiff_t>(count));
  return *middle;
}

uint64_t Pace::usually_needed() const {
  const uint64_t most = kOdd * median_needed(kStretches);
  uint64_t ps = 0, instructions = 0;
  for (size_t i = 0; i < std::min(kStretches, done_stretches_); ++i) {
    ps += std::min(needed(stretches_[i]), most) * stretches_[i].instructions;
    instructions += stretches_[i].instructions;
  }
  return ps / std::max<uint64_t>(instructions, 1);
}

void Pace::measure_share(uint64_t host_ns, uint64_t cpu_ns) {
  share_host_ns_ += host_ns;
  share_cpu_ns_ += cpu_ns;
  if (share_host_ns_ < kShareNs) return;
  const uint64_t share = std::clamp(share_host_ns_ * kWhole / std::max<uint64_t>(share_cpu_ns_, 1), kWhole, 4 * share_);
  share_ = share < share_ ? (share_ + share) / 2 : (3 * share_ + share) / 4;
  share_host_ns_ = share_cpu_ns_ = 0;
}

void Pace::let_idle_time_pass(uint64_t host_ns) {
  const uint64_t guest_ns = machine_.now_ns();
  const uint64_t due_ns = std::min(machine_.idle_until_ns(), std::max(guest_ns, target_ns(host_ns)) + kIdleNs);
  if (due_ns > target_ns(host_ns)) clock_.wait_until(host_ns_of(due_ns));
  machine_.skip_idle(std::max(guest_ns, std::min(due_ns, target_ns(clock_.now_ns()))));
}

void Pace::after_slice(bool idle) {
  const uint64_t host_ns = clock_.now_ns();
  measure(host_ns);
  if (const int64_t missing = behind_ns(host_ns); missing > static_cast<int64_t>(kGiveUpNs)) {
    counts_.lost_ns += static_cast<uint64_t>(missing);
    host_base_ns_ += static_cast<uint64_t>(missing);
  }
  const int64_t behind = behind_ns(host_ns);
  counts_.most_behind_ns = std::max(counts_.most_behind_ns, behind);
  counts_.most_ahead_ns = std::max(counts_.most_ahead_ns, -behind);
  adjust(host_ns, idle && catches_up(host_ns, behind) ? 0 : behind);
  if (idle)
    let_idle_time_pass(host_ns);
  else if (-behind > static_cast<int64_t>(kAheadNs / 2))
    clock_.wait_until(host_ns_of(machine_.now_ns()) - kAheadNs / 2);
  left_host_ns_ = clock_.now_ns();
  if (!idle) waited_ns_ += left_host_ns_ - host_ns;
  left_cpu_ns_ = clock_.cpu_ns();
  left_guest_ns_ = machine_.now_ns();
  left_icount_ = machine_.icount();
  machine_.pause_at(target_ns(left_host_ns_) + kAheadNs);
}

bool Pace::catches_up(uint64_t host_ns, int64_t behind_ns) {
  const bool first = behind_then_ns_ <= kBehindNs;
  if (behind_ns > kBehindNs && !first && host_ns < trend_ends_ns_) return true;
  trend_ends_ns_ = host_ns + kTrendNs;
  return behind_ns < std::exchange(behind_then_ns_, behind_ns) || first;
}

void Pace::adjust(uint64_t host_ns, int64_t behind_ns) {
  for (; host_ns - token_ns_ >= kTokenNs && tokens_ < kTokens; token_ns_ += kTokenNs) ++tokens_;
  if (tokens_ == kTokens) token_ns_ = host_ns;
  const uint64_t rate = machine_.time().ps_per_instruction();
  least_behind_ns_ = std::min(least_behind_ns_, behind_ns);
  const uint64_t needed = std::max(median_needed(kLately), usually_needed());
  if (behind_ns > kBehindNs && needed > rate) change_rate(with_headroom(needed));
  if (host_ns < period_ends_ns_) return;
  period_ends_ns_ = host_ns + kPeriodNs;
  const auto missing = std::exchange(least_behind_ns_, behind_ns);
  const bool waits = std::exchange(waited_ns_, 0) > kWaitsNs;
  if (missing > kBehindNs) {
    const uint64_t wanted = needed + needed * std::min(static_cast<uint64_t>(missing), kCatchUpNs) / kCatchUpNs;
    if (wanted > machine_.time().ps_per_instruction()) change_rate(wanted);
    return;
  }
  const uint64_t enough = with_headroom(std::max(median_needed(kLately), median_needed(kStretches)));
  // The last change is kept for a clock that falls behind.
  if (waits && enough != 0 && rate > clearly_above(enough) && tokens_ > 1) change_rate(enough);
}

void Pace::change_rate(uint64_t ps_per_instruction) {
  const uint64_t rate = std::clamp(ps_per_instruction, kMinRate, kMaxRate);
  if (rate == machine_.time().ps_per_instruction() || tokens_ == 0) return;
  --tokens_;
  ++counts_.rate_changes;
  set_rate_(rate);
}

PaceCounts Pace::counts() const {
  PaceCounts counts = counts_;
  counts.behind_ns = behind_ns(clock_.now_ns());
  return counts;
}

}  // namespace understudy::tools
