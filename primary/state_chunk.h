// What a state transfer consists of: chunks of at most 1 MiB that follow each other in one order. Each has a checksum
// that continues its predecessor's, so that a chunk that was changed, lost, doubled, moved or belongs to another
// transfer is told at once. Layout, little-endian: u32 kind, u32 0, u64 number, u64 checksum (XXH3 of the 16 bytes
// before it and of the body, seeded with the previous checksum), and the body:
//   begin    "UNDSTATE", u32 version, u64 that no other transfer has, a line "NAME PAGES" for each store of the machine
//   pages    a section of emu/page_section: any number of these, a page as often as it changed
//   archive  a piece of the state archive (emu/state_archive), zstd: one or more
//   end      u64 icount, u64 virtual nanosecond, u64 digests of CPU, RAM and devices
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "emu/machine.h"

namespace understudy::primary {

constexpr size_t kMaxStateChunk = 1 << 20;
constexpr size_t kStateChunkHead = 24;

enum class StateChunkKind : uint32_t { begin = 1, pages = 2, archive = 3, end = 4 };

// Bytes that no sender sends to this machine; one line.
class StateTransferError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct StateChunk {
  StateChunkKind kind;
  std::span<const uint8_t> body;
};

// One end of the sequence; a sender's and its receiver's go the same way.
class StateChunkSequence {
 public:
  std::vector<uint8_t> seal(StateChunkKind kind, std::span<const uint8_t> body);
  // Points into `chunk`. Throws StateTransferError.
  StateChunk open(std::span<const uint8_t> chunk);

 private:
  uint64_t number_ = 0, checksum_ = 0;
};

// The bodies of the first chunk, and of the last for a machine as it is.
std::vector<uint8_t> state_begin_body(emu::Machine& machine, uint64_t transfer);
std::vector<uint8_t> state_end_body(emu::Machine& machine);
// Throws StateTransferError if it does not begin a transfer to such a machine.
void check_state_begin(emu::Machine& machine, std::span<const uint8_t> body);

}  // namespace understudy::primary
