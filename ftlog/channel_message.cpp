#include "ftlog/channel_message.h"

#include <fmt/format.h>

#include <array>
#include <stdexcept>

#include "ftlog/segment_format.h"

namespace understudy::ftlog {

namespace {

constexpr std::array<uint8_t, 3> kMagic = {'U', 'P', 'C'};
constexpr size_t kChecksumBytes = 8;
constexpr size_t kVersionAt = kMagic.size(), kKindAt = kVersionAt + 1;
constexpr std::array kNames = {"hello",     "ready",   "ack",       "failed", "welcome",  "refusal", "state chunk",
                               "state end", "engaged", "log block", "beat",   "handover", "goodbye"};
static_assert(kNames.size() == std::variant_size_v<ChannelPayload>);

template <typename T>
constexpr uint8_t kind_number() {
  return static_cast<uint8_t>(ChannelPayload(T{}).index() + 1);
}

// One list of fields for both directions.
struct Writer {
  Bytes& out;
  void number(uint64_t value, uint64_t = UINT64_MAX) { put_varint(out, value); }
  void signed_number(int64_t value) { put_signed_varint(out, value); }
  void flag(bool value) { out.push_back(value ? 1 : 0); }
  void text(const std::string& value) {
    bulk({reinterpret_cast<const uint8_t*>(value.data()), value.size()}, kMaxChannelText);
  }
  void bytes(const Bytes& value, size_t limit) { bulk(value, limit); }
  void bulk(std::span<const uint8_t> value, size_t limit) {
    if (value.size() > limit) throw std::invalid_argument("log channel: a field is too long");
    put_varint(out, value.size());
    out.insert(out.end(), value.begin(), value.end());
  }
};

struct Reader {
  ByteCursor& in;
  template <typename T>
  void number(T& value, uint64_t limit = std::numeric_limits<T>::max()) {
    value = static_cast<T>(in.varint_up_to(limit, "a number"));
  }
  void signed_number(int64_t& value) { value = in.signed_varint(); }
  void flag(bool& value) {
    const uint8_t byte = in.u8();
    if (byte > 1) throw DecodeError(in.position(), "a flag is neither 0 nor 1");
    value = byte == 1;
  }
  void text(std::string& value) {
    const auto view = in.take(in.varint_up_to(kMaxChannelText, "a text"));
    value.assign(view.begin(), view.end());
  }
  void bytes(Bytes& value, size_t limit) {
    const auto view = in.take(in.varint_up_to(limit, "a payload"));
    value.assign(view.begin(), view.end());
  }
};

template <typename IO, typename T>
void fields(IO& io, T& m) requires std::is_same_v<std::remove_const_t<T>, Horizon> {
  io.number(m.sequence);
  io.number(m.icount);
  io.number(m.virtual_ns);
}

template <typename IO, typename T>
void fields(IO& io, T& m) requires std::is_same_v<std::remove_const_t<T>, CodecState> {
  io.number(m.sequence);
  io.number(m.icount);
  io.number(m.virtual_ns);
  io.number(m.ps_per_instruction);
}

template <typename IO, typename T>
void message_fields(IO& io, T& m) {
  using M = std::remove_const_t<T>;
  if constexpr (std::is_same_v<M, Hello>) {
    io.text(m.build);
    io.text(m.node);
  } else if constexpr (std::is_same_v<M, Ready>) {
    io.text(m.description);
  } else if constexpr (std::is_same_v<M, Ack>) {
    io.number(m.received);
    fields(io, m.replayed);
    io.flag(m.resend);
    io.number(m.chunks);
    io.flag(m.engaged);
    io.number(m.stamp);
  } else if constexpr (std::is_same_v<M, Failed> || std::is_same_v<M, Goodbye>) {
    io.text(m.reason);
  } else if constexpr (std::is_same_v<M, Welcome>) {
    io.text(m.build);
    io.text(m.node);
    io.text(m.description);
    io.signed_number(m.start.rtc_start_s);
    bool paced = m.start.pacing == Pacing::paced;
    io.flag(paced);
    if constexpr (!std::is_const_v<T>) m.start.pacing = paced ? Pacing::paced : Pacing::unpaced;
    io.text(m.start.text);
    io.flag(m.durable);
    io.number(m.timeout_ms);
    io.number(m.beat_ms);
  } else if constexpr (std::is_same_v<M, Refusal>) {
    io.flag(m.busy);
    io.text(m.reason);
  } else if constexpr (std::is_same_v<M, StateChunk>) {
    io.bytes(m.bytes, kMaxStateChunk);
  } else if constexpr (std::is_same_v<M, StateEnd>) {
    fields(io, m.log);
    uint64_t count = m.streams.size();
    io.number(count, kMaxStreams);
    if constexpr (!std::is_const_v<T>) m.streams.resize(count);
    for (auto& stream : m.streams) {
      io.number(stream.channel);
      io.number(stream.in_bytes);
      io.number(stream.out_bytes);
      io.number(stream.out_digest);
    }
  } else if constexpr (std::is_same_v<M, LogBlock>) {
    fields(io, m.start);
    io.number(m.entries);
    io.bytes(m.body, kMaxLogBlock);
    fields(io, m.horizon);
    io.number(m.delivered);
    io.number(m.stamp);
  } else if constexpr (std::is_same_v<M, Beat>) {
    fields(io, m.horizon);
    io.number(m.delivered);
    io.number(m.parts);
    io.number(m.stamp);
  } else if constexpr (std::is_same_v<M, Handover>) {
    io.number(m.sequence);
  }
}

template <size_t... I>
ChannelPayload read_payload(ByteCursor& cursor, size_t index, std::index_sequence<I...>) {
  ChannelPayload payload;
  Reader reader{cursor};
  ((index == I ? message_fields(reader, payload.emplace<I>()) : void()), ...);
  return payload;
}

}  // namespace

ChannelVersionError::ChannelVersionError(uint8_t theirs)
    : DecodeError(kVersionAt, fmt::format("speaks version {} of the log channel, this program version {}", theirs,
                                          kChannelVersion)) {}

Bytes encode(const ChannelMessage& message) {
  Bytes out(kMagic.begin(), kMagic.end());
  out.push_back(kChannelVersion);
  out.push_back(static_cast<uint8_t>(message.payload.index() + 1));
  put_varint(out, message.epoch);
  Writer writer{out};
  std::visit([&writer](const auto& payload) { message_fields(writer, payload); }, message.payload);
  put_u64(out, checksum(out));
  return out;
}

ChannelMessage decode_channel_message(std::span<const uint8_t> bytes) {
  if (bytes.size() < kKindAt + 2 + kChecksumBytes || bytes.size() > kMaxChannelMessage ||
      !std::equal(kMagic.begin(), kMagic.end(), bytes.begin()))
    throw DecodeError(0, "not a message of the log channel");
  const auto covered = bytes.first(bytes.size() - kChecksumBytes);
  ByteCursor tail(bytes.last(kChecksumBytes));
  if (tail.u64() != checksum(covered)) throw DecodeError(covered.size(), "a message's checksum is wrong");
  const uint8_t kind = bytes[kKindAt];
  if (bytes[kVersionAt] != kChannelVersion && kind != kind_number<Refusal>())
    throw ChannelVersionError(bytes[kVersionAt]);
  if (kind == 0 || kind > std::variant_size_v<ChannelPayload>)
    throw DecodeError(kKindAt, fmt::format("no message of kind {} is known", kind));
  ByteCursor cursor(covered.subspan(kKindAt + 1));
  ChannelMessage message;
  message.epoch = cursor.varint();
  message.payload = read_payload(cursor, kind - 1u, std::make_index_sequence<std::variant_size_v<ChannelPayload>>());
  if (cursor.remaining() != 0) throw DecodeError(cursor.position(), "a message is longer than its fields");
  return message;
}

const char* name_of(const ChannelPayload& payload) { return kNames[payload.index()]; }

}  // namespace understudy::ftlog
