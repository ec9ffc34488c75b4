#include "tools/cmd_diff.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <filesystem>
#include <memory>
#include <optional>

#include "tools/cpu_text.h"
#include "tools/difference_text.h"
#include "tools/log_diff.h"
#include "tools/log_text.h"
#include "tools/narrowable_session.h"
#include "tools/run_session.h"

namespace understudy::tools {

namespace {

using Json = nlohmann::ordered_json;
constexpr unsigned kShownInstructions = 4;
constexpr int kDifferent = 1;
constexpr const char* kLeft = "A";
constexpr const char* kRight = "B";

struct DiffCommand {
  std::string left, right;
  bool json = false, all = false, no_replay = false;
  size_t most_fields() const { return all ? ~size_t{0} : 24; }
};

// DIR@ICOUNT, unless there is a folder of that very name.
struct Point {
  std::string directory;
  std::optional<uint64_t> icount;
};

Point parse_point(const std::string& text) {
  const size_t at = text.rfind('@');
  if (at == std::string::npos || std::filesystem::is_directory(text)) return {text, std::nullopt};
  uint64_t icount = 0;
  const auto [end, error] = std::from_chars(text.data() + at + 1, text.data() + text.size(), icount);
  if (error != std::errc() || end != text.data() + text.size())
    throw UsageError(fmt::format("{}: want a recording, or RECORDING@ICOUNT", text));
  return {text.substr(0, at), icount};
}

// --- two points

int compare_points(const DiffCommand& command, const Point& left, const Point& right) {
  const auto open = [](const Point& point) {
    auto session = std::make_unique<ReplaySession>(point.directory);
    if (*point.icount > session->last_icount())
      throw UsageError(fmt::format("{}: it ends at instruction {}, before {}", point.directory, session->last_icount(),
                                   *point.icount));
    session->start_near(*point.icount);
    session->run_to(*point.icount);
    if (session->machine().icount() != *point.icount)
      throw UsageError(fmt::format("{}: instruction {} was not reached; the replay stands at {}", point.directory,
                                   *point.icount, session->machine().icount()));
    return session;
  };
  const auto a = open(left), b = open(right);
  const auto machines = compare_descriptions(a->log().description(), b->log().description());
  const auto difference = backup::difference_between(a->machine(), b->machine());
  if (command.json) {
    Json json = {{"equal", !difference && machines.empty()}, {"machines", Json::array()}};
    for (const auto& key : machines)
      json["machines"].push_back({{"key", key.field}, {"left", key.left}, {"right", key.right}});
    if (difference) json["difference"] = difference_json(*difference);
    fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
    return difference || !machines.empty() ? kDifferent : 0;
  }
  for (const auto& key : machines)
    fmt::print("machine: {} is {} in {}, {} in {}\n", key.field, key.left, kLeft, key.right, kRight);
  if (!difference) {
    fmt::print("{} and {}: equal\n", command.left, command.right);
    return machines.empty() ? 0 : kDifferent;
  }
  fmt::print("{} is {}, {} is {}\n{}", kLeft, command.left, kRight, command.right,
             difference_text(*difference, kLeft, kRight, command.most_fields()));
  for (const auto& [name, session] : {std::pair(kLeft, a.get()), std::pair(kRight, b.get())})
    fmt::print("{} at instruction {}:\n{}{}", name, session->machine().icount(),
               disassembly_text(session->machine(), kShownInstructions, "    "),
               registers_text(session->machine(), "    "));
  return kDifferent;
}

// --- two recordings

struct Narrowed {
  uint64_t low = 0, high = 0;  // what was looked at
  std::optional<backup::FirstDifference> difference;
  std::string instructions, registers;  // before the difference
};

// Replays both from where they were equal to where something may differ.
Narrowed narrow_down(const DiffCommand& command, const LogDifference& logs) {
  Narrowed result;
  uint64_t low = std::max(logs.first_icount, logs.last_equal_digest.value_or(0));
  result.low = low;
  NarrowableSession one(command.left, low), other(command.right, low);
  one.session().ignore_proofs();
  other.session().ignore_proofs();
  const uint64_t end = std::min(logs.last_left, logs.last_right);
  std::vector<uint64_t> suspects;
  if (logs.entries)
    for (const auto& entry : {logs.entries->left, logs.entries->right})
      if (entry) suspects.push_back(entry->icount);
  if (logs.digests) suspects.push_back(logs.digests->icount);
  if (logs.marks) suspects.push_back(logs.marks->icount);
  suspects.push_back(end);
  std::sort(suspects.begin(), suspects.end());
  for (const uint64_t high : suspects) {
    if (high > end || (high < low && result.high != 0)) continue;
    result.high = std::max(low, high);
    result.difference = backup::narrow(one, other, low, result.high);
    if (result.difference) break;
    low = result.high;
  }
  if (result.difference && result.difference->equal_before) {
    one.go_back();
    result.instructions = disassembly_text(one.machine(), kShownInstructions, "    ");
    result.registers = registers_text(one.machine(), "    ");
  }
  return result;
}

std::string digest_parts(const LogDifference::Digests& digests) {
  return fmt::format("{}{}{}", digests.left.cpu != digests.right.cpu ? " CPU" : "",
                     digests.left.ram != digests.right.ram ? " RAM" : "",
                     digests.left.devices != digests.right.devices ? " devices" : "");
}

std::string line_of(const std::optional<ftlog::LogEntry>& entry) {
  return entry ? log_table_line(*entry) : "         - the log ends";
}

void print(const DiffCommand& command, const LogDifference& logs, const std::optional<Narrowed>& narrowed) {
  fmt::print("{} is {}, {} is {}\n", kLeft, command.left, kRight, command.right);
  if (logs.machines.empty()) fmt::print("machines: equal\n");
  for (const auto& key : logs.machines)
    fmt::print("machine: {} is {} in {}, {} in {}\n", key.field, key.left, kLeft, key.right, kRight);
  fmt::print("inputs and clock: {} entries equal{}\n", logs.equal_entries, logs.entries ? ", then" : "");
  if (logs.entries) {
    fmt::print("    {}\n", log_table_head());
    for (const auto& entry : logs.entries->before) fmt::print("    {}\n", log_table_line(entry));
    fmt::print("  {} {}\n  {} {}\n", kLeft, line_of(logs.entries->left), kRight, line_of(logs.entries->right));
  }
  fmt::print("state digests: {} compared", logs.compared_digests);
  if (logs.digests)
    fmt::print(", that of instruction {} differs in{}", logs.digests->icount, digest_parts(*logs.digests));
  if (logs.last_equal_digest && logs.digests) fmt::print("; all was equal at instruction {}", *logs.last_equal_digest);
  fmt::print("{}\noutputs: {} marks compared", logs.digests || logs.compared_digests == 0 ? "" : ", all equal",
             logs.compared_marks);
  if (logs.marks)
    fmt::print(", that of instruction {} on channel {} differs: {} bytes in {}, {} in {}", logs.marks->icount,
               logs.marks->left.channel, logs.marks->left.total_bytes, kLeft, logs.marks->right.total_bytes, kRight);
  fmt::print("{}\n", logs.marks || logs.compared_marks == 0 ? "" : ", all equal");
  if (logs.equal()) fmt::print("equal\n");
  if (!narrowed) return;
  if (!narrowed->difference) {
    fmt::print("replayed side by side from instruction {} to {}: equal all the way\n", narrowed->low, narrowed->high);
    return;
  }
  const backup::FirstDifference& difference = *narrowed->difference;
  fmt::print("replayed side by side from instruction {}: {} at instruction {}:\n{}", narrowed->low,
             difference.equal_before ? "first different" : "already different", difference.icount,
             difference_text(difference, kLeft, kRight, command.most_fields()));
  if (difference.equal_before)
    fmt::print("  both were equal at instruction {}, before\n{}{}", difference.icount - 1, narrowed->instructions,
               narrowed->registers);
}

Json digest_json(const ftlog::StateDigest& digest) {
  return {{"cpu", fmt::format("{:016x}", digest.cpu)},
          {"ram", fmt::format("{:016x}", digest.ram)},
          {"devices", fmt::format("{:016x}", digest.devices)}};
}

Json to_json(const LogDifference& logs, const std::optional<Narrowed>& narrowed) {
  Json json = {{"equal", logs.equal()}, {"machines", Json::array()}};
  for (const auto& key : logs.machines)
    json["machines"].push_back({{"key", key.field}, {"left", key.left}, {"right", key.right}});
  const auto entry_json = [](const std::optional<ftlog::LogEntry>& entry) {
    return entry ? log_entry_json(*entry) : Json(nullptr);
  };
  json["equal_entries"] = logs.equal_entries;
  if (logs.entries) {
    Json before = Json::array();
    for (const auto& entry : logs.entries->before) before.push_back(log_entry_json(entry));
    json["entries"] = {{"before", std::move(before)},
                       {"left", entry_json(logs.entries->left)},
                       {"right", entry_json(logs.entries->right)}};
  }
  json["compared_digests"] = logs.compared_digests;
  if (logs.last_equal_digest) json["last_equal_digest"] = *logs.last_equal_digest;
  if (logs.digests)
    json["digests"] = {{"icount", logs.digests->icount},
                       {"left", digest_json(logs.digests->left)},
                       {"right", digest_json(logs.digests->right)}};
  json["compared_outputs"] = logs.compared_marks;
  if (logs.marks)
    json["outputs"] = {{"icount", logs.marks->icount},
                       {"channel", logs.marks->left.channel},
                       {"left_bytes", logs.marks->left.total_bytes},
                       {"right_bytes", logs.marks->right.total_bytes}};
  if (!narrowed) return json;
  json["replayed"] = {{"from", narrowed->low}, {"to", narrowed->high}, {"equal", !narrowed->difference}};
  if (narrowed->difference) {
    json["difference"] = difference_json(*narrowed->difference);
    json["difference"]["equal_before"] = narrowed->difference->equal_before;
    json["difference"]["instructions_before"] = narrowed->instructions;
    json["difference"]["registers_before"] = narrowed->registers;
  }
  return json;
}

int compare_recordings(const DiffCommand& command) {
  const LogDifference logs = compare_logs(command.left, command.right);
  std::optional<Narrowed> narrowed;
  if (!logs.equal() && logs.machines.empty() && !command.no_replay) narrowed = narrow_down(command, logs);
  if (command.json)
    fmt::print("{}\n", to_json(logs, narrowed).dump(2, ' ', false, Json::error_handler_t::replace));
  else
    print(command, logs, narrowed);
  return logs.equal() ? 0 : kDifferent;
}

int diff(const DiffCommand& command) {
  const Point left = parse_point(command.left), right = parse_point(command.right);
  if (left.icount.has_value() != right.icount.has_value())
    throw UsageError("want two recordings, or a point of each as RECORDING@ICOUNT");
  install_signal_handlers();
  const int code = left.icount ? compare_points(command, left, right) : compare_recordings(command);
  if (std::fflush(stdout) != 0) throw std::runtime_error("cannot write to the output");
  return interrupted() ? exit_code::kQuit : code;
}

}  // namespace

void add_diff_command(CLI::App& app, const std::function<void(std::function<int()>)>& then) {
  auto command = std::make_shared<DiffCommand>();
  CLI::App* sub = app.add_subcommand("diff", "Where two recordings part, or how two points differ");
  sub->footer(
      "Of two recordings: what differs in their machines, the first input that differs, the first state digest and "
      "the\n"
      "first output that differ where both have one. If there is a difference, both are replayed side by side from\n"
      "where they were last equal, and the first instruction after which their states differ is shown.\n"
      "Of two points (RECORDING@ICOUNT, perhaps of the same recording): what differs in CPU, RAM and devices.\n\n"
      "  understudy diff good bad\n"
      "  understudy diff good@1000000 bad@1000000\n\n"
      "Exit codes\n"
      "  0  equal\n"
      "  1  different\n"
      "  2  bad usage, or no recording\n"
      "  4  an internal error\n"
      "  5  a log is damaged");
  sub->add_option("A", command->left, "A recording, or RECORDING@ICOUNT")->required();
  sub->add_option("B", command->right, "The other one")->required();
  sub->add_flag("--json", command->json, "One JSON object");
  sub->add_flag("--all", command->all, "Every field that differs, not only the first ones");
  sub->add_flag("--no-replay", command->no_replay, "Compare the logs only");
  sub->callback([command, then] { then([command] { return diff(*command); }); });
}

}  // namespace understudy::tools
