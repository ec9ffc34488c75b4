#include "ftlog/log_writer.h"

#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <stdexcept>
#include <utility>

namespace understudy::ftlog {

LogWriter::LogWriter(std::string directory, std::string description, const LogOptions& options)
    : directory_(std::move(directory)), description_(std::move(description)), options_(options) {
  if (description_.size() > kMaxDescription) throw std::invalid_argument("log: the machine's description is too long");
  options_.block_bytes = std::clamp<size_t>(options_.block_bytes, 1, kMaxBlockTarget);
  if (options_.identity == 0) {
    std::random_device random;
    options_.identity = static_cast<uint64_t>(random()) << 32 | random();
  }
  start_segment(1, 0);
}

LogWriter::~LogWriter() {
  if (failed_) return;
  try {
    flush();
  } catch (const LogError&) {  // who wants to know has called flush()
  }
}

void LogWriter::sync_behind(std::function<void(uint64_t)> durable) {
  sync();
  options_.sync = SyncPolicy::output;
  durable_ = std::move(durable);
  durable_(synced_);
  behind_ = std::make_unique<SyncThread>([this](uint64_t sequence) { durable_(sequence); });
}

void LogWriter::ask_sync() {
  write_block(0);
  behind_->ask(segment_->number(), segment_->file().duplicate(), written_,
               std::exchange(new_name_, false) ? directory_ : "");
}

void LogWriter::check_behind() {
  if (!behind_ || failed_) return;
  try {
    behind_->check();
  } catch (const LogError&) {
    failed_ = true;
    throw;
  }
}

void LogWriter::require_usable() {
  check_behind();
  if (failed_) throw LogError(segment_path(directory_, segment_->number()), segment_->bytes(), "writing failed before");
  if (finished_) throw std::logic_error("log: it has ended, nothing may follow");
}

void LogWriter::start_segment(uint32_t number, uint64_t previous_link) {
  SegmentHead head;
  head.number = number;
  head.first_sequence = encoder_.block_start().sequence;
  head.previous_link = previous_link;
  head.identity = options_.identity;
  head.description = description_;
  segment_.emplace(directory_, head);
  bytes_written_ += segment_->bytes();
  if (behind_)
    new_name_ = true;
  else if (options_.sync != SyncPolicy::none)
    sync_directory(directory_);
}

void LogWriter::write_block(uint32_t flags) {
  if (encoder_.entries() == 0) return;
  try {
    if (segment_->bytes() >= options_.segment_bytes) {
      if (behind_) {
        behind_->ask(segment_->number(), segment_->file().duplicate(), written_,
                     std::exchange(new_name_, false) ? directory_ : "");
        ++first_unsynced_;
      } else if (options_.sync != SyncPolicy::none) {
        sync_segment();
        ++first_unsynced_;
      }
      SegmentWriter full = std::move(*segment_);
      try {
        start_segment(full.number() + 1, full.link());
      } catch (...) {
        segment_.emplace(std::move(full));
        throw;
      }
    }
    const uint64_t before = segment_->bytes();
    segment_->write_block(encoder_, flags);
    bytes_written_ += segment_->bytes() - before;
  } catch (...) {
    failed_ = true;
    throw;
  }
  written_ = encoder_.state().sequence - 1;
  encoder_.begin_block();
  flushed_at_ns_ = host_ns_;
}

void LogWriter::finish_pending_sync() {
  if (!pending_sync_.valid()) return;
  try {
    pending_sync_.get();
  } catch (...) {
    failed_ = true;
    throw;
  }
  synced_ = std::max(synced_, pending_sequence_);
}

void LogWriter::settle() { finish_pending_sync(); }

void LogWriter::sync_segment() {
  finish_pending_sync();
  if (synced_ == written_) return;
  if (behind_) {
    ask_sync();
    behind_->drain();
    check_behind();
    synced_ = written_;
    return;
  }
  try {
    // Under the policy `none` there may be segments that nobody asked to be synced so far.
    if (first_unsynced_ != segment_->number()) sync_directory(directory_);
    for (; first_unsynced_ < segment_->number(); ++first_unsynced_)
      File(segment_path(directory_, first_unsynced_), O_RDONLY).sync();
    segment_->file().sync();
  } catch (...) {
    failed_ = true;  // after a failed sync the system may have dropped what it had
    throw;
  }
  synced_ = written_;
}

uint64_t LogWriter::append(uint64_t icount, uint64_t virtual_ns, const Payload& payload) {
  require_usable();
  const EntryKind kind = kind_of(payload);
  // The end is a block of its own: see FORMAT.md on what a reader can conclude from that.
  if (kind == EntryKind::end) write_block(0);
  const uint64_t sequence = encoder_.append(icount, virtual_ns, payload);
  if (kind == EntryKind::end) {
    write_block(BlockHead::kLast);
    finished_ = true;
    if (options_.sync != SyncPolicy::none) sync_segment();
  } else if (kind == EntryKind::output_mark && behind_) {
    ask_sync();
  } else if (kind == EntryKind::output_mark && options_.sync == SyncPolicy::output) {
    sync();
  } else if (encoder_.body().size() >= options_.block_bytes) {
    write_block(0);
  }
  return sequence;
}

void LogWriter::flush() {
  if (finished_) return;
  require_usable();
  write_block(0);
}

void LogWriter::sync() {
  flush();
  sync_segment();
  synced_at_ns_ = host_ns_;
}

void LogWriter::tick(uint64_t host_ns) {
  const bool first = host_ns_ == 0;
  host_ns_ = std::max(host_ns_, host_ns);
  if (first) flushed_at_ns_ = synced_at_ns_ = host_ns_;
  if (finished_) return;
  require_usable();
  if (host_ns_ - flushed_at_ns_ >= options_.flush_interval_ns) {
    write_block(0);
    flushed_at_ns_ = host_ns_;
  }
  if (pending_sync_.valid()) {
    if (pending_sync_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return;
    finish_pending_sync();
  }
  if (options_.sync == SyncPolicy::none || host_ns_ - synced_at_ns_ < options_.sync_interval_ns) return;
  write_block(0);
  synced_at_ns_ = host_ns_;
  if (behind_) return ask_sync();
  if (synced_ == written_) return;
  // Segments before this one are durable: see write_block().
  pending_sequence_ = written_;
  pending_sync_ = std::async(std::launch::async, [file = segment_->file().duplicate()] { file.sync(); });
}

}  // namespace understudy::ftlog
