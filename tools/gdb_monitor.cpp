#include "tools/gdb_monitor.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "tools/cpu_text.h"
#include "tools/gdb_replay_target.h"
#include "tools/log_text.h"

namespace understudy::tools {

namespace {

constexpr std::string_view kBlanks = " \t\r\n";

std::vector<const MonitorCommand*> all_commands() {
  std::vector<const MonitorCommand*> all;
  for (const auto& commands : {monitor_time_commands(), monitor_memory_commands(), monitor_machine_commands()})
    for (const MonitorCommand& command : commands) all.push_back(&command);
  return all;
}

std::string usage_of(const MonitorCommand& command) {
  return fmt::format("{}{}{}", command.name, *command.arguments == 0 ? "" : " ", command.arguments);
}

std::string help_text() {
  std::string text =
      "Behind `monitor`; `monitor help COMMAND` says more. ADDRESS is a number, a symbol of --symbols, or "
      "symbol+number.\n";
  for (const MonitorCommand* command : all_commands()) {
    const std::string_view help = command->help;
    text += fmt::format("  {:<36} {}\n", usage_of(*command), help.substr(0, help.find('\n')));
  }
  return text;
}

// By name, or by a beginning that only one has.
const MonitorCommand* find_command(std::string_view name) {
  const MonitorCommand* found = nullptr;
  for (const MonitorCommand* command : all_commands()) {
    if (name == command->name) return command;
    if (!std::string_view(command->name).starts_with(name)) continue;
    if (found != nullptr) return nullptr;
    found = command;
  }
  return found;
}

const MonitorCommand& command_named(std::string_view name) {
  const MonitorCommand* command = find_command(name);
  if (command == nullptr)
    throw GdbRefusal(fmt::format("there is no `monitor {}`; `monitor help` lists what there is", one_line(name)));
  return *command;
}

}  // namespace

std::string_view MonitorArguments::word() {
  rest_.remove_prefix(std::min(rest_.find_first_not_of(kBlanks), rest_.size()));
  const size_t end = std::min(rest_.find_first_of(kBlanks), rest_.size());
  const std::string_view word = rest_.substr(0, end);
  rest_.remove_prefix(end);
  return word;
}

bool MonitorArguments::skip(std::string_view word) {
  MonitorArguments ahead = *this;
  if (ahead.word() != word) return false;
  *this = ahead;
  return true;
}

std::string_view MonitorArguments::rest() {
  rest_.remove_prefix(std::min(rest_.find_first_not_of(kBlanks), rest_.size()));
  rest_ = rest_.substr(0, rest_.find_last_not_of(kBlanks) + 1);
  return rest_;
}

uint64_t MonitorArguments::number(const char* what) {
  const std::string_view text = word();
  if (text.empty()) throw GdbRefusal(fmt::format("{} is missing", what));
  const std::optional<uint64_t> value = parse_number(text);
  if (!value) throw GdbRefusal(fmt::format("`{}` is no number: want {}", one_line(text), what));
  return *value;
}

void MonitorArguments::done() {
  if (!empty()) throw GdbRefusal(fmt::format("what is `{}` for?", one_line(rest())));
}

std::optional<uint64_t> parse_number(std::string_view text) {
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  if (hex) text.remove_prefix(2);
  uint64_t value = 0;
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, value, hex ? 16 : 10);
  if (text.empty() || error != std::errc() || end != last) return std::nullopt;
  return value;
}

Timeline& timeline_of(DebugState& state) {
  if (state.timeline == nullptr) throw GdbRefusal("this machine is live: it has no recorded past to move along");
  return *state.timeline;
}

uint64_t parse_address(const DebugState& state, std::string_view text) {
  if (text.empty()) throw GdbRefusal("an address is missing");
  if (const auto number = parse_number(text)) return *number;
  const size_t plus = text.find('+');
  const auto symbol = state.symbols.address_of(text.substr(0, plus));
  if (!symbol)
    throw GdbRefusal(fmt::format("`{}` is no address{}", one_line(text),
                                 state.symbols.empty() ? "; symbols come with --symbols" : " and no symbol"));
  if (plus == std::string_view::npos) return *symbol;
  const auto offset = parse_number(text.substr(plus + 1));
  if (!offset) throw GdbRefusal(fmt::format("`{}`: want symbol+number", one_line(text)));
  return *symbol + *offset;
}

std::string place_text(DebugState& state) {
  emu::Machine& machine = *state.machine;
  const uint64_t pc = linear_pc(machine.cpu().engine().cpu());
  std::string text =
      fmt::format("instruction {}, {:.9f} s",
                  state.timeline != nullptr ? mark_text(state.timeline->mark()) : std::to_string(machine.icount()),
                  static_cast<double>(machine.now_ns()) / 1e9);
  if (machine.cpu().halted()) text += ", halted";
  if (const std::string symbol = state.symbols.text_at(pc, Symbols::Kind::code); !symbol.empty())
    text += fmt::format(", in {}", symbol);
  if (const auto line = state.symbols.line_at(pc)) text += fmt::format(" at {}:{}", line->file, line->line);
  return text + "\n" + disassembly_text(machine, 1, "  ");
}

void show_move(DebugState& state, const Stop& stop, GdbUser& user) {
  std::string text;
  switch (stop.why) {
    case Stop::begin:
      text = "The recording begins here.\n";
      break;
    case Stop::end_of_log:
      text = "The recording ends here.\n";
      break;
    case Stop::interrupted:
      text = "Interrupted.\n";
      break;
    case Stop::diverged:
      text = fmt::format("The replay diverges, and cannot go on: {}\n", stop.message);
      break;
    default:
      break;
  }
  text += place_text(state);
  if (!std::exchange(state.told_of_stale_view, true))
    text +=
        "gdb does not know that the machine has moved: `maintenance flush register-cache` makes it look again, and "
        "tools/debug.gdb does so after each monitor command.\n";
  user.say(text);
}

void DebugMonitor::run(std::string_view line, GdbUser& user) {
  MonitorArguments arguments(line);
  const std::string_view name = arguments.word();
  if (name.empty() || name == "help") {
    const std::string_view about = arguments.word();
    if (about.empty()) return user.say(help_text());
    const MonitorCommand& command = command_named(about);
    return user.say(fmt::format("monitor {}\n{}\n", usage_of(command), command.help));
  }
  const MonitorCommand& command = command_named(name);
  command.run(state_, arguments, user);
}

}  // namespace understudy::tools
