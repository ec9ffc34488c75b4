// An arbiter on a disk that all nodes share: a directory with one file per reign, reign-00000001 and so on without a
// gap, each a line of text with epoch, node and checksum. A claim reads the last one, writes and syncs its own record
// under a name of its own, and link(2)s it to the next number: exactly one link succeeds, on NFS too, whatever
// directory listings a client may have cached, and a record is whole before it has its number. Won is said after the
// directory is synced. A node that is killed leaves either nothing or a reign; a left-over draft (.claim-*) goes after
// an hour.
//
// The first claim, of epoch 1, makes the directory if its parent exists. What is in it and not the arbiter's, a damaged
// record and a gap are `unreachable` with the reason; so is a file system without hard links (FAT, some network ones).
// On a file system in memory (tmpfs) nothing outlives a power failure.
//
// Time is bounded by doing the work on a thread: if the file system hangs, the answer is `unreachable` in time. The
// thread stays until the file system comes back and then makes no link any more unless it was in the middle of it.
// While it hangs, the kernel may keep the process from ending.
#pragma once

#include "ftlog/arbiter.h"
#include "ftlog/bounded_call.h"

namespace understudy::ftlog {

class FileArbiter : public Arbiter {
 public:
  FileArbiter(std::string directory, std::chrono::milliseconds timeout)
      : directory_(std::move(directory)), calls_(timeout) {}
  Claim try_acquire(uint64_t epoch, const std::string& node) override;
  Lookup current() override;

 private:
  std::string directory_;
  BoundedCalls calls_;
};

}  // namespace understudy::ftlog
