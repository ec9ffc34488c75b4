#include "primary/hub_protocol.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

namespace understudy::primary::hub {

namespace {

using ftlog::ByteCursor;
using ftlog::Bytes;
using ftlog::DecodeError;
using ftlog::put_u64;

constexpr std::string_view kMagic = "UHP";

enum class Kind : uint8_t {
  announce = 1,
  frames_out = 2,
  console_out = 3,
  console_taken = 4,
  ask_disk = 5,
  disk_request = 6,
  accepted = 0x81,
  fenced = 0x82,
  frames_in = 0x83,
  console_in = 0x84,
  console_delivered = 0x85,
  disk_shape = 0x86,
  disk_answer = 0x87,
  other_version = 0x88,
};

void put(Bytes& out, std::span<const uint8_t> bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }

void put_node(Bytes& out, std::string_view node) {
  assert(is_node_name(node));
  out.push_back(static_cast<uint8_t>(node.size()));
  out.insert(out.end(), node.begin(), node.end());
}

void put_disk(Bytes& out, std::string_view disk) {
  assert(is_disk_name(disk));
  out.push_back(static_cast<uint8_t>(disk.size()));
  out.insert(out.end(), disk.begin(), disk.end());
}

void put_frames(Bytes& out, std::span<const uint8_t> batch) {
  assert(!batch.empty() && batch.size() <= FrameBatch::kMaxBytes);
  put(out, batch);
}

void put_console(Bytes& out, uint64_t offset, std::span<const uint8_t> bytes) {
  assert(!bytes.empty() && bytes.size() <= kMaxConsole && offset <= UINT64_MAX - bytes.size());
  put_u64(out, offset);
  put(out, bytes);
}

struct Writer {
  Bytes out;

  explicit Writer(size_t payload) {
    out.reserve(kMagic.size() + 32 + payload);
    out.insert(out.end(), kMagic.begin(), kMagic.end());
    out.push_back(kVersion);
  }
  void kind(Kind kind) { out.push_back(static_cast<uint8_t>(kind)); }

  void operator()(const Announce& m) {
    kind(Kind::announce);
    for (const uint64_t value : {m.epoch, m.instance, m.console_in, m.console_out}) put_u64(out, value);
    put_node(out, m.node);
  }
  void operator()(const FramesOut& m) {
    kind(Kind::frames_out);
    put_u64(out, m.epoch);
    put_frames(out, m.bytes);
  }
  void operator()(const ConsoleOut& m) {
    kind(Kind::console_out);
    put_u64(out, m.epoch);
    put_console(out, m.offset, m.bytes);
  }
  void operator()(const ConsoleTaken& m) {
    kind(Kind::console_taken);
    put_u64(out, m.epoch);
    put_u64(out, m.offset);
  }
  void operator()(const AskDisk& m) {
    kind(Kind::ask_disk);
    put_disk(out, m.disk);
  }
  void operator()(const DiskRequest& m) {
    assert(m.request.length <= kMaxDiskBytes);
    kind(Kind::disk_request);
    put_u64(out, m.epoch);
    out.push_back(m.durable ? 1 : 0);
    put_disk(out, m.disk);
    put(out, emu::encode(m.request));
  }
  void operator()(const Accepted& m) {
    kind(Kind::accepted);
    for (const uint64_t value : {m.epoch, m.console_received, m.console_delivered}) put_u64(out, value);
  }
  void operator()(const Fenced& m) {
    kind(Kind::fenced);
    put_u64(out, m.epoch);
    put_node(out, m.node);
  }
  void operator()(const FramesIn& m) {
    kind(Kind::frames_in);
    put_frames(out, m.bytes);
  }
  void operator()(const ConsoleIn& m) {
    kind(Kind::console_in);
    put_console(out, m.offset, m.bytes);
  }
  void operator()(const ConsoleDelivered& m) {
    kind(Kind::console_delivered);
    put_u64(out, m.offset);
  }
  void operator()(const DiskShape& m) {
    kind(Kind::disk_shape);
    out.push_back(static_cast<uint8_t>((m.known ? 1 : 0) | (m.read_only ? 2 : 0)));
    put_u64(out, m.bytes);
    put_disk(out, m.disk);
  }
  void operator()(const DiskAnswer& m) {
    assert(m.answer.data.size() <= kMaxDiskBytes);
    kind(Kind::disk_answer);
    put_u64(out, m.epoch);
    put_disk(out, m.disk);
    put(out, emu::encode(m.answer));
  }
  void operator()(const OtherVersion&) { kind(Kind::other_version); }
};

template <typename Message>
Bytes write(const Message& message) {
  const size_t payload = std::visit(
      [](const auto& m) {
        if constexpr (requires { m.bytes.size(); }) return m.bytes.size();
        if constexpr (requires { m.request; }) return m.request.data.size() + kMaxDiskName;
        if constexpr (requires { m.answer; }) return m.answer.data.size() + kMaxDiskName;
        return size_t{0};
      },
      message);
  Writer writer(payload);
  std::visit(writer, message);
  return std::move(writer.out);
}

Kind take_kind(ByteCursor& cursor) {
  const auto magic = cursor.take(kMagic.size());
  if (!std::equal(magic.begin(), magic.end(), kMagic.begin())) throw DecodeError(0, "no message of the hub's protocol");
  if (const uint8_t version = cursor.u8(); version != kVersion) throw VersionError(version);
  return static_cast<Kind>(cursor.u8());
}

uint64_t take_epoch(ByteCursor& cursor) {
  const uint64_t epoch = cursor.u64();
  if (epoch == 0) throw DecodeError(cursor.position(), "epoch 0");
  return epoch;
}

std::string_view take_node(ByteCursor& cursor) {
  const auto text = cursor.take(cursor.u8());
  const std::string_view node(reinterpret_cast<const char*>(text.data()), text.size());
  if (!is_node_name(node)) throw DecodeError(cursor.position(), "no node's name");
  return node;
}

std::string_view take_disk(ByteCursor& cursor) {
  const auto text = cursor.take(cursor.u8());
  const std::string_view disk(reinterpret_cast<const char*>(text.data()), text.size());
  if (!is_disk_name(disk)) throw DecodeError(cursor.position(), "no disk's name");
  return disk;
}

uint8_t take_flags(ByteCursor& cursor, uint8_t most) {
  const uint8_t flags = cursor.u8();
  if (flags > most) throw DecodeError(cursor.position(), "unknown flags");
  return flags;
}

std::span<const uint8_t> take_rest(ByteCursor& cursor, size_t least, size_t most) {
  if (cursor.remaining() < least || cursor.remaining() > most)
    throw DecodeError(cursor.position(),
                      fmt::format("{} bytes, where {} to {} can be", cursor.remaining(), least, most));
  return cursor.take(cursor.remaining());
}

std::span<const uint8_t> take_frames(ByteCursor& cursor) {
  const auto batch = take_rest(cursor, FrameBatch::kLength + kMinFrame, FrameBatch::kMaxBytes);
  if (!for_each_frame(batch, [](auto) {})) throw DecodeError(cursor.position(), "a frame of a bad size");
  return batch;
}

std::span<const uint8_t> take_console(ByteCursor& cursor, uint64_t offset) {
  const auto bytes = take_rest(cursor, 1, kMaxConsole);
  if (offset > UINT64_MAX - bytes.size()) throw DecodeError(cursor.position(), "an offset beyond 64 bits");
  return bytes;
}

DiskRequest take_disk_request(ByteCursor& cursor) {
  DiskRequest m;
  m.epoch = take_epoch(cursor);
  m.durable = take_flags(cursor, 1) == 1;
  m.disk = take_disk(cursor);
  auto request = emu::decode_block_request(cursor.take(cursor.remaining()));
  if (!request || request->length > kMaxDiskBytes) throw DecodeError(cursor.position(), "no request to a disk");
  m.request = std::move(*request);
  return m;
}

DiskShape take_disk_shape(ByteCursor& cursor) {
  DiskShape m;
  const uint8_t flags = take_flags(cursor, 3);
  m.known = (flags & 1) != 0;
  m.read_only = (flags & 2) != 0;
  m.bytes = cursor.u64();
  m.disk = take_disk(cursor);
  return m;
}

DiskAnswer take_disk_answer(ByteCursor& cursor) {
  DiskAnswer m;
  m.epoch = take_epoch(cursor);
  m.disk = take_disk(cursor);
  auto answer = emu::decode_block_answer(cursor.take(cursor.remaining()));
  if (!answer || answer->data.size() > kMaxDiskBytes) throw DecodeError(cursor.position(), "no answer of a disk");
  m.answer = std::move(*answer);
  return m;
}

// Fields are taken in the order in which they are written down here: braces promise it.
ToHub take_to_hub(ByteCursor& cursor) {
  switch (take_kind(cursor)) {
    case Kind::announce:
      return Announce{take_epoch(cursor), cursor.u64(), cursor.u64(), cursor.u64(), take_node(cursor)};
    case Kind::frames_out:
      return FramesOut{take_epoch(cursor), take_frames(cursor)};
    case Kind::console_out: {
      ConsoleOut m{take_epoch(cursor), cursor.u64(), {}};
      m.bytes = take_console(cursor, m.offset);
      return m;
    }
    case Kind::console_taken:
      return ConsoleTaken{take_epoch(cursor), cursor.u64()};
    case Kind::ask_disk:
      return AskDisk{take_disk(cursor)};
    case Kind::disk_request:
      return take_disk_request(cursor);
    default:
      throw DecodeError(cursor.position(), "an unknown kind of message");
  }
}

ToReplica take_to_replica(ByteCursor& cursor) {
  switch (take_kind(cursor)) {
    case Kind::accepted:
      return Accepted{take_epoch(cursor), cursor.u64(), cursor.u64()};
    case Kind::fenced:
      return Fenced{take_epoch(cursor), take_node(cursor)};
    case Kind::frames_in:
      return FramesIn{take_frames(cursor)};
    case Kind::console_in: {
      ConsoleIn m{cursor.u64(), {}};
      m.bytes = take_console(cursor, m.offset);
      return m;
    }
    case Kind::console_delivered:
      return ConsoleDelivered{cursor.u64()};
    case Kind::disk_shape:
      return take_disk_shape(cursor);
    case Kind::disk_answer:
      return take_disk_answer(cursor);
    case Kind::other_version:
      return OtherVersion{};
    default:
      throw DecodeError(cursor.position(), "an unknown kind of message");
  }
}

void require_end(const ByteCursor& cursor) {
  if (cursor.remaining() != 0)
    throw DecodeError(cursor.position(), fmt::format("{} bytes after the message", cursor.remaining()));
}

}  // namespace

VersionError::VersionError(uint8_t theirs)
    : DecodeError(kMagic.size(),
                  fmt::format("speaks version {} of the hub's protocol, this program version {}", theirs, kVersion)) {}

void keep_alive(zmq::socket_t& socket) {
  socket.set(zmq::sockopt::handshake_ivl, 1000);
  socket.set(zmq::sockopt::connect_timeout, 1000);
  socket.set(zmq::sockopt::heartbeat_ivl, 300);
  socket.set(zmq::sockopt::heartbeat_timeout, 900);
}

bool is_node_name(std::string_view text) {
  return !text.empty() && text.size() <= kMaxNode &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

bool is_disk_name(std::string_view text) {
  return !text.empty() && text.size() <= kMaxDiskName && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
}

Bytes encode(const ToHub& message) { return write(message); }
Bytes encode(const ToReplica& message) { return write(message); }

ToHub decode_to_hub(std::span<const uint8_t> bytes) {
  ByteCursor cursor(bytes);
  ToHub message = take_to_hub(cursor);
  require_end(cursor);
  return message;
}

ToReplica decode_to_replica(std::span<const uint8_t> bytes) {
  ByteCursor cursor(bytes);
  ToReplica message = take_to_replica(cursor);
  require_end(cursor);
  return message;
}

}  // namespace understudy::primary::hub
