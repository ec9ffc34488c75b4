#include "tools/log_text.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <span>

namespace understudy::tools {

namespace {

using namespace ftlog;

constexpr size_t kShownBytes = 16;

std::string hex(uint64_t value) { return fmt::format("{:016x}", value); }
std::string hex(std::span<const uint8_t> bytes) { return fmt::format("{:02x}", fmt::join(bytes, "")); }

std::string seconds(uint64_t ns) { return fmt::format("{}.{:09}", ns / 1'000'000'000, ns % 1'000'000'000); }

// The date only where the calendar has one for it.
std::string date(int64_t seconds_since_1970) {
  constexpr int64_t kYear10000 = 253402300800;
  if (seconds_since_1970 < 0 || seconds_since_1970 >= kYear10000) return std::to_string(seconds_since_1970);
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<time_t>(seconds_since_1970)));
}

// The first bytes in hexadecimal, and as text if that is what they are.
std::string preview(std::span<const uint8_t> bytes) {
  const auto shown = bytes.first(std::min(bytes.size(), kShownBytes));
  std::string out = fmt::format("{} byte{}", bytes.size(), bytes.size() == 1 ? "" : "s");
  if (shown.empty()) return out;
  out += fmt::format(": {:02x}{}", fmt::join(shown, " "), shown.size() < bytes.size() ? " ..." : "");
  bool printable = true;
  for (const uint8_t byte : shown) printable = printable && byte >= 0x20 && byte < 0x7f;
  if (printable) out += fmt::format("  \"{}\"", std::string(shown.begin(), shown.end()));
  return out;
}

struct Describe {
  std::string operator()(const Start& start) const {
    const char* pacing = start.pacing == Pacing::paced ? "paced" : "unpaced";
    return fmt::format("{}, clock starts at {}{}{}", pacing, date(start.rtc_start_s), start.text.empty() ? "" : ": ",
                       one_line(start.text));
  }
  std::string operator()(const Input& input) const {
    return fmt::format("channel {}, {}", input.channel, preview(input.bytes));
  }
  std::string operator()(const ClockChange& clock) const {
    return fmt::format("{} ps per instruction", clock.ps_per_instruction);
  }
  std::string operator()(const Reset&) const { return ""; }
  std::string operator()(const OutputMark& mark) const {
    return fmt::format("channel {}, {} bytes so far, digest {:016x}", mark.channel, mark.total_bytes, mark.digest);
  }
  std::string operator()(const StateDigest& digest) const {
    return fmt::format("cpu {:016x}, ram {:016x}, devices {:016x}", digest.cpu, digest.ram, digest.devices);
  }
  std::string operator()(const Snapshot& snapshot) const {
    return fmt::format("{}, {} bytes, checksum {:016x}", snapshot.file, snapshot.bytes, snapshot.checksum);
  }
  std::string operator()(const Epoch& epoch) const { return std::to_string(epoch.epoch); }
  std::string operator()(const BlockDone& done) const {
    return fmt::format("channel {}, request {} {}{}", done.channel, done.request, done.ok ? "done" : "failed",
                       done.bytes.empty() ? "" : ", " + preview(done.bytes));
  }
  std::string operator()(const End& end) const {
    return fmt::format("{}, exit code {}", to_string(end.reason), end.exit_code);
  }
};

struct FillJson {
  nlohmann::ordered_json& json;
  void operator()(const Start& start) const {
    json["rtc_start_s"] = start.rtc_start_s;
    json["paced"] = start.pacing == Pacing::paced;
    json["text"] = start.text;
  }
  void operator()(const Input& input) const {
    json["channel"] = input.channel;
    json["bytes"] = hex(input.bytes);
  }
  void operator()(const ClockChange& clock) const { json["ps_per_instruction"] = clock.ps_per_instruction; }
  void operator()(const Reset&) const {}
  void operator()(const OutputMark& mark) const {
    json["channel"] = mark.channel;
    json["total_bytes"] = mark.total_bytes;
    json["digest"] = hex(mark.digest);
  }
  void operator()(const StateDigest& digest) const {
    json["cpu"] = hex(digest.cpu);
    json["ram"] = hex(digest.ram);
    json["devices"] = hex(digest.devices);
  }
  void operator()(const Snapshot& snapshot) const {
    json["file"] = snapshot.file;
    json["file_bytes"] = snapshot.bytes;
    json["checksum"] = hex(snapshot.checksum);
  }
  void operator()(const Epoch& epoch) const { json["epoch"] = epoch.epoch; }
  void operator()(const BlockDone& done) const {
    json["channel"] = done.channel;
    json["request"] = done.request;
    json["ok"] = done.ok;
    json["bytes"] = hex(done.bytes);
  }
  void operator()(const End& end) const {
    json["reason"] = to_string(end.reason);
    json["exit_code"] = end.exit_code;
  }
};

constexpr const char* kLine = "{:>10} {:>16} {:>18}  {:<12}  {}";

}  // namespace

std::string one_line(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c >= 0x20 && c < 0x7f)
      out += c;
    else
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return out;
}

std::string log_table_head() { return fmt::format(kLine, "sequence", "icount", "seconds", "kind", ""); }

std::string log_table_line(const LogEntry& entry) {
  return fmt::format(kLine, entry.sequence, entry.icount, seconds(entry.virtual_ns), to_string(entry.kind()),
                     std::visit(Describe{}, entry.payload));
}

nlohmann::ordered_json log_entry_json(const LogEntry& entry) {
  nlohmann::ordered_json json = {{"sequence", entry.sequence},
                                 {"icount", entry.icount},
                                 {"virtual_ns", entry.virtual_ns},
                                 {"kind", to_string(entry.kind())}};
  std::visit(FillJson{json}, entry.payload);
  return json;
}

}  // namespace understudy::tools
