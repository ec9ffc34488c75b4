// What a hub writes down about the replicas it heard: a JSON object a line, with the time since 1970 ("time") and the
// host's monotonic clock ("mono_ns"). It is also the hub's memory: a hub that is started again with its journal lets in
// nothing older than what stands there. A reign is in the file before its first output leaves, and on disk soon after:
// a disk's slowness would be added to every failover.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>

#include "devices/host_fd.h"
#include "tools/hub_fence.h"

namespace understudy::tools {

class HubJournal {
 public:
  static constexpr size_t kMaxLine = 64u << 10;

  // Appends to the file, which is made if it is not there; an empty path: nothing is written. Throws UsageError, also
  // for a file that is no journal.
  explicit HubJournal(const std::string& path);
  // The last reign of the hubs before this one.
  const std::optional<Reign>& last_reign() const { return last_reign_; }

  ~HubJournal();

  // `fields` after "event" and the times. A write that fails is reported once, and the hub runs on.
  void write(const char* event, const nlohmann::ordered_json& fields);
  // Soon, without waiting.
  void sync();

 private:
  void read_back();
  void read_line(const std::string& line, uint64_t number);
  void complain();
  void sync_when_asked();

  std::string path_;
  devices::HostFd file_;
  std::optional<Reign> last_reign_;
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool sync_wanted_ = false, stopping_ = false;
  std::thread syncer_;
};

nlohmann::ordered_json reign_json(const Reign& reign);
nlohmann::ordered_json fenced_json(const FencedCounts& counts);

}  // namespace understudy::tools
