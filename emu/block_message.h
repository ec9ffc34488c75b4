// What passes through the channels of a disk that lies outside of the machine (ChannelKind::disk), as bytes and back:
// requests go out, and what became of each comes in. Numbers name the requests of one disk; they start at 1 and grow.
// Layout, little-endian: a request is u64 number, u8 operation, u64 offset, u32 length, and the data of a write; an
// answer is u64 number, u8 1 for well and 0 for failed, and the data of a read.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace understudy::emu {

enum class BlockOperation : uint8_t { read = 1, write, flush };
const char* to_string(BlockOperation operation);

struct BlockRequest {
  uint64_t number = 0;
  BlockOperation operation = BlockOperation::read;
  uint64_t offset = 0;        // bytes
  uint32_t length = 0;        // of a read or a write
  std::vector<uint8_t> data;  // of a write: `length` bytes
  bool operator==(const BlockRequest&) const = default;
};

struct BlockAnswer {
  uint64_t number = 0;
  bool ok = false;
  std::vector<uint8_t> data;
  bool operator==(const BlockAnswer&) const = default;
};

std::vector<uint8_t> encode(const BlockRequest& request);
std::vector<uint8_t> encode(const BlockAnswer& answer);
// Nothing for bytes that encode() would not have made of a request that makes sense.
std::optional<BlockRequest> decode_block_request(std::span<const uint8_t> bytes);
std::optional<BlockAnswer> decode_block_answer(std::span<const uint8_t> bytes);

}  // namespace understudy::emu
