#include "ftlog/segment_format.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace understudy::ftlog {

namespace {

constexpr std::array<uint8_t, 8> kSegmentMagic = {'U', 'N', 'D', 'S', 'L', 'O', 'G', '\n'};
constexpr std::array<uint8_t, 4> kBlockMagic = {'U', 'B', 'L', 'K'};
constexpr size_t kChecksumBytes = 8;

}  // namespace

uint64_t checksum(std::span<const uint8_t> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

Bytes encode(const SegmentHead& head, uint64_t& link) {
  Bytes out(kSegmentMagic.begin(), kSegmentMagic.end());
  put_u32(out, kLogVersion);
  put_u32(out, static_cast<uint32_t>(kSegmentHeadBytes + head.description.size() + kChecksumBytes));
  put_u32(out, head.number);
  put_u32(out, static_cast<uint32_t>(head.description.size()));
  put_u64(out, head.first_sequence);
  put_u64(out, head.previous_link);
  put_u64(out, head.identity);
  out.insert(out.end(), head.description.begin(), head.description.end());
  link = checksum(out);
  put_u64(out, link);
  return out;
}

SegmentExtent segment_extent(std::span<const uint8_t> bytes) {
  ByteCursor cursor(bytes);
  const auto magic = cursor.take(kSegmentMagic.size());
  if (!std::equal(magic.begin(), magic.end(), kSegmentMagic.begin())) return {0, "not a log segment"};
  const uint32_t version = cursor.u32();
  if (version != kLogVersion)
    return {0, fmt::format("has log format version {}, this program reads {}", version, kLogVersion)};
  const uint64_t total = cursor.u32();
  cursor.u32();
  const uint64_t description = cursor.u32();
  if (description > kMaxDescription || total != kSegmentHeadBytes + description + kChecksumBytes)
    return {0, "the segment header has an impossible length"};
  return {total, {}};
}

std::optional<SegmentHead> decode_segment_head(std::span<const uint8_t> bytes, uint64_t& link) {
  ByteCursor cursor(bytes);
  SegmentHead head;
  cursor.take(kSegmentMagic.size() + 8);
  head.number = cursor.u32();
  const size_t description_bytes = cursor.u32();
  head.first_sequence = cursor.u64();
  head.previous_link = cursor.u64();
  head.identity = cursor.u64();
  const auto description = cursor.take(description_bytes);
  head.description.assign(description.begin(), description.end());
  link = checksum(bytes.first(cursor.position()));
  if (cursor.u64() != link) return std::nullopt;
  return head;
}

void encode(BlockHead& head, Bytes& out) {
  const size_t start = out.size();
  out.insert(out.end(), kBlockMagic.begin(), kBlockMagic.end());
  put_u32(out, head.body_bytes);
  put_u32(out, head.entries);
  put_u32(out, head.flags);
  put_u64(out, head.start.sequence);
  put_u64(out, head.start.icount);
  put_u64(out, head.start.virtual_ns);
  put_u64(out, head.start.ps_per_instruction);
  put_u64(out, head.previous_link);
  put_u64(out, head.body_checksum);
  head.link = checksum(std::span<const uint8_t>(out).subspan(start));
  put_u64(out, head.link);
}

std::optional<BlockHead> decode_block_head(std::span<const uint8_t> bytes) {
  ByteCursor cursor(bytes.first(kBlockHeadBytes));
  const auto magic = cursor.take(kBlockMagic.size());
  if (!std::equal(magic.begin(), magic.end(), kBlockMagic.begin())) return std::nullopt;
  BlockHead head;
  head.body_bytes = cursor.u32();
  head.entries = cursor.u32();
  head.flags = cursor.u32();
  head.start.sequence = cursor.u64();
  head.start.icount = cursor.u64();
  head.start.virtual_ns = cursor.u64();
  head.start.ps_per_instruction = cursor.u64();
  head.previous_link = cursor.u64();
  head.body_checksum = cursor.u64();
  head.link = checksum(bytes.first(cursor.position()));
  if (cursor.u64() != head.link) return std::nullopt;
  return head;
}

std::optional<size_t> find_block_magic(std::span<const uint8_t> bytes) {
  const auto at = std::search(bytes.begin(), bytes.end(), kBlockMagic.begin(), kBlockMagic.end());
  if (at == bytes.end()) return std::nullopt;
  return static_cast<size_t>(at - bytes.begin());
}

std::string segment_path(const std::string& directory, uint32_t number) {
  return fmt::format("{}/log-{:08}.seg", directory, number);
}

}  // namespace understudy::ftlog
