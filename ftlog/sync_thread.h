// Forces the files of a log to the disk on a thread of its own, so that who writes the log does not wait for it. What
// is asked for while the disk is busy is done at once afterwards, together. After a failure nothing is done any more:
// the system may have dropped what it had.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "ftlog/file.h"

namespace understudy::ftlog {

class SyncThread {
 public:
  // `done` is called on the thread: everything up to this sequence is on the disk. `force` stands in for the disk in
  // tests.
  explicit SyncThread(
      std::function<void(uint64_t sequence)> done,
      std::function<void(const File&)> force = [](const File& file) { file.sync(); });
  // Does first what was asked for.
  ~SyncThread();
  SyncThread(const SyncThread&) = delete;
  SyncThread& operator=(const SyncThread&) = delete;

  // The file numbered `number` holds the log up to `sequence`, the files asked for before it what precedes. Its name
  // in `directory`, if that is given, is to be there for good, too.
  void ask(uint32_t number, File file, uint64_t sequence, const std::string& directory = {});
  // Until everything asked for is done, or it has failed.
  void drain();
  // Throws the LogError of what failed.
  void check();

 private:
  struct Job {
    uint32_t number;
    File file;
    uint64_t sequence;
    std::string directory;
  };
  void run();

  std::function<void(uint64_t)> done_;
  std::function<void(const File&)> force_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  std::optional<LogError> failure_;
  bool busy_ = false, stopping_ = false;
  std::thread thread_;
};

}  // namespace understudy::ftlog
