// Entries as bytes, and back. Counts are differences, times are mostly not written at all: the decoder predicts them
// from the count and the clock's rate, and only what differs is stored. A block of entries decodes on its own, given
// the CodecState it started with. Bytes are described in ftlog/FORMAT.md.
#pragma once

#include <zstd.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ftlog/bytes.h"
#include "ftlog/entry.h"

namespace understudy::ftlog {

// What both sides know before an entry.
struct CodecState {
  uint64_t sequence = 1;  // the next entry's
  uint64_t icount = 0;    // the last entry's
  uint64_t virtual_ns = 0;
  uint64_t ps_per_instruction = 4000;
  bool operator==(const CodecState&) const = default;
};

// Predicts times, the same on both sides. The line starts anew wherever a prediction fails or the rate changes, so that
// roundings do not add up.
class TimeLine {
 public:
  explicit TimeLine(const CodecState& state)
      : icount_(state.icount), virtual_ns_(state.virtual_ns), ps_per_instruction_(state.ps_per_instruction) {}
  uint64_t predict(uint64_t icount) const;

 private:
  uint64_t icount_, virtual_ns_, ps_per_instruction_;
};

// Payloads from this size on are compressed where that makes them smaller.
constexpr size_t kCompressFrom = 256;
// No entry takes more bytes than this.
constexpr size_t kMaxEncodedEntry = kMaxBlockBytes + 64;

class Encoder {
 public:
  explicit Encoder(const CodecState& start = {});
  ~Encoder();
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  // Forgets the block's bytes; the next entry starts a new block.
  void begin_block();
  // Returns the entry's sequence. Throws std::invalid_argument, and changes nothing, for a count or time before the
  // last entry's and for a payload beyond its bounds.
  uint64_t append(uint64_t icount, uint64_t virtual_ns, const Payload& payload);

  const CodecState& block_start() const { return block_start_; }
  const CodecState& state() const { return state_; }
  std::span<const uint8_t> body() const { return body_; }
  uint32_t entries() const { return static_cast<uint32_t>(state_.sequence - block_start_.sequence); }

 private:
  struct PayloadWriter;
  // The packed bytes; nothing when they are not smaller, or are not likely to be.
  const Bytes* pack(std::span<const uint8_t> bulk, bool is_input);
  CodecState block_start_, state_;
  TimeLine time_line_;
  Bytes body_;
  Bytes scratch_;
  unsigned vain_ = 0, untried_ = 0;  // inputs that did not shrink, the last ones; those that are not tried for it
  std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> zstd_;
};

class Decoder {
 public:
  // The bytes must outlive the decoder.
  Decoder(const CodecState& start, std::span<const uint8_t> body, uint32_t entries);

  // False after the last entry. Throws DecodeError for anything that an encoder would not have written.
  bool next(LogEntry& entry);
  const CodecState& state() const { return state_; }
  // What the last entry took in the block.
  size_t entry_bytes() const { return cursor_.position() - entry_at_; }

 private:
  CodecState state_;
  TimeLine time_line_;
  ByteCursor cursor_;
  size_t entry_at_ = 0;
  uint32_t left_;
};

}  // namespace understudy::ftlog
