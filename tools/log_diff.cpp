#include "tools/log_diff.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <tuple>

#include "emu/machine_description.h"
#include "ftlog/log_reader.h"
#include "ftlog/recording.h"

namespace understudy::tools {

namespace {

using ftlog::LogEntry;

constexpr size_t kShownBefore = 3;

bool is_outside(const LogEntry& entry) {
  switch (entry.kind()) {
    case ftlog::EntryKind::start:
    case ftlog::EntryKind::input:
    case ftlog::EntryKind::clock:
    case ftlog::EntryKind::reset:
    case ftlog::EntryKind::block_done:
    case ftlog::EntryKind::end:
      return true;
    default:
      return false;
  }
}

bool same_outside(const LogEntry& left, const LogEntry& right) {
  if (left.icount != right.icount || left.virtual_ns != right.virtual_ns) return false;
  const auto* const start = std::get_if<ftlog::Start>(&left.payload);
  const auto* const other = std::get_if<ftlog::Start>(&right.payload);
  if (start != nullptr && other != nullptr)
    return start->rtc_start_s == other->rtc_start_s && start->pacing == other->pacing;
  return left.payload == right.payload;
}

// The entries of one log that satisfy a condition.
class Filtered {
 public:
  Filtered(const std::string& directory, std::function<bool(const LogEntry&)> wanted)
      : reader_(directory), wanted_(std::move(wanted)) {
    advance();
  }
  const std::optional<LogEntry>& entry() const { return entry_; }
  void advance() {
    LogEntry entry;
    while (reader_.next(entry)) {
      last_icount_ = entry.icount;
      if (!wanted_(entry)) continue;
      entry_ = std::move(entry);
      return;
    }
    entry_.reset();
  }
  uint64_t last_icount() const { return last_icount_; }

 private:
  ftlog::LogReader reader_;
  std::function<bool(const LogEntry&)> wanted_;
  std::optional<LogEntry> entry_;
  uint64_t last_icount_ = 0;
};

void compare_outside(const std::string& left, const std::string& right, LogDifference& difference) {
  Filtered a(left, is_outside), b(right, is_outside);
  if (a.entry() && b.entry()) difference.first_icount = std::max(a.entry()->icount, b.entry()->icount);
  std::deque<LogEntry> before;
  while (a.entry() && b.entry() && same_outside(*a.entry(), *b.entry())) {
    ++difference.equal_entries;
    before.push_back(*a.entry());
    if (before.size() > kShownBefore) before.pop_front();
    a.advance();
    b.advance();
  }
  if (a.entry() || b.entry()) difference.entries = {{before.begin(), before.end()}, a.entry(), b.entry()};
  while (a.entry()) a.advance();
  while (b.entry()) b.advance();
  difference.last_left = a.last_icount();
  difference.last_right = b.last_icount();
}

// Entries of one kind in the order of their points and `key`; `meet(left, right)` is called for those with the same,
// until it returns false.
template <typename T, typename Key, typename Meet>
void merge(const std::string& left, const std::string& right, Key&& key, Meet&& meet) {
  const auto wanted = [](const LogEntry& entry) { return std::holds_alternative<T>(entry.payload); };
  Filtered a(left, wanted), b(right, wanted);
  while (a.entry() && b.entry()) {
    const auto where_a = std::tuple(a.entry()->icount, a.entry()->virtual_ns, key(std::get<T>(a.entry()->payload)));
    const auto where_b = std::tuple(b.entry()->icount, b.entry()->virtual_ns, key(std::get<T>(b.entry()->payload)));
    if (where_a < where_b) {
      a.advance();
    } else if (where_b < where_a) {
      b.advance();
    } else {
      if (!meet(*a.entry(), *b.entry())) return;
      a.advance();
      b.advance();
    }
  }
}

}  // namespace

std::vector<emu::StateDifference> compare_descriptions(const std::string& left, const std::string& right) {
  const auto a = emu::MachineDescription::from_text(left), b = emu::MachineDescription::from_text(right);
  constexpr const char* kAbsent = "nothing";
  std::vector<emu::StateDifference> differences;
  for (const auto& [key, value] : a.entries()) {
    const std::string* const there = b.find(key);
    if (there == nullptr || *there != value) differences.push_back({key, value, there == nullptr ? kAbsent : *there});
  }
  for (const auto& [key, value] : b.entries())
    if (a.find(key) == nullptr) differences.push_back({key, kAbsent, value});
  return differences;
}

LogDifference compare_logs(const std::string& left, const std::string& right) {
  ftlog::require_recording(left);
  ftlog::require_recording(right);
  LogDifference difference;
  difference.machines =
      compare_descriptions(ftlog::LogReader(left).description(), ftlog::LogReader(right).description());
  compare_outside(left, right, difference);
  uint64_t parted = ~uint64_t{0};
  if (difference.entries)
    for (const auto& entry : {difference.entries->left, difference.entries->right})
      if (entry) parted = std::min(parted, entry->icount);
  merge<ftlog::StateDigest>(
      left, right, [](const ftlog::StateDigest&) { return 0; },
      [&](const LogEntry& a, const LogEntry& b) {
        ++difference.compared_digests;
        const auto &ours = std::get<ftlog::StateDigest>(a.payload), &theirs = std::get<ftlog::StateDigest>(b.payload);
        if (ours == theirs) {
          if (a.icount < parted) difference.last_equal_digest = a.icount;
          return true;
        }
        difference.digests = {a.icount, ours, theirs};
        return false;
      });
  merge<ftlog::OutputMark>(
      left, right, [](const ftlog::OutputMark& mark) { return mark.channel; },
      [&](const LogEntry& a, const LogEntry& b) {
        ++difference.compared_marks;
        const auto &ours = std::get<ftlog::OutputMark>(a.payload), &theirs = std::get<ftlog::OutputMark>(b.payload);
        if (ours == theirs) return true;
        difference.marks = {a.icount, ours, theirs};
        return false;
      });
  return difference;
}

}  // namespace understudy::tools
