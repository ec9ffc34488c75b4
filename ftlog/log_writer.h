// Appends entries to a log: a directory of segment files. Entries gather in memory into blocks; a block is written when
// it is large enough, when asked, or when the caller's clock says it is old enough, and made durable by policy. One
// thread uses a writer at a time. What was written survives the process; what was synced survives the host.
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>

#include "ftlog/codec.h"
#include "ftlog/log_sink.h"
#include "ftlog/segment_writer.h"
#include "ftlog/sync_thread.h"

namespace understudy::ftlog {

enum class SyncPolicy : uint8_t {
  none,      // the system decides
  interval,  // every so often, by the caller's clock
  output,    // before append() of an output mark returns, and every so often
};

struct LogOptions {
  uint64_t segment_bytes = 16u << 20;  // a segment that has reached this is followed by another
  size_t block_bytes = 16u << 10;
  SyncPolicy sync = SyncPolicy::interval;
  uint64_t flush_interval_ns = 200'000'000;
  uint64_t sync_interval_ns = 1'000'000'000;
  uint64_t identity = 0;  // 0: drawn at random, so that blocks of another log of the same machine never fit
};

class LogWriter : public LogSink {
 public:
  // The directory exists and holds no log. `description` says what the machine is made of, in lines key=value; it is
  // at the head of every segment. Throws LogError, or std::invalid_argument for a description that is too long.
  LogWriter(std::string directory, std::string description, const LogOptions& options = {});

  // Writes what was gathered, if it can.
  ~LogWriter() override;
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  // Returns the entry's sequence. Throws std::invalid_argument as Encoder does, and LogError when writing fails: then
  // the log is readable up to what was written, and this writer refuses everything more. An End closes the log: it is
  // written at once and nothing may follow.
  uint64_t append(uint64_t icount, uint64_t virtual_ns, const Payload& payload) override;
  void flush();
  // Also makes everything durable before it returns.
  void sync();
  // Flushes what is due, and starts a sync that is due on a thread of its own: the disk may take its time. `host_ns` is
  // any clock that does not go backwards. Reports what became of earlier syncs, as settle() does.
  void tick(uint64_t host_ns) override;
  // Waits for a sync that is under way.
  void settle();
  // From now on, as with SyncPolicy::output, every output mark is to be durable; but append() does not wait for the
  // disk: `durable` is told, on another thread, up to which sequence it is. What fails there, a later call throws.
  void sync_behind(std::function<void(uint64_t sequence)> durable);

  // Sequences of the newest entries: appended, handed to the system, durable. 0: none.
  uint64_t appended() const { return encoder_.state().sequence - 1; }
  uint64_t written() const { return written_; }
  uint64_t synced() const { return synced_; }
  uint64_t bytes_written() const { return bytes_written_; }
  bool finished() const { return finished_; }

 private:
  void check_behind();
  void require_usable();
  void write_block(uint32_t flags);
  void start_segment(uint32_t number, uint64_t previous_link);
  void sync_segment();
  void ask_sync();
  void finish_pending_sync();

  std::string directory_, description_;
  LogOptions options_;
  Encoder encoder_;
  std::optional<SegmentWriter> segment_;
  bool new_name_ = false;  // of the segment, which is not durable yet
  std::future<void> pending_sync_;
  uint64_t pending_sequence_ = 0;  // what will be durable after it
  uint64_t written_ = 0, synced_ = 0, bytes_written_ = 0;
  uint32_t first_unsynced_ = 1;  // segment
  uint64_t host_ns_ = 0, flushed_at_ns_ = 0, synced_at_ns_ = 0;
  bool finished_ = false, failed_ = false;
  std::function<void(uint64_t)> durable_;
  std::unique_ptr<SyncThread> behind_;
};

}  // namespace understudy::ftlog
