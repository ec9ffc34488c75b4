#include "primary/state_chunk.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <string_view>

#include "ftlog/bytes.h"

namespace understudy::primary {

namespace {

constexpr std::string_view kMagic = "UNDSTATE";
constexpr uint32_t kVersion = 1;
constexpr size_t kSummed = kStateChunkHead - 8;

uint64_t sum(std::span<const uint8_t> head, std::span<const uint8_t> body, uint64_t seed) {
  return XXH3_64bits_withSeed(body.data(), body.size(), XXH3_64bits_withSeed(head.data(), head.size(), seed));
}

std::string stores_of(emu::Machine& machine) {
  std::string lines;
  for (const emu::PagedStore* store : machine.stores())
    lines += fmt::format("{} {}\n", store->store_name(), store->store_pages());
  return lines;
}

}  // namespace

std::vector<uint8_t> StateChunkSequence::seal(StateChunkKind kind, std::span<const uint8_t> body) {
  std::vector<uint8_t> chunk;
  chunk.reserve(kStateChunkHead + body.size());
  ftlog::put_u32(chunk, static_cast<uint32_t>(kind));
  ftlog::put_u32(chunk, 0);
  ftlog::put_u64(chunk, number_++);
  checksum_ = sum(chunk, body, checksum_);
  ftlog::put_u64(chunk, checksum_);
  chunk.insert(chunk.end(), body.begin(), body.end());
  if (chunk.size() > kMaxStateChunk) throw std::logic_error("state transfer: a chunk is too large");
  return chunk;
}

StateChunk StateChunkSequence::open(std::span<const uint8_t> chunk) {
  if (chunk.size() < kStateChunkHead || chunk.size() > kMaxStateChunk)
    throw StateTransferError(fmt::format("state transfer: a chunk has {} bytes", chunk.size()));
  ftlog::ByteCursor cursor(chunk);
  const uint32_t kind = cursor.u32();
  const uint32_t zero = cursor.u32();
  const uint64_t number = cursor.u64();
  const uint64_t checksum = cursor.u64();
  const auto body = chunk.subspan(kStateChunkHead);
  if (number != number_)
    throw StateTransferError(fmt::format("state transfer: chunk {} came instead of {}", number, number_));
  if (checksum != sum(chunk.first(kSummed), body, checksum_))
    throw StateTransferError(fmt::format("state transfer: the checksum of chunk {} is wrong", number));
  if (zero != 0 || kind < static_cast<uint32_t>(StateChunkKind::begin) ||
      kind > static_cast<uint32_t>(StateChunkKind::end))
    throw StateTransferError(fmt::format("state transfer: chunk {} is of no known kind", number));
  ++number_;
  checksum_ = checksum;
  return {static_cast<StateChunkKind>(kind), body};
}

std::vector<uint8_t> state_begin_body(emu::Machine& machine, uint64_t transfer) {
  std::vector<uint8_t> body(kMagic.begin(), kMagic.end());
  ftlog::put_u32(body, kVersion);
  ftlog::put_u64(body, transfer);
  const std::string stores = stores_of(machine);
  body.insert(body.end(), stores.begin(), stores.end());
  return body;
}

void check_state_begin(emu::Machine& machine, std::span<const uint8_t> body) {
  ftlog::ByteCursor cursor(body);
  if (body.size() < kMagic.size() + 12 || !std::ranges::equal(cursor.take(kMagic.size()), kMagic))
    throw StateTransferError("state transfer: this is none");
  if (const uint32_t version = cursor.u32(); version != kVersion)
    throw StateTransferError(fmt::format("state transfer: version {}, this program takes {}", version, kVersion));
  cursor.u64();
  if (!std::ranges::equal(cursor.take(cursor.remaining()), stores_of(machine)))
    throw StateTransferError("state transfer: the sender's machine has other memory or drives");
}

std::vector<uint8_t> state_end_body(emu::Machine& machine) {
  std::vector<uint8_t> body;
  ftlog::put_u64(body, machine.icount());
  ftlog::put_u64(body, machine.now_ns());
  const emu::Digest digest = machine.digest();
  for (const uint64_t part : {digest.cpu, digest.ram, digest.devices}) ftlog::put_u64(body, part);
  return body;
}

}  // namespace understudy::primary
