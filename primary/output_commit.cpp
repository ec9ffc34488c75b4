#include "primary/output_commit.h"

#include <algorithm>
#include <utility>

#include "primary/moment.h"

namespace understudy::primary {

namespace {

// After an output the machine comes back so soon that its mark is on its way in some ten microseconds; what a guest
// sends in one go shares a mark. Who sends long ones has more to send, as a rule, and the marks, messages and wakeups
// of each would cost more than the frames do: those wait for the next short one, for the guest's pause, or for some
// hundreds of microseconds (a guest's network code makes 100 to 200 instructions in a microsecond).
constexpr uint64_t kBackWithin = 5000, kLongBackWithin = 60'000;
constexpr size_t kLong = 1000;
constexpr size_t kWaitsKept = 4096;

}  // namespace

OutputCommit::OutputCommit(emu::Machine& machine) : machine_(machine) { waits_us_.reserve(kWaitsKept); }

OutputCommit::~OutputCommit() {
  for (const auto& [channel, offset] : offsets_) machine_.world().connect(channel, {});
}

void OutputCommit::gate(emu::ChannelId channel, uint64_t already_out) {
  if (machine_.world().kind(channel) == emu::ChannelKind::disk_reads) return;
  {
    const std::lock_guard lock(mutex_);
    offsets_[channel] = already_out;
  }
  machine_.world().connect(channel, [this, channel](std::span<const uint8_t> bytes) { hold(channel, bytes); });
}

void OutputCommit::hold(emu::ChannelId channel, std::span<const uint8_t> bytes) {
  ++unmarked_;
  if (prompt_) machine_.return_within(bytes.size() < kLong ? kBackWithin : kLongBackWithin);
  const std::lock_guard lock(mutex_);
  uint64_t& offset = offsets_[channel];
  outputs_.push_back({0, channel, offset, HostClock::now(), {bytes.begin(), bytes.end()}});
  offset += bytes.size();
  bytes_ += bytes.size();
}

void OutputCommit::mark(uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  for (size_t i = outputs_.size() - unmarked_; i < outputs_.size(); ++i) outputs_[i].sequence = sequence;
  unmarked_ = 0;
  marked_ = sequence;
  if (open_) release_locked();
}

bool OutputCommit::full() const {
  const std::lock_guard lock(mutex_);
  return bytes_ > kMaxHeldBytes;
}

void OutputCommit::connect(emu::ChannelId channel, Sink sink, std::function<void()> gone) {
  const std::lock_guard lock(mutex_);
  ends_[channel] = {std::move(sink), std::move(gone)};
}

bool OutputCommit::let_go(const Output& output) {
  const auto end = ends_.find(output.channel);
  return end == ends_.end() || !end->second.sink || end->second.sink(output.stream_offset, output.bytes);
}

void OutputCommit::release_locked() {
  const uint64_t before = released_;
  release_up_to(std::min(open_ ? marked_ : std::min(committed_, marked_), disk_));
  if (released_ == before) return;
  for (const auto& [channel, end] : ends_)
    if (end.gone) end.gone();
  moment(Moment::output_sent);
}

void OutputCommit::release_up_to(uint64_t until) {
  const auto now = HostClock::now();
  while (!outputs_.empty() && outputs_.front().sequence != 0 && outputs_.front().sequence <= until) {
    const Output& output = outputs_.front();
    moment(Moment::acknowledged_not_sent);
    if (!may_leave_locked()) return;
    if (!let_go(output)) return;
    const auto waited = std::chrono::duration_cast<std::chrono::microseconds>(now - output.at);
    if (waits_us_.size() < kWaitsKept) waits_us_.push_back(0);
    waits_us_[next_wait_++ % kWaitsKept] = static_cast<uint32_t>(std::min<int64_t>(waited.count(), UINT32_MAX));
    longest_wait_ = std::max(longest_wait_, waited);
    bytes_ -= output.bytes.size();
    outputs_.pop_front();
    ++released_;
  }
  delivered_ = std::max(delivered_, until);
}

void OutputCommit::retry() {
  const std::lock_guard lock(mutex_);
  release_locked();
}

uint64_t OutputCommit::next_offset(emu::ChannelId channel) const {
  const std::lock_guard lock(mutex_);
  for (const Output& output : outputs_)
    if (output.channel == channel) return output.stream_offset;
  const auto next = offsets_.find(channel);
  return next == offsets_.end() ? 0 : next->second;
}

void OutputCommit::release(uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  committed_ = std::max(committed_, sequence);
  release_locked();
}

void OutputCommit::require_disk(uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  disk_ = sequence;
}

void OutputCommit::on_disk(uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  if (disk_ == UINT64_MAX) return;
  disk_ = std::max(disk_, sequence);
  release_locked();
}

void OutputCommit::only_while(std::function<bool()> holds) {
  const std::lock_guard lock(mutex_);
  holds_ = std::move(holds);
}

bool OutputCommit::may_leave() const {
  const std::lock_guard lock(mutex_);
  return may_leave_locked();
}

uint64_t OutputCommit::disk() const {
  const std::lock_guard lock(mutex_);
  return disk_;
}

std::chrono::microseconds OutputCommit::take_longest_wait() {
  const std::lock_guard lock(mutex_);
  auto longest = std::exchange(longest_wait_, std::chrono::microseconds{0});
  if (open_) return std::chrono::microseconds{0};
  if (!outputs_.empty())
    longest = std::max(longest,
                       std::chrono::duration_cast<std::chrono::microseconds>(HostClock::now() - outputs_.front().at));
  return longest;
}

void OutputCommit::open() {
  const std::lock_guard lock(mutex_);
  open_ = true;
  release_locked();
}

void OutputCommit::close() {
  const std::lock_guard lock(mutex_);
  open_ = false;
}

void OutputCommit::drop(uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  while (!outputs_.empty() && outputs_.front().sequence != 0 && outputs_.front().sequence <= sequence) {
    bytes_ -= outputs_.front().bytes.size();
    outputs_.pop_front();
    ++dropped_;
  }
  delivered_ = std::max(delivered_, std::min(sequence, marked_));
}

uint64_t OutputCommit::delivered() const {
  const std::lock_guard lock(mutex_);
  return delivered_;
}

OutputCounts OutputCommit::counts() const {
  const std::lock_guard lock(mutex_);
  OutputCounts counts{outputs_.size(), bytes_, released_, dropped_, 0, 0};
  std::vector<uint32_t> waits = waits_us_;
  if (waits.empty()) return counts;
  const auto middle = waits.begin() + static_cast<std::ptrdiff_t>(waits.size() / 2);
  std::nth_element(waits.begin(), middle, waits.end());
  counts.median_wait_us = *middle;
  counts.worst_wait_us = *std::max_element(waits.begin(), waits.end());
  return counts;
}

}  // namespace understudy::primary
