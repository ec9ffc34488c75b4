#include "tools/log_check.h"

#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <optional>

#include "ftlog/recording.h"
#include "ftlog/segment_format.h"

namespace understudy::tools {

namespace {

// A log may name any number of snapshots: what is kept of them is bounded by the files that are there.
class SnapshotCheck {
 public:
  SnapshotCheck(const std::string& directory, std::vector<std::string>& problems)
      : directory_(directory), problems_(problems) {}

  void check(const ftlog::LogEntry& entry) {
    if (given_up_) return;
    const auto& snapshot = std::get<ftlog::Snapshot>(entry.payload);
    const std::string what = problem_of(snapshot);
    if (what.empty()) return;
    problems_.push_back(fmt::format("snapshot {}/{} (entry {}): {}", directory_, snapshot.file, entry.sequence, what));
    if (problems_.size() < kMaxProblems) return;
    problems_.push_back(
        fmt::format("recording {}: snapshots after entry {} were not looked at", directory_, entry.sequence));
    given_up_ = true;
  }

 private:
  static constexpr size_t kMaxProblems = 100;

  std::string problem_of(const ftlog::Snapshot& snapshot) {
    const ftlog::FileSum expected{snapshot.checksum, snapshot.bytes};
    auto known = sums_.find(snapshot.file);
    if (known == sums_.end()) {
      const std::string path = directory_ + "/" + snapshot.file;
      std::error_code error;
      if (!std::filesystem::is_regular_file(path, error)) return "there is no such file";
      try {
        known = sums_.emplace(snapshot.file, ftlog::sum_file(path)).first;
      } catch (const ftlog::LogError& unreadable) {
        return unreadable.what();
      }
    }
    const ftlog::FileSum& sum = known->second;
    if (sum.bytes != expected.bytes) return fmt::format("has {} bytes, the log says {}", sum.bytes, expected.bytes);
    if (sum.checksum != expected.checksum)
      return fmt::format("has the checksum {:016x}, the log says {:016x}", sum.checksum, expected.checksum);
    return {};
  }

  const std::string& directory_;
  std::vector<std::string>& problems_;
  std::map<std::string, ftlog::FileSum> sums_;
  bool given_up_ = false;
};

}  // namespace

LogSummary summarise_log(const std::string& directory, std::vector<std::string>* problems) {
  ftlog::LogReader reader(directory);
  LogSummary summary;
  summary.description = reader.description();
  std::optional<SnapshotCheck> snapshots;
  if (problems != nullptr) snapshots.emplace(directory, *problems);
  uint64_t first_ns = 0;
  for (ftlog::LogEntry entry; reader.next(entry);) {
    if (summary.entries++ == 0) first_ns = entry.virtual_ns;
    KindCount& kind = summary.kinds[static_cast<size_t>(entry.kind())];
    ++kind.entries;
    kind.bytes += reader.entry_bytes();
    summary.last_icount = entry.icount;
    summary.virtual_ns = entry.virtual_ns - first_ns;
    const auto* snapshot = std::get_if<ftlog::Snapshot>(&entry.payload);
    if (snapshot == nullptr) continue;
    ++summary.snapshots;
    summary.snapshot_bytes += snapshot->bytes;
    if (snapshots) snapshots->check(entry);
  }
  summary.state = reader.state();
  summary.tail = reader.tail();
  summary.blocks = reader.blocks_read();
  summary.segments = reader.segment_number();
  for (uint32_t number = 1; number <= summary.segments; ++number)
    summary.segment_bytes += std::filesystem::file_size(ftlog::segment_path(directory, number));
  return summary;
}

}  // namespace understudy::tools
