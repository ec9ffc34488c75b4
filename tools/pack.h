// A recording in one portable file: a pax tar, compressed with zstd, of the log's segments, the snapshots that the log
// names, and the files that its machine is built from (folder `images/`, see tools/packed_images). What an archive
// holds besides, or under other names, is refused: it may come from anywhere.
#pragma once

#include <cstdint>
#include <string>

namespace understudy::tools {

struct PackSummary {
  uint64_t files = 0;
  uint64_t bytes = 0;  // unpacked
};

// Throws RecordingError, LogError, UsageError. `file` does not exist yet.
PackSummary pack_recording(const std::string& directory, const std::string& file);

// Into a new or empty folder; nothing stays there when it fails. Throws RecordingError, LogError, UsageError.
PackSummary unpack_recording(const std::string& file, const std::string& directory, uint64_t max_bytes);

}  // namespace understudy::tools
