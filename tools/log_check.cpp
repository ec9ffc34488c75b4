#include "tools/log_check.h"

#include <fmt/format.h>

#include <filesystem>

#include "ftlog/recording.h"
#include "ftlog/segment_format.h"

namespace understudy::tools {

namespace {

void check_snapshot(const std::string& directory, const ftlog::LogEntry& entry, std::vector<std::string>& problems) {
  const auto& snapshot = std::get<ftlog::Snapshot>(entry.payload);
  const std::string path = directory + "/" + snapshot.file;
  const auto wrong = [&](const std::string& what) {
    problems.push_back(fmt::format("snapshot {} (entry {}): {}", path, entry.sequence, what));
  };
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return wrong("there is no such file");
  try {
    const ftlog::FileSum sum = ftlog::sum_file(path);
    if (sum.bytes != snapshot.bytes)
      wrong(fmt::format("has {} bytes, the log says {}", sum.bytes, snapshot.bytes));
    else if (sum.checksum != snapshot.checksum)
      wrong(fmt::format("has the checksum {:016x}, the log says {:016x}", sum.checksum, snapshot.checksum));
  } catch (const ftlog::LogError& unreadable) {
    wrong(unreadable.what());
  }
}

}  // namespace

LogSummary summarise_log(const std::string& directory, std::vector<std::string>* problems) {
  ftlog::LogReader reader(directory);
  LogSummary summary;
  summary.description = reader.description();
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
    if (problems != nullptr) check_snapshot(directory, entry, *problems);
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
