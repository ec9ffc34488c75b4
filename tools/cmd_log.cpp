#include "tools/cmd_log.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "ftlog/log_reader.h"
#include "ftlog/recording.h"
#include "tools/log_check.h"
#include "tools/log_text.h"
#include "tools/run_session.h"

namespace understudy::tools {

namespace {

using ftlog::EntryKind;
using ftlog::LogState;
using Json = nlohmann::ordered_json;

struct LogCommand {
  std::string directory;
  std::vector<std::string> kinds;
  bool json = false, stats = false, check = false;
};

// Texts in a log need not be UTF-8.
std::string dump(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

std::string describe(const ftlog::TornTail& tail) {
  return fmt::format("log {}: not finished: at offset {}: {}{}", tail.segment, tail.offset, tail.reason,
                     tail.bytes_lost == 0 ? "" : fmt::format(" ({} bytes of it are there)", tail.bytes_lost));
}

// After what was printed so far, if both go to the same place.
void complain(const std::string& line) {
  std::fflush(stdout);
  fmt::print(stderr, "understudy: {}\n", line);
}

const char* name_of(LogState state) { return state == LogState::complete ? "complete" : "unfinished"; }

int list(const LogCommand& command) {
  std::set<EntryKind> wanted;
  for (const auto& name : command.kinds) wanted.insert(*ftlog::entry_kind_named(name));
  ftlog::LogReader reader(command.directory);
  if (!command.json) fmt::print("{}\n", log_table_head());
  for (ftlog::LogEntry entry; reader.next(entry);) {
    if (!wanted.empty() && !wanted.contains(entry.kind())) continue;
    fmt::print("{}\n", command.json ? dump(log_entry_json(entry)) : log_table_line(entry));
  }
  if (reader.state() == LogState::torn) complain(describe(reader.tail()));
  return 0;
}

double per_second(uint64_t count, uint64_t ns) {
  return ns == 0 ? 0 : static_cast<double>(count) * 1e9 / static_cast<double>(ns);
}

Json stats_json(const LogSummary& summary) {
  Json kinds = Json::object();
  for (uint8_t i = 1; i <= ftlog::kEntryKinds; ++i)
    kinds[to_string(static_cast<EntryKind>(i))] = {{"entries", summary.kinds[i].entries},
                                                   {"bytes", summary.kinds[i].bytes}};
  return {{"state", name_of(summary.state)},
          {"description", summary.description},
          {"entries", summary.entries},
          {"icount", summary.last_icount},
          {"virtual_ns", summary.virtual_ns},
          {"segments", summary.segments},
          {"blocks", summary.blocks},
          {"log_bytes", summary.segment_bytes},
          {"snapshots", summary.snapshots},
          {"snapshot_bytes", summary.snapshot_bytes},
          {"entries_per_virtual_s", per_second(summary.entries, summary.virtual_ns)},
          {"bits_per_virtual_s", per_second(8 * summary.segment_bytes, summary.virtual_ns)},
          {"kinds", kinds}};
}

void print_stats(const LogSummary& summary) {
  constexpr uint64_t kMillion = 1'000'000;
  fmt::print("{}, {} segments, {} blocks, {} bytes\n", name_of(summary.state), summary.segments, summary.blocks,
             summary.segment_bytes);
  fmt::print("instructions: {}, virtual time: {}.{:03} s\n", summary.last_icount, summary.virtual_ns / 1000 / kMillion,
             summary.virtual_ns / kMillion % 1000);
  if (summary.snapshots != 0)
    fmt::print("snapshots: {}, {} bytes in files of their own\n", summary.snapshots, summary.snapshot_bytes);
  fmt::print("\n{:<14}{:>12}{:>14}{:>16}\n", "kind", "entries", "bytes", "per virtual s");
  const auto line = [&](const char* name, uint64_t entries, uint64_t bytes) {
    fmt::print("{:<14}{:>12}{:>14}{:>16.2f}\n", name, entries, bytes, per_second(entries, summary.virtual_ns));
  };
  uint64_t bytes = 0;
  for (uint8_t i = 1; i <= ftlog::kEntryKinds; ++i) {
    bytes += summary.kinds[i].bytes;
    if (summary.kinds[i].entries != 0)
      line(to_string(static_cast<EntryKind>(i)), summary.kinds[i].entries, summary.kinds[i].bytes);
  }
  line("all", summary.entries, bytes);
  fmt::print("\nwith headers: {:.2f} kbit per virtual second\n",
             per_second(8 * summary.segment_bytes, summary.virtual_ns) / 1000);
  fmt::print("\nmachine:\n");
  for (size_t at = 0; at < summary.description.size();) {
    const size_t end = std::min(summary.description.find('\n', at), summary.description.size());
    fmt::print("  {}\n", one_line(std::string_view(summary.description).substr(at, end - at)));
    at = end + 1;
  }
}

int stats(const LogCommand& command) {
  const LogSummary summary = summarise_log(command.directory, nullptr);
  if (command.json)
    fmt::print("{}\n", dump(stats_json(summary), 2));
  else
    print_stats(summary);
  if (summary.state == LogState::torn) complain(describe(summary.tail));
  return 0;
}

int check(const LogCommand& command) {
  // Asked first: whoever stops recording while we read has finished the log.
  const bool going_on = ftlog::is_being_recorded(command.directory);
  std::vector<std::string> problems;
  LogSummary summary;
  try {
    summary = summarise_log(command.directory, &problems);
    if (summary.state == LogState::torn && !going_on) problems.push_back(describe(summary.tail));
  } catch (const ftlog::LogError& error) {
    problems.emplace_back(error.what());
  }
  const bool good = problems.empty();
  if (command.json) {
    Json json = {{"good", good}, {"being_recorded", going_on}, {"problems", problems}};
    if (summary.state != LogState::reading) json["summary"] = stats_json(summary);
    fmt::print("{}\n", dump(json, 2));
  } else if (good) {
    fmt::print("{}: good{}: {} entries, {} blocks, {} segments, {} snapshots\n", command.directory,
               summary.state == LogState::torn ? " so far, still being recorded" : "", summary.entries, summary.blocks,
               summary.segments, summary.snapshots);
  }
  for (const auto& problem : problems) complain(problem);
  return good ? 0 : exit_code::kDamaged;
}

int run(const LogCommand& command) {
  ftlog::require_recording(command.directory);
  try {
    const int code = command.check ? check(command) : command.stats ? stats(command) : list(command);
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) throw std::runtime_error("cannot write to the output");
    return code;
  } catch (const ftlog::LogError& error) {
    complain(error.what());
    return exit_code::kDamaged;
  }
}

std::vector<std::string> kind_names() {
  std::vector<std::string> names;
  for (uint8_t i = 1; i <= ftlog::kEntryKinds; ++i) names.emplace_back(to_string(static_cast<EntryKind>(i)));
  return names;
}

}  // namespace

void add_log_command(CLI::App& app, const std::function<void(std::function<int()>)>& then) {
  auto options = std::make_shared<LogCommand>();
  CLI::App* command = app.add_subcommand("log", "Show, count or check what a recording holds");
  command->add_option("DIR", options->directory, "The recording's directory")->required();
  command->add_option("--grep", options->kinds, "Only entries of this kind; may be repeated")
      ->type_name("KIND")
      ->allow_extra_args(false)
      ->check(CLI::IsMember(kind_names()));
  command->add_flag("--json", options->json, "JSON: an object a line for entries, one object otherwise");
  auto* stats = command->add_flag("--stats", options->stats, "Totals and bytes by kind");
  auto* check = command->add_flag("--check", options->check,
                                  "Verify every checksum, length and snapshot file; exit code 5 if anything is wrong");
  stats->excludes(check);
  command->get_option("--grep")->excludes(stats)->excludes(check);
  command->callback([options, then] { then([options] { return run(*options); }); });
}

}  // namespace understudy::tools
