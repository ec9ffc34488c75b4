// What a replica and the hub say to each other, as bytes and back. A message is
//   "UHP", u8 version, u8 kind, the kind's fields: little-endian numbers, texts with a u8 length, bytes to the end.
// Every field is bounded and a message has nothing after its fields. Texts and bytes of a decoded message are views of
// what was decoded. Damage on the way is TCP's to notice.
//
// The console is two streams of bytes, numbered from power-on: what the guest's COM1 sent and what it received. A byte
// keeps its number across replicas, so that either side drops what it has and sees what is missing.
//
// A disk of the hub's is asked by its name. Requests are carried out in the order in which they come; one that is sent
// again (after a lost connection, by a successor) is carried out again, and answered under the sender's epoch alone.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <zmq.hpp>

#include "emu/block_message.h"
#include "ftlog/bytes.h"
#include "primary/frame_batch.h"

namespace understudy::primary::hub {

constexpr uint8_t kVersion = 4;
constexpr size_t kMaxNode = 64;
constexpr size_t kMaxConsole = 16u << 10;  // bytes of console in a message
constexpr size_t kMaxDiskName = 32;
constexpr size_t kMaxDiskBytes = 128u << 10;  // that a request moves
constexpr size_t kMaxMessage = kMaxDiskBytes + 128;
// A replica has at most so many requests out at a disk.
constexpr size_t kMaxDiskRequests = 256;
// A replica sends at most so much console output beyond what the hub has delivered, and the hub so much input beyond
// what the replica has taken.
constexpr uint64_t kOutputWindow = 256u << 10, kInputWindow = 64u << 10;

// --- to the hub
// "The machine is live here." `instance` tells apart two processes that use one node's name.
struct Announce {
  uint64_t epoch = 0, instance = 0;
  uint64_t console_in = 0;   // the guest has had the bytes before this one
  uint64_t console_out = 0;  // the next byte that will be sent
  std::string_view node;
  bool operator==(const Announce&) const = default;
};
struct FramesOut {
  uint64_t epoch = 0;
  std::span<const uint8_t> bytes;  // a FrameBatch's
};
struct ConsoleOut {
  uint64_t epoch = 0, offset = 0;
  std::span<const uint8_t> bytes;
};
// Input before `offset` will not be asked for again, by any replica.
struct ConsoleTaken {
  uint64_t epoch = 0, offset = 0;
  bool operator==(const ConsoleTaken&) const = default;
};
// "What disk is this?", from anybody.
struct AskDisk {
  std::string_view disk;
  bool operator==(const AskDisk&) const = default;
};
struct DiskRequest {
  uint64_t epoch = 0;
  bool durable = false;  // a write is to be on the server's disk before it is answered
  std::string_view disk;
  emu::BlockRequest request;
  bool operator==(const DiskRequest&) const = default;
};
using ToHub = std::variant<Announce, FramesOut, ConsoleOut, ConsoleTaken, AskDisk, DiskRequest>;

// --- to a replica
// The announcement of `epoch` was accepted.
struct Accepted {
  uint64_t epoch = 0;
  uint64_t console_received = 0, console_delivered = 0;  // output before these is at the hub, has left it
  bool operator==(const Accepted&) const = default;
};
// What came was dropped, and all that follows will be: `node` is live, by this epoch.
struct Fenced {
  uint64_t epoch = 0;
  std::string_view node;
  bool operator==(const Fenced&) const = default;
};
struct FramesIn {
  std::span<const uint8_t> bytes;  // a FrameBatch's
};
struct ConsoleIn {
  uint64_t offset = 0;
  std::span<const uint8_t> bytes;
};
struct ConsoleDelivered {
  uint64_t offset = 0;
  bool operator==(const ConsoleDelivered&) const = default;
};
struct DiskShape {
  bool known = false;  // the hub has such a disk
  bool read_only = false;
  uint64_t bytes = 0;
  std::string_view disk;
  bool operator==(const DiskShape&) const = default;
};
struct DiskAnswer {
  uint64_t epoch = 0;
  std::string_view disk;
  emu::BlockAnswer answer;
  bool operator==(const DiskAnswer&) const = default;
};
// To a peer of another version, which reads no more than the version.
struct OtherVersion {
  bool operator==(const OtherVersion&) const = default;
};
using ToReplica =
    std::variant<Accepted, Fenced, FramesIn, ConsoleIn, ConsoleDelivered, DiskShape, DiskAnswer, OtherVersion>;

// Both ends of the hub's channel notice within some two seconds that the other is gone, and that a connection which is
// being made comes to nothing.
void keep_alive(zmq::socket_t& socket);

// Whether a text can name a node: 1 to kMaxNode printable ASCII characters.
bool is_node_name(std::string_view text);
// Whether a text can name a disk: 1 to kMaxDiskName of a-z A-Z 0-9 . _ -
bool is_disk_name(std::string_view text);

// A message of another version of the protocol. A message's head is the same in all of them.
class VersionError : public ftlog::DecodeError {
 public:
  explicit VersionError(uint8_t theirs);
};

// Bounds are the caller's promise.
ftlog::Bytes encode(const ToHub& message);
ftlog::Bytes encode(const ToReplica& message);
// Throw ftlog::DecodeError, or VersionError, for anything that encode() would not have made.
ToHub decode_to_hub(std::span<const uint8_t> bytes);
ToReplica decode_to_replica(std::span<const uint8_t> bytes);

}  // namespace understudy::primary::hub
