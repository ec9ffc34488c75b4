// A hub's shared disks: each at its server, asked for by the live replica alone. Answers come from the workers' threads
// and are taken on the hub's.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "devices/host_fd.h"
#include "primary/hub_protocol.h"
#include "tools/disk_worker.h"

namespace understudy::tools {

class HubDisks {
 public:
  // Each as NAME=URI, or NAME=PATH of the server's Unix socket. Throws UsageError, devices::NbdError.
  explicit HubDisks(const std::vector<std::string>& disks);

  bool empty() const { return workers_.empty(); }
  // Readable when there is an answer.
  int fd() const { return wake_.fd(); }
  primary::hub::DiskShape shape_of(std::string_view disk) const;
  // False for a disk that there is not, or that has too many requests: nobody will answer.
  bool ask(const primary::hub::DiskRequest& request);
  // Older requests are not begun any more, and their answers are dropped.
  void fence(uint64_t epoch);
  // Gives the answers of this epoch to `send` until it says that there is no room; true if some are left then.
  bool answers(uint64_t epoch, const std::function<bool(const primary::hub::DiskAnswer&)>& send);
  nlohmann::ordered_json status() const;

 private:
  struct Answer {
    std::string disk;
    uint64_t epoch;
    emu::BlockAnswer answer;
  };
  std::mutex mutex_;
  std::deque<Answer> answers_;
  devices::EventFd wake_;
  uint64_t refused_ = 0;
  std::map<std::string, std::unique_ptr<DiskWorker>, std::less<>> workers_;  // go first
};

}  // namespace understudy::tools
