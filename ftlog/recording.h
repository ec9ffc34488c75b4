// The directory of a recording: the log's segments and snapshots. What there is, and what belongs to it, is all in the
// log. One process writes; a lock file keeps a second one out and tells readers whether the recording is still going
// on.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "ftlog/file.h"
#include "ftlog/segment_reader.h"

namespace understudy::ftlog {

// One line for the user: why there cannot be a recording here, or that there is none.
class RecordingError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Recording {
 public:
  // Makes the directory (its parent exists), or takes an empty one, and locks it as long as this object lives. Throws
  // RecordingError.
  static Recording create(const std::string& directory);

  const std::string& directory() const { return directory_; }
  // The log has its end: from now on, one without an end has been cut off.
  void finish();

 private:
  Recording(std::string directory, File lock) : directory_(std::move(directory)), lock_(std::move(lock)) {}
  std::string directory_;
  File lock_;
};

// Throws RecordingError unless there is a log in the directory.
void require_recording(const std::string& directory);
bool is_being_recorded(const std::string& directory);
// Whether the log once had its end.
bool was_finished(const std::string& directory);
// What is wrong with a log that was finished, as asked before it was read, and now stops here.
LogError cut_off(const TornTail& tail);

std::string snapshot_name(uint64_t icount);
std::string snapshot_path(const std::string& directory, uint64_t icount);

struct FileSum {
  uint64_t checksum = 0;  // XXH3 of the whole file
  uint64_t bytes = 0;
  bool operator==(const FileSum&) const = default;
};
// Throws LogError if it cannot be read.
FileSum sum_file(const std::string& path);

}  // namespace understudy::ftlog
