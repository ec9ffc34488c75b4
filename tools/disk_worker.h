// Carries out the requests of one shared disk at its server: in the order in which they come, one at a time, on a
// thread of its own. So two requests for the same sectors end as they were asked, whoever asks again for what he did
// not hear of. While the server is away requests wait and it is looked for again and again; requests of an epoch that
// is over are not begun any more.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "devices/host_nbd.h"
#include "emu/block_message.h"

namespace understudy::tools {

class DiskWorker {
 public:
  struct Job {
    uint64_t epoch = 0;
    bool durable = false;  // a write is over only when it is on the server's disk
    emu::BlockRequest request;
  };
  // Both are called on the worker's thread. A report is one line for people.
  using Done = std::function<void(uint64_t epoch, emu::BlockAnswer answer)>;
  using Report = std::function<void(const std::string& line)>;
  struct Counts {
    uint64_t reads = 0, writes = 0, flushes = 0;  // that were done
    uint64_t bytes_read = 0, bytes_written = 0;
    uint64_t failed = 0, superseded = 0;  // of an epoch that ended before their turn
    uint64_t reconnects = 0;
    uint64_t waiting = 0;  // in the queue or under way
    bool connected = false;
    std::string error;  // the last
  };

  static constexpr size_t kMaxWaiting = 256;
  static constexpr uint32_t kMaxLength = 1u << 20;

  // Connects to the server. Throws devices::NbdError.
  DiskWorker(std::string name, const std::string& uri, Done done, Report report);
  ~DiskWorker();
  DiskWorker(const DiskWorker&) = delete;
  DiskWorker& operator=(const DiskWorker&) = delete;

  const std::string& name() const { return name_; }
  const std::string& uri() const { return nbd_.uri(); }
  devices::HostNbd::Shape shape() const { return shape_; }

  // Any thread. False when kMaxWaiting wait already.
  bool ask(Job job);
  // Nothing of an epoch before this one is begun from now on; what is under way ends before anything newer begins.
  void fence(uint64_t epoch);
  // Until nothing waits; false when that takes longer.
  bool drain(std::chrono::milliseconds patience);
  Counts counts() const;

 private:
  void run();
  // False when the job is to be dropped.
  bool carry_out(const Job& job, emu::BlockAnswer& answer);
  bool reconnect(const Job& job);
  bool is_over(const Job& job) const;
  void note_failure(const Job& job);

  const std::string name_;
  const Done done_;
  const Report report_;
  devices::HostNbd nbd_;
  devices::HostNbd::Shape shape_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;  // the first is under way
  uint64_t epoch_ = 0;
  bool stopping_ = false;
  Counts counts_;
  std::thread thread_;
};

}  // namespace understudy::tools
