// Reads one segment file, block by block, and checks everything it can: checksums, links, sequences, lengths. The file
// may be growing: where it ends, or breaks off as a writer that was killed would leave it, the reader stays, says why,
// and can be asked again later. Memory is bounded by one block.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ftlog/file.h"
#include "ftlog/segment_format.h"

namespace understudy::ftlog {

// Where a log stops without having been finished, and what is lost there.
struct TornTail {
  std::string segment;
  uint64_t offset = 0;      // everything before is good
  uint64_t bytes_lost = 0;  // from there to the end of the file
  std::string reason;
};

struct Block {
  BlockHead head;
  uint64_t offset = 0;  // in the segment
  Bytes body;
};

class SegmentReader {
 public:
  // Throws LogError if the file cannot be opened.
  SegmentReader(const std::string& directory, uint32_t number);

  // The segment's header; nullptr when the file breaks off in it (see tail()). Throws LogError for a bad one.
  const SegmentHead* head();

  enum class Want { head, body };
  // The next block; false at the end of what can be read (see tail()). Throws LogError for damage that is not at the
  // end, and for whole blocks which do not belong here. head() has been asked.
  bool next(Block& block, Want want = Want::body);
  // Why next() or head() gave nothing; no bytes lost: the file ends where a block ended.
  const TornTail& tail() const { return tail_; }

  // Goes back to a block that next() gave.
  void go_back_to(const Block& block);

  const std::string& path() const { return file_.path(); }
  uint32_t number() const { return number_; }
  uint64_t offset() const { return offset_; }
  uint64_t size() const { return file_.size(); }
  uint64_t link() const { return link_; }
  // The first sequence that the blocks read so far do not hold.
  uint64_t next_sequence() const { return next_sequence_; }

 private:
  bool broken_off(uint64_t size, std::string reason);
  const SegmentHead* bad_head(uint64_t size, const std::string& what);
  bool damaged(uint64_t size, const std::string& what);
  bool good_block_follows(uint64_t size) const;
  void check_head(const BlockHead& head) const;

  File file_;
  uint32_t number_;
  std::optional<SegmentHead> head_;
  uint64_t offset_ = 0;
  uint64_t link_ = 0;
  uint64_t next_sequence_ = 0;
  TornTail tail_;
};

}  // namespace understudy::ftlog
