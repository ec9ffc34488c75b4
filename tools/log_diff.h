// Two logs side by side: where their machines, the inputs that they took, their state digests and their outputs first
// differ. Digests and output marks are compared where both logs have one at the same count; how often a log has them,
// and its snapshots, are no difference. Memory does not grow with the logs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "emu/state_archive.h"
#include "ftlog/entry.h"

namespace understudy::tools {

struct LogDifference {
  // Keys of the machines' descriptions; "nothing" where one has no such key.
  std::vector<emu::StateDifference> machines;

  // Start, inputs, clock changes, resets, reads of shared disks, and the end. Of a Start, not how it was recorded.
  uint64_t equal_entries = 0;
  struct Entries {
    std::vector<ftlog::LogEntry> before;         // the last few equal ones, as the left log has them
    std::optional<ftlog::LogEntry> left, right;  // nothing: that log ends here
  };
  std::optional<Entries> entries;

  uint64_t compared_digests = 0;
  std::optional<uint64_t> last_equal_digest;  // the last one before anything differs
  struct Digests {
    uint64_t icount = 0;
    ftlog::StateDigest left, right;
  };
  std::optional<Digests> digests;

  uint64_t compared_marks = 0;
  struct Marks {
    uint64_t icount = 0;
    ftlog::OutputMark left, right;
  };
  std::optional<Marks> marks;

  uint64_t first_icount = 0;               // the later of the two beginnings
  uint64_t last_left = 0, last_right = 0;  // counts of the last entries

  bool equal() const { return machines.empty() && !entries && !digests && !marks; }
};

// Throws RecordingError, LogError.
LogDifference compare_logs(const std::string& left, const std::string& right);

// The keys in which two descriptions differ.
std::vector<emu::StateDifference> compare_descriptions(const std::string& left, const std::string& right);

}  // namespace understudy::tools
