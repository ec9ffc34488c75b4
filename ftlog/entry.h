// What a log is made of. An entry says that at an instruction count (and the virtual nanosecond that goes with it)
// something came in from outside the machine, or that something can be checked there; sequence numbers start at 1 and
// have no gaps, counts and times never decrease. A new kind, or another field, is another kLogVersion.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace understudy::ftlog {

// The numbers are those in the file, and the order is that of Payload's alternatives.
enum class EntryKind : uint8_t {
  start = 1,
  input,
  clock,
  reset,
  output_mark,
  state_digest,
  snapshot,
  epoch,
  block_done,
  end,
};

enum class Pacing : uint8_t { unpaced, paced };

// The first entry of a recording: what the guest cannot know but from outside.
struct Start {
  int64_t rtc_start_s = 0;  // seconds since 1970 that the real-time clock starts with
  Pacing pacing = Pacing::unpaced;
  std::string text;  // free: how the recording was made
  bool operator==(const Start&) const = default;
};

// Bytes handed to a channel's device.
struct Input {
  uint16_t channel = 0;
  std::vector<uint8_t> bytes;
  bool operator==(const Input&) const = default;
};

// From this entry's count and time on, an instruction takes this long. The entry's time may lie after what the rate
// before would give: then time jumps there.
struct ClockChange {
  uint64_t ps_per_instruction = 0;
  bool operator==(const ClockChange&) const = default;
};

// The guest asked for a reset, or shut its CPU down, and the board was reset.
struct Reset {
  bool operator==(const Reset&) const = default;
};

// So many bytes have left on a channel since the machine started, with this running digest.
struct OutputMark {
  uint16_t channel = 0;
  uint64_t total_bytes = 0;
  uint64_t digest = 0;
  bool operator==(const OutputMark&) const = default;
};

struct StateDigest {
  uint64_t cpu = 0;
  uint64_t ram = 0;
  uint64_t devices = 0;
  bool operator==(const StateDigest&) const = default;
};

// A snapshot of this count is in a file beside the log.
struct Snapshot {
  std::string file;       // a plain name, no folder
  uint64_t checksum = 0;  // XXH3 of the whole file
  uint64_t bytes = 0;
  bool operator==(const Snapshot&) const = default;
};

// From here on the machine runs under this epoch.
struct Epoch {
  uint64_t epoch = 0;
  bool operator==(const Epoch&) const = default;
};

// What became of a request to a disk that lies outside of the machine, handed to the device on that channel.
struct BlockDone {
  uint16_t channel = 0;
  uint64_t request = 0;  // its number
  bool ok = false;
  std::vector<uint8_t> bytes;  // that a read has brought
  bool operator==(const BlockDone&) const = default;
};

enum class EndReason : uint8_t {
  shutdown,
  reset,
  debug_exit,
  stop_at,
  until_serial,
  halted,
  quit,
  error,
};

// The last entry of a recording that was finished properly.
struct End {
  EndReason reason = EndReason::shutdown;
  int32_t exit_code = 0;
  bool operator==(const End&) const = default;
};

using Payload =
    std::variant<Start, Input, ClockChange, Reset, OutputMark, StateDigest, Snapshot, Epoch, BlockDone, End>;

inline EntryKind kind_of(const Payload& payload) { return static_cast<EntryKind>(payload.index() + 1); }
constexpr uint8_t kEntryKinds = std::variant_size_v<Payload>;
static_assert(static_cast<uint8_t>(EntryKind::end) == kEntryKinds);
constexpr uint8_t kEndReasons = static_cast<uint8_t>(EndReason::error) + 1;

struct LogEntry {
  uint64_t sequence = 0;
  uint64_t icount = 0;
  uint64_t virtual_ns = 0;
  Payload payload;

  EntryKind kind() const { return kind_of(payload); }
  bool operator==(const LogEntry&) const = default;
};

// What one entry may carry at most.
constexpr size_t kMaxStartText = 64u << 10;
constexpr size_t kMaxInputBytes = 64u << 10;
constexpr size_t kMaxBlockBytes = 1u << 20;
constexpr size_t kMaxSnapshotName = 200;

// A name that stays in the recording's own directory and prints on one line.
bool is_snapshot_name(std::string_view name);

const char* to_string(EntryKind kind);
const char* to_string(EndReason reason);
std::optional<EntryKind> entry_kind_named(std::string_view name);

}  // namespace understudy::ftlog
