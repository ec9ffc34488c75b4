#include "ftlog/segment_reader.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace understudy::ftlog {

namespace {

// How far behind damage a good block is looked for, so that a huge file cannot keep the reader busy.
constexpr uint64_t kSearchBytes = 64u << 20;
constexpr size_t kSearchStep = 64u << 10;

}  // namespace

SegmentReader::SegmentReader(const std::string& directory, uint32_t number)
    : file_(segment_path(directory, number), O_RDONLY), number_(number) {}

bool SegmentReader::broken_off(uint64_t size, std::string reason) {
  tail_ = {path(), offset_, size - offset_, std::move(reason)};
  return false;
}

// A writer that is killed leaves a part of its last block, a host that loses power possibly a block with wrong bytes:
// but never anything good behind it.
bool SegmentReader::damaged(uint64_t size, const std::string& what) {
  if (good_block_follows(size)) throw LogError(path(), offset_, what);
  return broken_off(size, what);
}

bool SegmentReader::good_block_follows(uint64_t size) const {
  Bytes window(kSearchStep + kBlockHeadBytes);
  const uint64_t end = std::min(size, offset_ + kSearchBytes);
  for (uint64_t at = offset_ + 1; at + kBlockHeadBytes <= end; at += kSearchStep) {
    const size_t got = file_.read_at(window, at);
    const std::span<const uint8_t> bytes(window.data(), got);
    for (size_t i = 0; i + kBlockHeadBytes <= got && i < kSearchStep;) {
      const auto found = find_block_magic(bytes.subspan(i));
      if (!found || i + *found + kBlockHeadBytes > got) break;
      i += *found;
      // An input may hold anything, a log for instance: what was here was before what follows.
      const auto head = decode_block_head(bytes.subspan(i));
      if (head && head->start.sequence > next_sequence_) return true;
      ++i;
    }
  }
  return false;
}

// A host that loses power may leave the newest segment without a good header; without any segment there is no log.
const SegmentHead* SegmentReader::bad_head(uint64_t size, const std::string& what) {
  if (number_ == 1) throw LogError(path(), 0, what);
  damaged(size, what);
  return nullptr;
}

const SegmentHead* SegmentReader::head() {
  if (head_) return &*head_;
  const uint64_t size = file_.size();
  std::array<uint8_t, kSegmentHeadBytes> fixed{};
  if (file_.read_at(fixed, 0) < fixed.size()) {
    broken_off(size, "the segment header is cut short");
    return nullptr;
  }
  const SegmentExtent extent = segment_extent(fixed);
  if (!extent.problem.empty()) return bad_head(size, extent.problem);
  Bytes whole(extent.total);
  if (file_.read_at(whole, 0) < whole.size()) {
    broken_off(size, "the segment header is cut short");
    return nullptr;
  }
  uint64_t link = 0;
  std::optional<SegmentHead> head = decode_segment_head(whole, link);
  if (!head) return bad_head(size, "the segment header's checksum is wrong");
  if (head->number != number_)
    throw LogError(path(), 0, fmt::format("this is segment {} under another's name", head->number));
  head_ = std::move(head);
  offset_ = whole.size();
  link_ = link;
  next_sequence_ = head_->first_sequence;
  return &*head_;
}

void SegmentReader::check_head(const BlockHead& head) const {
  if (head.previous_link != link_)
    throw LogError(path(), offset_, "a block is missing or out of place before this one");
  if (head.start.sequence != next_sequence_)
    throw LogError(path(), offset_,
                   fmt::format("the block starts with entry {} instead of {}", head.start.sequence, next_sequence_));
  if (head.body_bytes > kMaxBlockBody || head.entries == 0 || head.entries > head.body_bytes)
    throw LogError(path(), offset_, "the block header holds impossible lengths");
  if ((head.flags & ~BlockHead::kLast) != 0) throw LogError(path(), offset_, "the block has unknown flags");
}

bool SegmentReader::next(Block& block, Want want) {
  const uint64_t size = file_.size();
  if (size <= offset_) return broken_off(offset_, "the log goes no further");
  std::array<uint8_t, kBlockHeadBytes> bytes{};
  if (file_.read_at(bytes, offset_) < bytes.size()) return broken_off(size, "a block header is cut short");
  const auto head = decode_block_head(bytes);
  if (!head) return damaged(size, "a block header is damaged");
  check_head(*head);
  const uint64_t body_at = offset_ + kBlockHeadBytes;
  if (size - body_at < head->body_bytes)
    return broken_off(size, fmt::format("a block is cut short, {} of its {} bytes are missing",
                                        head->body_bytes - (size - body_at), head->body_bytes));
  block.body.clear();
  if (want == Want::body) {
    block.body.resize(head->body_bytes);
    if (file_.read_at(block.body, body_at) < block.body.size()) return broken_off(size, "a block is cut short");
    if (checksum(block.body) != head->body_checksum) return damaged(size, "a block's contents are damaged");
  }
  block.head = *head;
  block.offset = offset_;
  offset_ = body_at + head->body_bytes;
  link_ = head->link;
  next_sequence_ = head->start.sequence + head->entries;
  return true;
}

void SegmentReader::go_back_to(const Block& block) {
  offset_ = block.offset;
  link_ = block.head.previous_link;
  next_sequence_ = block.head.start.sequence;
}

}  // namespace understudy::ftlog
