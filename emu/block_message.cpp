#include "emu/block_message.h"

#include "emu/byte_writer.h"

namespace understudy::emu {

namespace {

constexpr size_t kRequestHead = 21, kAnswerHead = 9;

uint64_t get(std::span<const uint8_t> bytes, size_t at, unsigned width) {
  uint64_t value = 0;
  for (unsigned i = 0; i < width; ++i) value |= static_cast<uint64_t>(bytes[at + i]) << (8 * i);
  return value;
}

std::vector<uint8_t> rest(std::span<const uint8_t> bytes, size_t from) {
  return {bytes.begin() + static_cast<std::ptrdiff_t>(from), bytes.end()};
}

bool makes_sense(const BlockRequest& request) {
  switch (request.operation) {
    case BlockOperation::read:
      return request.data.empty();
    case BlockOperation::write:
      return request.data.size() == request.length;
    case BlockOperation::flush:
      return request.data.empty() && request.length == 0 && request.offset == 0;
  }
  return false;
}

}  // namespace

const char* to_string(BlockOperation operation) {
  switch (operation) {
    case BlockOperation::read:
      return "read";
    case BlockOperation::write:
      return "write";
    case BlockOperation::flush:
      return "flush";
  }
  return "?";
}

std::vector<uint8_t> encode(const BlockRequest& request) {
  ByteWriter out;
  out.u64(request.number).u8(static_cast<uint8_t>(request.operation)).u64(request.offset).u32(request.length);
  return out.bytes(request.data).take();
}

std::vector<uint8_t> encode(const BlockAnswer& answer) {
  return ByteWriter().u64(answer.number).u8(answer.ok ? 1 : 0).bytes(answer.data).take();
}

std::optional<BlockRequest> decode_block_request(std::span<const uint8_t> bytes) {
  if (bytes.size() < kRequestHead) return std::nullopt;
  BlockRequest request{get(bytes, 0, 8), static_cast<BlockOperation>(bytes[8]), get(bytes, 9, 8),
                       static_cast<uint32_t>(get(bytes, 17, 4)), rest(bytes, kRequestHead)};
  if (!makes_sense(request)) return std::nullopt;
  return request;
}

std::optional<BlockAnswer> decode_block_answer(std::span<const uint8_t> bytes) {
  if (bytes.size() < kAnswerHead || bytes[8] > 1) return std::nullopt;
  return BlockAnswer{get(bytes, 0, 8), bytes[8] == 1, rest(bytes, kAnswerHead)};
}

}  // namespace understudy::emu
