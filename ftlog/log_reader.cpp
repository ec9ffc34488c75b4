#include "ftlog/log_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

namespace understudy::ftlog {

namespace {

constexpr std::string_view kPrefix = "log-", kSuffix = ".seg";

// The number of the newest segment, 0 without any.
uint32_t newest_segment(const std::string& directory) {
  uint32_t newest = 0;
  std::error_code error;
  std::filesystem::directory_iterator files(directory, error);
  for (; !error && files != std::filesystem::directory_iterator(); files.increment(error)) {
    const std::string name = files->path().filename().string();
    if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) continue;
    const char* const last = name.data() + name.size() - kSuffix.size();
    uint32_t number = 0;
    const auto [end, bad] = std::from_chars(name.data() + kPrefix.size(), last, number);
    if (bad == std::errc() && end == last) newest = std::max(newest, number);
  }
  if (error) throw LogError(directory, 0, fmt::format("cannot list: {}", error.message()));
  return newest;
}

}  // namespace

LogReader::LogReader(std::string directory)
    : directory_(std::move(directory)), segment_(std::make_unique<SegmentReader>(directory_, 1)) {
  const SegmentHead* head = segment_->head();
  if (head == nullptr) throw LogError(segment_->path(), 0, segment_->tail().reason);
  if (head->first_sequence != 1 || head->previous_link != 0)
    throw LogError(segment_->path(), 0, "this is not the beginning of a log");
  description_ = head->description;
  identity_ = head->identity;
}

void LogReader::bad_entry(size_t position, const std::string& what) const {
  throw LogError(segment_->path(), block_.offset + kBlockHeadBytes + position, what);
}

bool LogReader::next(LogEntry& entry) {
  if (state_ == LogState::complete) return false;
  state_ = LogState::reading;
  for (;;) {
    if (!next_of_block(entry)) {
      if (next_block()) continue;
      return false;
    }
    if (entry.kind() == EntryKind::end) check_nothing_follows();
    if (entry.icount < from_icount_ || entry.sequence < from_sequence_) {
      if (state_ == LogState::complete) return false;
      continue;
    }
    return true;
  }
}

bool LogReader::next_of_block(LogEntry& entry) {
  if (!decoder_) return false;
  try {
    if (decoder_->next(entry)) {
      const bool last = (block_.head.flags & BlockHead::kLast) != 0;
      if (last != (entry.kind() == EntryKind::end) || (last && block_.head.entries != 1))
        bad_entry(0, "the end of the log is not where it should be");
      return true;
    }
  } catch (const DecodeError& error) {
    bad_entry(error.position(), error.what());
  }
  expected_ = decoder_->state();
  decoder_.reset();
  return false;
}

bool LogReader::next_block() {
  while (!segment_->next(block_)) {
    const uint32_t newest = newest_segment(directory_);
    if (newest <= segment_->number()) {
      state_ = LogState::torn;
      tail_ = segment_->tail();
      return false;
    }
    // The writer may have gone on to another segment since: but then this one is whole now.
    if (segment_->next(block_)) break;
    if (segment_->tail().bytes_lost != 0)
      throw LogError(segment_->path(), segment_->tail().offset, segment_->tail().reason);
    if (!next_segment()) return false;
  }
  if (expected_ && *expected_ != block_.head.start)
    throw LogError(segment_->path(), block_.offset, "the block does not start where the one before ended");
  decoder_.emplace(block_.head.start, block_.body, block_.head.entries);
  bytes_read_ += kBlockHeadBytes + block_.body.size();
  ++blocks_read_;
  return true;
}

bool LogReader::next_segment() {
  auto next = std::make_unique<SegmentReader>(directory_, segment_->number() + 1);
  const SegmentHead* head = next->head();
  if (head == nullptr) {
    const TornTail& tail = next->tail();
    if (newest_segment(directory_) > next->number()) throw LogError(tail.segment, tail.offset, tail.reason);
    state_ = LogState::torn;
    tail_ = tail;
    return false;
  }
  if (head->previous_link != segment_->link() || head->first_sequence != segment_->next_sequence())
    throw LogError(segment_->path(), segment_->offset(),
                   fmt::format("blocks are missing here: segment {} goes on with entry {} instead of {}",
                               next->number(), head->first_sequence, segment_->next_sequence()));
  if (head->description != description_ || head->identity != identity_)
    throw LogError(next->path(), 0, "this segment is of another recording than the first one");
  segment_ = std::move(next);
  return true;
}

void LogReader::check_nothing_follows() {
  if (segment_->size() != segment_->offset())
    throw LogError(segment_->path(), segment_->offset(), "something follows the end of the log");
  if (newest_segment(directory_) > segment_->number())
    throw LogError(ftlog::segment_path(directory_, segment_->number() + 1), 0, "this follows the end of the log");
  state_ = LogState::complete;
}

// Goes to the last block which starts, so far as `starts_before` says, before what is looked for.
template <typename Predicate>
void LogReader::seek(Predicate starts_before) {
  decoder_.reset();
  expected_.reset();
  state_ = LogState::reading;
  Block block;
  for (uint32_t number = newest_segment(directory_); number >= 1; --number) {
    auto segment = std::make_unique<SegmentReader>(directory_, number);
    const bool readable = segment->head() != nullptr && segment->next(block, SegmentReader::Want::head);
    if (number > 1 && (!readable || !starts_before(block.head.start))) continue;
    if (readable) {
      Block best = block;
      while (segment->next(block, SegmentReader::Want::head) && starts_before(block.head.start)) best = block;
      segment->go_back_to(best);
    }
    segment_ = std::move(segment);
    return;
  }
}

void LogReader::seek_icount(uint64_t icount) {
  from_icount_ = icount;
  from_sequence_ = 0;
  seek([icount](const CodecState& start) { return start.icount < icount; });
}

void LogReader::seek_sequence(uint64_t sequence) {
  from_sequence_ = sequence;
  from_icount_ = 0;
  seek([sequence](const CodecState& start) { return start.sequence <= sequence; });
}

}  // namespace understudy::ftlog
