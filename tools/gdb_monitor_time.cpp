// Monitor commands that tell where in its time a machine is, and move it along its recording.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <utility>

#include "ftlog/log_error.h"
#include "ftlog/log_reader.h"
#include "tools/gdb_monitor.h"
#include "tools/gdb_replay_target.h"
#include "tools/log_text.h"
#include "tools/serial_backend.h"
#include "tools/serial_match.h"

namespace understudy::tools {

namespace {

// Reads the log's entries from a count on, until `call` says false or there are no more.
template <typename Call>
void read_log(const DebugState& state, uint64_t from_icount, Call&& call) {
  try {
    ftlog::LogReader reader(state.directory);
    reader.seek_icount(from_icount);
    for (ftlog::LogEntry entry; reader.next(entry);)
      if (!call(entry)) return;
  } catch (const ftlog::LogError& error) {
    throw GdbRefusal(error.what());
  }
}

uint64_t epoch_at(const DebugState& state, uint64_t icount) {
  uint64_t epoch = 0;
  read_log(state, 0, [&](const ftlog::LogEntry& entry) {
    if (entry.icount > icount) return false;
    if (const auto* begun = std::get_if<ftlog::Epoch>(&entry.payload)) epoch = begun->epoch;
    return true;
  });
  return epoch;
}

void when(DebugState& state, MonitorArguments& arguments, GdbUser& user) {
  arguments.done();
  std::string text = place_text(state);
  if (state.timeline != nullptr) {
    text += fmt::format("recording {}, instructions {} to {}", state.directory, state.timeline->first(),
                        state.timeline->last());
    const uint64_t epoch = epoch_at(state, state.timeline->position());
    text += epoch == 0 ? "\n" : fmt::format(", epoch {}\n", epoch);
  } else {
    text += "live\n";
  }
  user.say(text);
}

// 1234, 1234.1, +N and -N from here, start, end.
Mark parse_mark(const Timeline& timeline, std::string_view text) {
  if (text == "start") return {timeline.first(), 0};
  if (text == "end") return {timeline.last(), 0};
  const bool relative = text.starts_with('+') || text.starts_with('-');
  const size_t dot = text.find('.');
  const auto count = parse_number(text.substr(relative, dot == std::string_view::npos ? dot : dot - relative));
  const auto deliveries = dot == std::string_view::npos ? 0 : parse_number(text.substr(dot + 1));
  if (!count || !deliveries || (relative && dot != std::string_view::npos))
    throw GdbRefusal(fmt::format(
        "`{}` is no place: want an instruction count, +N, -N, start, end, @TIME or output REGEX", one_line(text)));
  if (!relative) return {*count, *deliveries};
  const uint64_t here = timeline.position();
  if (text.front() == '-') return {here - std::min(*count, here), 0};
  return {here + std::min(*count, ~uint64_t{0} - here), 0};
}

// A number of seconds, or with a unit.
uint64_t parse_time_ns(std::string_view text) {
  constexpr std::pair<std::string_view, double> kUnits[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};
  std::string number(text);
  double scale = 1e9;
  for (const auto& [unit, ns] : kUnits) {
    if (!text.ends_with(unit)) continue;
    number = text.substr(0, text.size() - unit.size());
    scale = ns;
    break;
  }
  char* end = nullptr;
  const double value = number.empty() ? -1 : std::strtod(number.c_str(), &end);
  if (end == nullptr || *end != 0 || !std::isfinite(value) || value < 0 || value * scale > 1e19)
    throw GdbRefusal(fmt::format("`@{}` is no time: want @1.5, @1.5s, @20ms, @7us or @3ns", one_line(text)));
  return static_cast<uint64_t>(std::llround(value * scale));
}

// The first point at which the guest's clock has reached `ns`: between two entries of the log it is looked for by
// halves, since time may jump where the guest is idle.
Stop seek_time(DebugState& state, Timeline& timeline, uint64_t ns) {
  uint64_t low = timeline.first(), high = timeline.last();
  read_log(state, 0, [&](const ftlog::LogEntry& entry) {
    if (entry.virtual_ns < ns) {
      low = entry.icount;
      return true;
    }
    high = entry.icount;
    return false;
  });
  Stop stop = timeline.seek(low);
  while (low < high && stop.why == Stop::limit && timeline.machine().now_ns() < ns) {
    // Without a jump it would be there.
    const uint64_t straight = timeline.machine().time().icount_at(ns);
    const uint64_t middle = std::min(std::max(low + 1, std::min(straight, low + (high - low + 1) / 2)), high);
    stop = timeline.seek(middle);
    if (stop.why != Stop::limit) return stop;
    if (timeline.machine().now_ns() < ns) {
      low = middle;
    } else if (middle == low + 1) {
      return stop;
    } else {
      high = middle;
      stop = timeline.seek(low);
    }
  }
  return stop;
}

// Runs from here to where the next line on COM1 matches; the machine is behind the instruction that sent the last byte.
Stop seek_output(Timeline& timeline, const std::string& pattern) {
  std::optional<SerialMatch> match;
  try {
    match.emplace(pattern);
  } catch (const UsageError&) {
    throw GdbRefusal(fmt::format("`{}` is no regular expression", one_line(pattern)));
  }
  emu::Machine& machine = timeline.machine();
  const emu::ChannelId serial = machine.world().channel("serial0");
  const Mark begin = timeline.mark();
  std::optional<uint64_t> found;
  machine.world().observe(serial, [&](std::span<const uint8_t> bytes) {
    if (!found && match->saw(bytes)) found = machine.cpu().executing_icount() + 1;
  });
  constexpr uint64_t kStretch = 5'000'000;
  Stop stop;
  while (!found && stop.why == Stop::limit) {
    Condition condition;
    condition.until_icount = timeline.position() + kStretch;
    stop = timeline.run_until(condition, Direction::forward);
  }
  machine.world().observe(serial, {});
  if (found) return timeline.seek(std::min(*found, timeline.last()));
  if (stop.why != Stop::end_of_log) return stop;
  timeline.seek(begin);
  throw GdbRefusal(
      fmt::format("no line on COM1 matches after instruction {}; `monitor seek start` and then again looks "
                  "at all of them",
                  mark_text(begin)));
}

void seek(DebugState& state, MonitorArguments& arguments, GdbUser& user) {
  Timeline& timeline = timeline_of(state);
  const ShownProgress shown(timeline, user);
  Stop stop;
  if (arguments.skip("output")) {
    const std::string pattern(arguments.rest());
    if (pattern.empty()) throw GdbRefusal("a regular expression is missing");
    stop = seek_output(timeline, pattern);
  } else {
    const std::string_view where = arguments.word();
    if (where.empty()) throw GdbRefusal("where to? `monitor help seek`");
    arguments.done();
    stop = where.front() == '@' ? seek_time(state, timeline, parse_time_ns(where.substr(1)))
                                : timeline.seek(parse_mark(timeline, where));
  }
  show_move(state, stop, user);
}

void checkpoint(DebugState& state, MonitorArguments& arguments, GdbUser& user) {
  constexpr size_t kMost = 10000;
  Timeline& timeline = timeline_of(state);
  std::string name(arguments.word());
  arguments.done();
  if (state.checkpoints.size() >= kMost) throw GdbRefusal("there are enough checkpoints");
  for (size_t i = 1; name.empty(); ++i)
    if (!state.checkpoints.contains(std::to_string(i))) name = std::to_string(i);
  state.checkpoints[name] = timeline.mark();
  user.say(fmt::format("Checkpoint {} at instruction {}\n", one_line(name), mark_text(timeline.mark())));
}

void restart(DebugState& state, MonitorArguments& arguments, GdbUser& user) {
  Timeline& timeline = timeline_of(state);
  const std::string name(arguments.word());
  arguments.done();
  const auto found = state.checkpoints.find(name);
  if (found == state.checkpoints.end())
    throw GdbRefusal(fmt::format("there is no checkpoint `{}`; `monitor info checkpoints` lists them", one_line(name)));
  const ShownProgress shown(timeline, user);
  show_move(state, timeline.seek(found->second), user);
}

void events(DebugState& state, MonitorArguments& arguments, GdbUser& user) {
  constexpr unsigned kMost = 100;
  const Timeline& timeline = timeline_of(state);
  std::optional<ftlog::EntryKind> kind;
  if (MonitorArguments ahead = arguments; !ahead.empty()) {
    const std::string_view word = ahead.word();
    kind = ftlog::entry_kind_named(word);
    if (kind)
      arguments = ahead;
    else if (!parse_number(word))
      throw GdbRefusal(
          fmt::format("`{}` is neither a kind of entry nor an instruction count; `understudy log --help` "
                      "names the kinds",
                      one_line(word)));
  }
  const uint64_t from = arguments.empty() ? timeline.position() : arguments.number("FROM, an instruction count");
  const uint64_t to = arguments.empty() ? ~0ull : arguments.number("TO, an instruction count");
  arguments.done();
  std::string text = log_table_head() + "\n";
  unsigned shown = 0;
  read_log(state, from, [&](const ftlog::LogEntry& entry) {
    if (entry.icount > to) return false;
    if (kind && entry.kind() != *kind) return true;
    if (shown++ == kMost) {
      text += fmt::format("... and more from instruction {} on\n", entry.icount);
      return false;
    }
    text += log_table_line(entry) + "\n";
    return !user.wants_stop();
  });
  user.say(shown == 0 ? "no entries\n" : text);
}

constexpr std::array kCommands{
    MonitorCommand{"when", "",
                   "where in its time the machine is\nInstruction count, the guest's clock, the epoch of a "
                   "replicated machine, and the instruction in front of it.",
                   when},
    MonitorCommand{"seek", "PLACE",
                   "go somewhere in the recording\nPLACE is\n"
                   "  N              an instruction count; N.1 is behind the first interrupt or fault taken there\n"
                   "  +N, -N         so many instructions from here\n"
                   "  start, end     where the recording begins and ends\n"
                   "  @TIME          when the guest's clock has reached TIME: 1.5 or 1.5s, 20ms, 7us, 3ns\n"
                   "  output REGEX   where the next line on COM1 that matches is complete, from here on",
                   seek},
    MonitorCommand{"checkpoint", "[NAME]",
                   "remember this point\n`monitor restart NAME` comes back to it. Without a "
                   "name it gets a number.",
                   checkpoint},
    MonitorCommand{"restart", "NAME", "go to a checkpoint", restart},
    MonitorCommand{"events", "[KIND] [FROM] [TO]",
                   "entries of the log from an instruction count on\nFROM is this point if it is not given. KIND is "
                   "one of those of `understudy log`: input, reset, snapshot and so on.",
                   events}};

}  // namespace

std::span<const MonitorCommand> monitor_time_commands() { return kCommands; }

}  // namespace understudy::tools
