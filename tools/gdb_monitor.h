// What `monitor` in a debugger reaches: commands for what GDB's own have no words for, above all the recording's time.
// Each command is a line of a table with its help; tools/gdb_monitor_*.cpp have one subject each.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/debug_state.h"
#include "tools/gdb_target.h"

namespace understudy::tools {

// A command's words behind its name.
class MonitorArguments {
 public:
  explicit MonitorArguments(std::string_view line) : rest_(line) {}
  // The next word; empty when there is none.
  std::string_view word();
  // The next word if it is this one.
  bool skip(std::string_view word);
  // Everything that is left.
  std::string_view rest();
  bool empty() { return rest().empty(); }
  // Throw GdbRefusal when a word is missing or wrong. Numbers are decimal, or hexadecimal behind 0x.
  uint64_t number(const char* what);
  void done();

 private:
  std::string_view rest_;
};

struct MonitorCommand {
  const char* name;
  const char* arguments;
  const char* help;  // the first line says what it is for
  void (*run)(DebugState& state, MonitorArguments& arguments, GdbUser& user);
};

std::span<const MonitorCommand> monitor_time_commands();
std::span<const MonitorCommand> monitor_memory_commands();
std::span<const MonitorCommand> monitor_machine_commands();

// --- for commands
std::optional<uint64_t> parse_number(std::string_view text);
// The recording that is being moved along. Throws GdbRefusal for a live machine.
Timeline& timeline_of(DebugState& state);
// A number, a symbol, or symbol+number.
uint64_t parse_address(const DebugState& state, std::string_view text);
// Where the machine is: count, time, and the instruction in front of it with its symbol and source line.
std::string place_text(DebugState& state);
// After the machine has been moved behind the debugger's back: shows where it is, or why it is not where it should be.
void show_move(DebugState& state, const Stop& stop, GdbUser& user);

class DebugMonitor : public GdbMonitor {
 public:
  explicit DebugMonitor(DebugState& state) : state_(state) {}
  void run(std::string_view command, GdbUser& user) override;

 private:
  DebugState& state_;
};

}  // namespace understudy::tools
