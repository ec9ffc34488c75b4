// A log that is forced to the disk behind its writer's back: in order, together where the disk is slow, and never said
// to be there when it is not.
#include <doctest/doctest.h>
#include <fcntl.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "ftlog/log_writer.h"
#include "ftlog/sync_thread.h"
#include "tests/ftlog_rig.h"

using namespace understudy::ftlog;
using namespace understudy::test;

namespace {

// A disk that does its work when it is let.
class SlowDisk {
 public:
  void force(const File& file) {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return allowed_ > 0; });
    --allowed_;
    --waiting_;
    forced_.push_back(file.path());
    if (fails_) throw LogError(file.path(), 0, "cannot sync: no such disk");
  }
  void allow(int times) {
    const std::lock_guard lock(mutex_);
    allowed_ += times;
    changed_.notify_all();
  }
  void fail() {
    const std::lock_guard lock(mutex_);
    fails_ = true;
  }
  void await_one() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_ > 0; });
  }
  std::vector<std::string> forced() {
    const std::lock_guard lock(mutex_);
    return forced_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int allowed_ = 0, waiting_ = 0;
  bool fails_ = false;
  std::vector<std::string> forced_;
};

struct Rig {
  TempDir folder;
  SlowDisk disk;
  std::mutex mutex;
  std::vector<uint64_t> done;
  SyncThread thread{[this](uint64_t sequence) {
                      const std::lock_guard lock(mutex);
                      done.push_back(sequence);
                    },
                    [this](const File& file) { disk.force(file); }};
  ~Rig() { disk.allow(1000); }
  File file(const std::string& name) const { return File(folder.path() + "/" + name, O_WRONLY | O_CREAT); }
  std::vector<uint64_t> said() {
    const std::lock_guard lock(mutex);
    return done;
  }
};

}  // namespace

TEST_CASE("sync thread: nobody waits for a slow disk, and what piled up is done in one go, files in order") {
  Rig rig;
  rig.thread.ask(1, rig.file("one"), 1);
  rig.disk.await_one();
  for (uint64_t sequence = 2; sequence <= 100; ++sequence) rig.thread.ask(1, rig.file("one"), sequence);
  rig.thread.ask(2, rig.file("two"), 101, rig.folder.path());
  rig.thread.ask(2, rig.file("two"), 102);
  CHECK(rig.said().empty());
  rig.disk.allow(4);
  rig.thread.drain();
  CHECK(rig.said() == std::vector<uint64_t>{1, 100, 102});
  CHECK(rig.disk.forced().size() == 3);
  CHECK(rig.disk.forced().back().ends_with("two"));
}

TEST_CASE("sync thread: after a failure nothing more is said to be on the disk") {
  Rig rig;
  rig.thread.ask(1, rig.file("one"), 1);
  rig.disk.await_one();
  rig.disk.fail();
  rig.thread.ask(2, rig.file("two"), 2);
  rig.disk.allow(2);
  rig.thread.drain();
  CHECK_THROWS_AS(rig.thread.check(), LogError);
  CHECK(rig.said().empty());
  CHECK(rig.disk.forced().size() == 1);
}

TEST_CASE(
    "a log that is synced behind: every mark becomes durable on another thread, across segments, and so does its end") {
  TempDir folder;
  LogOptions options;
  options.segment_bytes = 2000;
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t durable = 0;
  std::thread::id by;
  uint64_t last = 0;
  {
    LogWriter log(folder.path(), "machine: toy\n", options);
    last = log.append(0, 0, Start{});
    log.sync_behind([&](uint64_t sequence) {
      const std::lock_guard lock(mutex);
      CHECK(sequence >= durable);
      durable = sequence;
      by = std::this_thread::get_id();
      changed.notify_all();
    });
    CHECK(durable == 1);
    const auto becomes_durable = [&] {
      std::unique_lock lock(mutex);
      return changed.wait_for(lock, std::chrono::seconds(60), [&] { return durable == last; });
    };
    for (uint64_t i = 1; i <= 50; ++i) {
      log.append(i, i, Input{0, std::vector<uint8_t>(100, static_cast<uint8_t>(i * 37))});
      last = log.append(i, i, OutputMark{0, i, i});
    }
    CHECK(becomes_durable());
    CHECK(by != std::this_thread::get_id());
    // Without a mark, by the clock.
    log.tick(1);
    last = log.append(60, 60, Input{0, {1}});
    log.tick(5'000'000'000);
    CHECK(becomes_durable());
    last = log.append(70, 70, End{});
    CHECK(becomes_durable());
    CHECK(log.synced() == last);
  }
  CHECK(std::filesystem::exists(segment_path(folder.path(), 3)));
  LogReader reader(folder.path());
  uint64_t read = 0;
  for (LogEntry entry; reader.next(entry);) read = entry.sequence;
  CHECK(read == last);
  CHECK(reader.state() == LogState::complete);
}
