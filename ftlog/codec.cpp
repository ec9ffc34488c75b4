#include "ftlog/codec.h"

#include <fmt/format.h>

#include <stdexcept>

namespace understudy::ftlog {

namespace {

__extension__ typedef unsigned __int128 uint128_t;  // not ISO C++: keeps -Wpedantic quiet

// Inputs are compressed while the guest waits, thousands of network frames a second: there speed counts for more.
constexpr int kInputLevel = -1;
constexpr int kOtherLevel = 1;
// What a network brings that is packed or encrypted already seldom comes alone: after each input that did not shrink,
// twice as many are not tried, up to this power of two less one.
constexpr unsigned kMostVain = 4;

// The first byte of an entry.
constexpr uint8_t kKindMask = 0x1f;
constexpr uint8_t kCompressed = 0x20;       // the payload's bytes are a zstd frame
constexpr uint8_t kOffTheLine = 0x40;       // how far the time is from the prediction follows the count
constexpr uint8_t kSameInstruction = 0x80;  // the count is the last entry's, and is not written

void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(what);
}

void check(uint64_t icount, uint64_t virtual_ns, const CodecState& last, const Payload& payload) {
  require(icount >= last.icount, "log entry: its count is before the last entry's");
  require(virtual_ns >= last.virtual_ns, "log entry: its time is before the last entry's");
  if (const auto* start = std::get_if<Start>(&payload)) {
    require(start->text.size() <= kMaxStartText, "log entry: the start's text is too long");
    require(start->pacing <= Pacing::paced, "log entry: no such pacing");
  } else if (const auto* input = std::get_if<Input>(&payload)) {
    require(input->bytes.size() <= kMaxInputBytes, "log entry: the input is too long");
  } else if (const auto* snapshot = std::get_if<Snapshot>(&payload)) {
    require(is_snapshot_name(snapshot->file), "log entry: not a snapshot's name");
  } else if (const auto* done = std::get_if<BlockDone>(&payload)) {
    require(done->bytes.size() <= kMaxBlockBytes, "log entry: the disk's answer is too long");
  } else if (const auto* end = std::get_if<End>(&payload)) {
    require(static_cast<uint8_t>(end->reason) < kEndReasons, "log entry: no such end");
  }
}

std::span<const uint8_t> bulk_of(const Payload& payload) {
  if (const auto* start = std::get_if<Start>(&payload))
    return {reinterpret_cast<const uint8_t*>(start->text.data()), start->text.size()};
  if (const auto* input = std::get_if<Input>(&payload)) return input->bytes;
  if (const auto* done = std::get_if<BlockDone>(&payload)) return done->bytes;
  return {};
}

template <typename Container>
Container read_bulk(ByteCursor& cursor, bool compressed, size_t limit) {
  const size_t at = cursor.position();
  const size_t size = cursor.varint_up_to(limit, "a payload");
  Container out;
  if (!compressed) {
    const auto stored = cursor.take(size);
    out.assign(stored.begin(), stored.end());
    return out;
  }
  const size_t stored_size = cursor.varint_up_to(limit, "a compressed payload");
  const auto stored = cursor.take(stored_size);
  out.resize(size);
  const size_t done = ZSTD_decompress(out.data(), out.size(), stored.data(), stored.size());
  if (ZSTD_isError(done) || done != size) throw DecodeError(at, "a payload does not unpack to its size");
  return out;
}

Payload read_payload(ByteCursor& cursor, EntryKind kind, bool compressed) {
  const auto channel = [&cursor] { return static_cast<uint16_t>(cursor.varint_up_to(UINT16_MAX, "a channel")); };
  switch (kind) {
    case EntryKind::start: {
      Start start;
      start.rtc_start_s = cursor.signed_varint();
      start.pacing = static_cast<Pacing>(cursor.varint_up_to(static_cast<uint8_t>(Pacing::paced), "the pacing"));
      start.text = read_bulk<std::string>(cursor, compressed, kMaxStartText);
      return start;
    }
    case EntryKind::input: {
      Input input;
      input.channel = channel();
      input.bytes = read_bulk<Bytes>(cursor, compressed, kMaxInputBytes);
      return input;
    }
    case EntryKind::clock:
      return ClockChange{cursor.varint()};
    case EntryKind::reset:
      return Reset{};
    case EntryKind::output_mark: {
      OutputMark mark;
      mark.channel = channel();
      mark.total_bytes = cursor.varint();
      mark.digest = cursor.u64();
      return mark;
    }
    case EntryKind::state_digest: {
      StateDigest digest;
      digest.cpu = cursor.u64();
      digest.ram = cursor.u64();
      digest.devices = cursor.u64();
      return digest;
    }
    case EntryKind::snapshot: {
      Snapshot snapshot;
      const size_t at = cursor.position();
      const auto name = cursor.take(cursor.varint_up_to(kMaxSnapshotName, "a snapshot's name"));
      snapshot.file.assign(name.begin(), name.end());
      if (!is_snapshot_name(snapshot.file)) throw DecodeError(at, "a snapshot's name is not a plain file name");
      snapshot.checksum = cursor.u64();
      snapshot.bytes = cursor.varint();
      return snapshot;
    }
    case EntryKind::epoch:
      return Epoch{cursor.varint()};
    case EntryKind::block_done: {
      BlockDone done;
      done.channel = channel();
      done.request = cursor.varint();
      done.ok = cursor.varint_up_to(1, "how a request ended") == 1;
      done.bytes = read_bulk<Bytes>(cursor, compressed, kMaxBlockBytes);
      return done;
    }
    case EntryKind::end: {
      End end;
      end.reason = static_cast<EndReason>(cursor.varint_up_to(kEndReasons - 1, "the reason of the end"));
      const size_t at = cursor.position();
      const int64_t code = cursor.signed_varint();
      if (code < INT32_MIN || code > INT32_MAX) throw DecodeError(at, "the exit code is too large");
      end.exit_code = static_cast<int32_t>(code);
      return end;
    }
  }
  throw DecodeError(cursor.position(), fmt::format("no entry kind {} is known", static_cast<unsigned>(kind)));
}

}  // namespace

uint64_t TimeLine::predict(uint64_t icount) const {
  return virtual_ns_ + static_cast<uint64_t>(static_cast<uint128_t>(icount - icount_) * ps_per_instruction_ / 1000);
}

// Puts what comes before the bulk of a payload, and then the bulk, plain or packed.
struct Encoder::PayloadWriter {
  Bytes& out;
  std::span<const uint8_t> bulk;
  const Bytes* packed;  // null: plain

  void put_bulk() const {
    put_varint(out, bulk.size());
    if (packed != nullptr) put_varint(out, packed->size());
    const std::span<const uint8_t> stored = packed != nullptr ? std::span<const uint8_t>(*packed) : bulk;
    out.insert(out.end(), stored.begin(), stored.end());
  }
  void operator()(const Start& start) const {
    put_signed_varint(out, start.rtc_start_s);
    put_varint(out, static_cast<uint8_t>(start.pacing));
    put_bulk();
  }
  void operator()(const Input& input) const {
    put_varint(out, input.channel);
    put_bulk();
  }
  void operator()(const ClockChange& clock) const { put_varint(out, clock.ps_per_instruction); }
  void operator()(const Reset&) const {}
  void operator()(const OutputMark& mark) const {
    put_varint(out, mark.channel);
    put_varint(out, mark.total_bytes);
    put_u64(out, mark.digest);
  }
  void operator()(const StateDigest& digest) const {
    put_u64(out, digest.cpu);
    put_u64(out, digest.ram);
    put_u64(out, digest.devices);
  }
  void operator()(const Snapshot& snapshot) const {
    put_varint(out, snapshot.file.size());
    out.insert(out.end(), snapshot.file.begin(), snapshot.file.end());
    put_u64(out, snapshot.checksum);
    put_varint(out, snapshot.bytes);
  }
  void operator()(const Epoch& epoch) const { put_varint(out, epoch.epoch); }
  void operator()(const BlockDone& done) const {
    put_varint(out, done.channel);
    put_varint(out, done.request);
    put_varint(out, done.ok ? 1 : 0);
    put_bulk();
  }
  void operator()(const End& end) const {
    put_varint(out, static_cast<uint8_t>(end.reason));
    put_signed_varint(out, end.exit_code);
  }
};

Encoder::Encoder(const CodecState& start)
    : block_start_(start), state_(start), time_line_(start), zstd_(ZSTD_createCCtx(), ZSTD_freeCCtx) {
  if (zstd_ == nullptr) throw std::bad_alloc();
}

Encoder::~Encoder() = default;

void Encoder::begin_block() {
  block_start_ = state_;
  time_line_ = TimeLine(state_);
  body_.clear();
}

const Bytes* Encoder::pack(std::span<const uint8_t> bulk, bool is_input) {
  if (bulk.size() < kCompressFrom) return nullptr;
  if (is_input && untried_ > 0) {
    --untried_;
    return nullptr;
  }
  scratch_.resize(ZSTD_compressBound(bulk.size()));
  const size_t done = ZSTD_compressCCtx(zstd_.get(), scratch_.data(), scratch_.size(), bulk.data(), bulk.size(),
                                        is_input ? kInputLevel : kOtherLevel);
  if (ZSTD_isError(done)) throw std::runtime_error(fmt::format("log: zstd: {}", ZSTD_getErrorName(done)));
  // The packed form needs its own length, of up to three bytes.
  const bool smaller = done + 3 < bulk.size();
  if (is_input) {
    vain_ = smaller ? 0 : std::min(vain_ + 1, kMostVain);
    untried_ = (1u << vain_) - 1;
  }
  if (!smaller) return nullptr;
  scratch_.resize(done);
  return &scratch_;
}

uint64_t Encoder::append(uint64_t icount, uint64_t virtual_ns, const Payload& payload) {
  check(icount, virtual_ns, state_, payload);
  const std::span<const uint8_t> bulk = bulk_of(payload);
  const Bytes* packed = pack(bulk, kind_of(payload) == EntryKind::input);
  const uint64_t expected_ns = time_line_.predict(icount);
  uint8_t first = static_cast<uint8_t>(kind_of(payload));
  if (packed != nullptr) first |= kCompressed;
  if (virtual_ns != expected_ns) first |= kOffTheLine;
  if (icount == state_.icount) first |= kSameInstruction;
  body_.push_back(first);
  if (icount != state_.icount) put_varint(body_, icount - state_.icount);
  if (virtual_ns != expected_ns) put_signed_varint(body_, static_cast<int64_t>(virtual_ns - expected_ns));
  std::visit(PayloadWriter{body_, bulk, packed}, payload);

  state_.icount = icount;
  state_.virtual_ns = virtual_ns;
  const auto* clock = std::get_if<ClockChange>(&payload);
  if (clock != nullptr) state_.ps_per_instruction = clock->ps_per_instruction;
  if (clock != nullptr || virtual_ns != expected_ns) time_line_ = TimeLine(state_);
  return state_.sequence++;
}

Decoder::Decoder(const CodecState& start, std::span<const uint8_t> body, uint32_t entries)
    : state_(start), time_line_(start), cursor_(body), left_(entries) {}

bool Decoder::next(LogEntry& entry) {
  if (left_ == 0) {
    if (cursor_.remaining() != 0) throw DecodeError(cursor_.position(), "there are bytes after the last entry");
    return false;
  }
  const size_t at = entry_at_ = cursor_.position();
  const uint8_t first = cursor_.u8();
  uint64_t icount = state_.icount;
  if ((first & kSameInstruction) == 0) {
    const uint64_t delta = cursor_.varint();
    if (delta == 0 || delta > UINT64_MAX - icount) throw DecodeError(at, "an impossible instruction count");
    icount += delta;
  }
  uint64_t virtual_ns = time_line_.predict(icount);
  const bool off_the_line = (first & kOffTheLine) != 0;
  if (off_the_line) virtual_ns += static_cast<uint64_t>(cursor_.signed_varint());
  if (virtual_ns < state_.virtual_ns) throw DecodeError(at, "time goes backwards");
  const auto kind = static_cast<EntryKind>(first & kKindMask);
  const bool bulky = kind == EntryKind::start || kind == EntryKind::input || kind == EntryKind::block_done;
  if ((first & kCompressed) != 0 && !bulky) throw DecodeError(at, "this kind of entry is never compressed");
  entry.payload = read_payload(cursor_, kind, (first & kCompressed) != 0);
  entry.sequence = state_.sequence++;
  entry.icount = state_.icount = icount;
  entry.virtual_ns = state_.virtual_ns = virtual_ns;
  const auto* clock = std::get_if<ClockChange>(&entry.payload);
  if (clock != nullptr) state_.ps_per_instruction = clock->ps_per_instruction;
  if (clock != nullptr || off_the_line) time_line_ = TimeLine(state_);
  --left_;
  return true;
}

}  // namespace understudy::ftlog
