// Reads a recording from end to end: how much of what is in its log, and whether everything is as it was written,
// snapshot files included.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "ftlog/log_reader.h"

namespace understudy::tools {

struct KindCount {
  uint64_t entries = 0;
  uint64_t bytes = 0;  // in blocks, compressed
};

struct LogSummary {
  std::array<KindCount, ftlog::kEntryKinds + 1> kinds;  // by EntryKind
  uint64_t entries = 0;
  uint64_t blocks = 0;
  uint32_t segments = 0;
  uint64_t segment_bytes = 0;  // the files' sizes
  uint64_t last_icount = 0;
  uint64_t virtual_ns = 0;  // from the first entry to the last
  uint64_t snapshots = 0;
  uint64_t snapshot_bytes = 0;  // as the log says
  ftlog::LogState state = ftlog::LogState::reading;
  ftlog::TornTail tail;
  std::string description;
};

// Throws LogError for a damaged log. With `problems`, snapshot files are read too, and what is wrong with them is added
// there, one line each.
LogSummary summarise_log(const std::string& directory, std::vector<std::string>* problems);

}  // namespace understudy::tools
