// What a primary and its backup say to each other, as bytes and back. A message is
//   "UPC", u8 version, u8 kind, varint epoch, the kind's fields, u64 XXH3 of all before
// so that a damaged one, and one of another version, is known as such. Every field is bounded; nothing here trusts a
// length. Refusal keeps its layout in every version, so that a peer of another version can be told.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "ftlog/bytes.h"
#include "ftlog/codec.h"
#include "ftlog/entry.h"

namespace understudy::ftlog {

constexpr uint8_t kChannelVersion = 3;
constexpr size_t kMaxChannelMessage = 4u << 20;
constexpr size_t kMaxStateChunk = 2u << 20;
constexpr size_t kMaxLogBlock = 2u << 20;
constexpr size_t kMaxChannelText = 128u << 10;
constexpr size_t kMaxStreams = 64;

// Nothing with a point before this one will follow the entry `sequence`.
struct Horizon {
  uint64_t sequence = 0, icount = 0, virtual_ns = 0;
  bool operator==(const Horizon&) const = default;
};

// --- from a backup
struct Hello {  // wants to join
  std::string build, node;
  bool operator==(const Hello&) const = default;
};
struct Ready {  // has built a machine of this description, and waits for its state
  std::string description;
  bool operator==(const Ready&) const = default;
};
struct Ack {
  uint64_t received = 0;  // everything up to this sequence is here (and durable, where that was asked for)
  Horizon replayed;
  bool resend = false;  // what follows `received` did not arrive: send it again
  uint64_t chunks = 0;  // of the machine's state that were taken
  bool engaged = false;
  uint64_t stamp = 0;  // the newest that was heard
  bool operator==(const Ack&) const = default;
};
struct Failed {  // cannot be counted on any more
  std::string reason;
  bool operator==(const Failed&) const = default;
};

// --- from a primary
struct Welcome {
  std::string build, node, description;
  Start start;  // how to build the machine
  bool durable = false;
  uint32_t timeout_ms = 250, beat_ms = 60;
  bool operator==(const Welcome&) const = default;
};
struct Refusal {
  bool busy = false;  // may be asked again later
  std::string reason;
  bool operator==(const Refusal&) const = default;
};
struct StateChunk {
  Bytes bytes;
  bool operator==(const StateChunk&) const = default;
};
// What has passed through one of the machine's channels so far.
struct Stream {
  uint16_t channel = 0;
  uint64_t in_bytes = 0, out_bytes = 0, out_digest = 0;
  bool operator==(const Stream&) const = default;
};
struct StateEnd {  // the machine is complete; the log goes on from here
  CodecState log;
  std::vector<Stream> streams;
  bool operator==(const StateEnd&) const = default;
};
struct Engaged {  // from here on no output leaves before it is acknowledged: this backup may take over
  bool operator==(const Engaged&) const = default;
};
struct LogBlock {
  CodecState start;
  uint32_t entries = 0;
  Bytes body;
  Horizon horizon;
  uint64_t delivered = 0;  // outputs marked up to this sequence have left
  uint64_t stamp = 0;      // when it was sent, by the primary's own reckoning; 0: it does not matter
  bool operator==(const LogBlock&) const = default;
};
struct Beat {
  Horizon horizon;
  uint64_t delivered = 0;
  uint64_t parts = 0;  // state chunks, and the state's end, that were sent before this
  uint64_t stamp = 0;  // as a block's
  bool operator==(const Beat&) const = default;
};
struct Handover {  // the primary has stopped behind this entry: take over
  uint64_t sequence = 0;
  bool operator==(const Handover&) const = default;
};
// --- from either
struct Goodbye {
  std::string reason;
  bool operator==(const Goodbye&) const = default;
};

// The order is that of the kinds' numbers, from 1.
using ChannelPayload = std::variant<Hello, Ready, Ack, Failed, Welcome, Refusal, StateChunk, StateEnd, Engaged,
                                    LogBlock, Beat, Handover, Goodbye>;

struct ChannelMessage {
  uint64_t epoch = 0;
  ChannelPayload payload;
  bool operator==(const ChannelMessage&) const = default;
};

// A message of another version of the protocol.
class ChannelVersionError : public DecodeError {
 public:
  explicit ChannelVersionError(uint8_t theirs);
};

// Throws std::invalid_argument for a field beyond its bounds.
Bytes encode(const ChannelMessage& message);
// Throws DecodeError, or ChannelVersionError.
ChannelMessage decode_channel_message(std::span<const uint8_t> bytes);

const char* name_of(const ChannelPayload& payload);

}  // namespace understudy::ftlog
