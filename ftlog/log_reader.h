// Reads a log entry by entry, from the beginning or from a count. Memory is bounded by one block. The log may still be
// growing: next() then gives false with the state `torn`, and more when there is more. Anything wrong that an
// interrupted writer cannot have left is a LogError.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "ftlog/codec.h"
#include "ftlog/segment_reader.h"

namespace understudy::ftlog {

enum class LogState : uint8_t {
  reading,   // there may be more: call next()
  complete,  // the log's end was read, and nothing follows it
  torn,      // the log was not finished, or is being written: see tail()
};

class LogReader {
 public:
  // Throws LogError if there is no log.
  explicit LogReader(std::string directory);

  const std::string& description() const { return description_; }
  uint64_t identity() const { return identity_; }
  // False when there is no entry to be had (now): see state(). Throws LogError; the log is then of no further use.
  bool next(LogEntry& entry);
  LogState state() const { return state_; }
  const TornTail& tail() const { return tail_; }

  // The next entry will be the first one at or after `icount`, or with at least this sequence.
  void seek_icount(uint64_t icount);
  void seek_sequence(uint64_t sequence);

  // Where the block of the last entry is, and what the entry takes in it.
  const std::string& segment_path() const { return segment_->path(); }
  uint64_t block_offset() const { return block_.offset; }
  size_t entry_bytes() const { return decoder_ ? decoder_->entry_bytes() : 0; }
  // What was read so far: blocks with their headers, without segment headers.
  uint64_t bytes_read() const { return bytes_read_; }
  uint64_t blocks_read() const { return blocks_read_; }
  // The segment that is being read.
  uint32_t segment_number() const { return segment_->number(); }

 private:
  bool next_of_block(LogEntry& entry);
  bool next_block();
  bool next_segment();
  void check_nothing_follows();
  [[noreturn]] void bad_entry(size_t position, const std::string& what) const;
  template <typename Predicate>
  void seek(Predicate starts_before);

  std::string directory_;
  std::string description_;
  uint64_t identity_ = 0;
  std::unique_ptr<SegmentReader> segment_;
  Block block_;
  std::optional<Decoder> decoder_;
  std::optional<CodecState> expected_;  // what the next block starts with; nothing after a seek
  uint64_t from_icount_ = 0, from_sequence_ = 0;
  LogState state_ = LogState::reading;
  TornTail tail_;
  uint64_t bytes_read_ = 0, blocks_read_ = 0;
};

}  // namespace understudy::ftlog
