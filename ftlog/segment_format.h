// The fixed parts of a log's segment files as plain data, and their bytes. Every checksum is XXH3-64; a header's own
// checksum is also its link: the next header names it, so that no block can be dropped, swapped or taken from elsewhere
// unnoticed. Byte by byte in ftlog/FORMAT.md.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "ftlog/codec.h"

namespace understudy::ftlog {

constexpr uint32_t kLogVersion = 2;
constexpr size_t kSegmentHeadBytes = 48;  // before the description
constexpr size_t kMaxDescription = 64u << 10;
constexpr size_t kBlockHeadBytes = 72;
constexpr size_t kMaxBlockBody = 2u << 20;
// An entry always fits into a block that is not yet due to be written.
constexpr size_t kMaxBlockTarget = kMaxBlockBody - kMaxEncodedEntry;

struct SegmentHead {
  uint32_t number = 1;
  uint64_t first_sequence = 1;
  uint64_t previous_link = 0;  // of the last block of the segment before
  uint64_t identity = 0;       // of the log: no two are alike
  std::string description;     // of the machine
};

struct BlockHead {
  static constexpr uint32_t kLast = 1;  // holds the log's end and nothing else
  uint32_t body_bytes = 0;
  uint32_t entries = 0;
  uint32_t flags = 0;
  CodecState start;
  uint64_t previous_link = 0;
  uint64_t body_checksum = 0;
  uint64_t link = 0;  // this header's checksum
};

uint64_t checksum(std::span<const uint8_t> bytes);

// The whole header, and the link that the first block names.
Bytes encode(const SegmentHead& head, uint64_t& link);
// Appends the header, and sets its link.
void encode(BlockHead& head, Bytes& out);

// The lengths of a segment header from its first kSegmentHeadBytes, or the reason why there are none.
struct SegmentExtent {
  uint64_t total = 0;
  std::string problem;
};
SegmentExtent segment_extent(std::span<const uint8_t> bytes);
// From a whole header of that extent; nothing if its checksum is wrong.
std::optional<SegmentHead> decode_segment_head(std::span<const uint8_t> bytes, uint64_t& link);

// From kBlockHeadBytes; nothing if they are no block header or were changed. The contents are not looked at.
std::optional<BlockHead> decode_block_head(std::span<const uint8_t> bytes);
// Where in the bytes something starts that looks like a block header.
std::optional<size_t> find_block_magic(std::span<const uint8_t> bytes);

std::string segment_path(const std::string& directory, uint32_t number);

}  // namespace understudy::ftlog
