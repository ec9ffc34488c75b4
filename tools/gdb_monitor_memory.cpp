// Monitor commands about memory: physical bytes, translations, and who wrote what.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "tools/gdb_monitor.h"
#include "tools/gdb_replay_target.h"
#include "tools/guest_memory.h"
#include "tools/hex_dump.h"
#include "tools/log_text.h"
#include "tools/page_walk_text.h"

namespace understudy::tools {

namespace {

constexpr uint64_t kMostWatched = 1u << 20;

void xp(DebugState& state, MonitorArguments& arguments, GdbUser& user) {
  constexpr uint64_t kDefault = 64, kMost = 64u << 10;
  const uint64_t address = arguments.number("a physical address");
  const uint64_t length = arguments.empty() ? kDefault : arguments.number("a length in bytes");
  arguments.done();
  std::vector<uint8_t> bytes(std::clamp<uint64_t>(length, 1, kMost));
  bytes.resize(GuestMemory(*state.machine).read_physical(address, bytes));
  user.say(hex_dump(address, bytes));
}

void tlb(DebugState& state, MonitorArguments& arguments, GdbUser& user) {
  const uint64_t address = parse_address(state, arguments.word());
  arguments.done();
  user.say(page_walk_text(*state.machine, address));
}

struct Range {
  uint64_t address, length;
  bool physical;
};

Range parse_range(const DebugState& state, MonitorArguments& arguments, uint64_t default_length) {
  Range range{};
  range.physical = arguments.skip("physical");
  range.address = parse_address(state, arguments.word());
  range.length = arguments.empty() ? default_length : arguments.number("a length in bytes");
  if (range.length == 0 || range.length > kMostWatched)
    throw GdbRefusal(fmt::format("a length of {} bytes: want 1 to {}", range.length, kMostWatched));
  return range;
}

std::string bytes_text(const std::vector<uint8_t>& bytes) {
  constexpr size_t kMost = 16;
  std::string text;
  for (size_t i = 0; i < std::min(bytes.size(), kMost); ++i)
    text += fmt::format("{}{:02x}", i == 0 ? "" : " ", bytes[i]);
  return bytes.size() > kMost ? text + " ..." : text;
}

// The machine goes there to have its instruction looked at, and comes back.
std::string write_text(DebugState& state, Timeline& timeline, const FoundWrite& found) {
  const Mark present = timeline.mark();
  std::string text;
  if (found.access.who != emu::AccessWatch::Who::instruction) text = accessor_text(found.access) + ", at ";
  if (timeline.seek(found.before).why == Stop::limit) text += place_text(state);
  text += fmt::format("  {} -> {}", bytes_text(found.access.before), bytes_text(found.access.after));
  text += fmt::format("\n`monitor seek {}` goes in front of it.\n", mark_text(found.before));
  timeline.seek(present);
  return text;
}

constexpr uint64_t kDefaultWrite = 4;

void last_write(DebugState& state, MonitorArguments& arguments, GdbUser& user) {
  Timeline& timeline = timeline_of(state);
  const Range range = parse_range(state, arguments, kDefaultWrite);
  arguments.done();
  const ShownProgress shown(timeline, user);
  const auto found = timeline.last_write(range.address, range.length, range.physical, timeline.mark());
  if (!found)
    return user.say(timeline.interrupted()
                        ? "Interrupted.\n"
                        : fmt::format("Nothing has written there since the recording's beginning, instruction {}.\n",
                                      timeline.first()));
  user.say(write_text(state, timeline, *found));
}

void next_write(DebugState& state, MonitorArguments& arguments, GdbUser& user) {
  Timeline& timeline = timeline_of(state);
  const Range range = parse_range(state, arguments, kDefaultWrite);
  arguments.done();
  const ShownProgress shown(timeline, user);
  const auto found = timeline.next_write(range.address, range.length, range.physical, timeline.mark());
  if (!found)
    return user.say(
        timeline.interrupted()
            ? "Interrupted.\n"
            : fmt::format("Nothing writes there until the recording's end, instruction {}.\n", timeline.last()));
  user.say(write_text(state, timeline, *found));
}

void watch_physical(DebugState& state, MonitorArguments& arguments, GdbUser& user) {
  constexpr size_t kMost = 64;
  timeline_of(state);
  const uint64_t address = arguments.number("a physical address");
  Watchpoint watch;
  watch.address = address;
  watch.physical = true;
  std::string_view kind = arguments.word();
  if (const auto length = parse_number(kind)) {
    watch.length = *length;
    kind = arguments.word();
  }
  arguments.done();
  if (!kind.empty() && kind != "write" && kind != "read" && kind != "access")
    throw GdbRefusal(fmt::format("`{}`: want a length in bytes, and write, read or access", one_line(kind)));
  watch.reads = kind == "read" || kind == "access";
  watch.writes = kind != "read";
  if (watch.length == 0 || watch.length > kMostWatched)
    throw GdbRefusal(fmt::format("a length of {} bytes: want 1 to {}", watch.length, kMostWatched));
  if (state.physical_watches.size() >= kMost) throw GdbRefusal("there are enough physical watchpoints");
  state.physical_watches.push_back(watch);
  user.say(
      fmt::format("Watching physical {:#x}, {} bytes: `continue` and `reverse-continue` stop at {} through any mapping "
                  "and by devices; `monitor unwatch-physical` ends it\n",
                  watch.address, watch.length,
                  !watch.reads   ? "writes"
                  : watch.writes ? "accesses"
                                 : "reads"));
}

void unwatch_physical(DebugState& state, MonitorArguments& arguments, GdbUser& user) {
  if (arguments.empty()) {
    user.say(fmt::format("{} physical watchpoints removed\n", state.physical_watches.size()));
    state.physical_watches.clear();
    return;
  }
  const uint64_t address = arguments.number("a physical address");
  arguments.done();
  if (std::erase_if(state.physical_watches, [&](const Watchpoint& watch) { return watch.address == address; }) == 0)
    throw GdbRefusal(fmt::format("physical {:#x} is not watched", address));
}

constexpr const char* kLastWriteHelp =
    "who wrote this last\nThe instruction or the device that wrote to one of LENGTH bytes (4) at ADDRESS last, up to "
    "here; the machine stays where it is. ADDRESS is linear, as the CPU's accesses name it; behind `physical` it is a "
    "physical address, and writes through every mapping and by devices count.";

constexpr std::array kCommands{
    MonitorCommand{"last-write", "[physical] ADDRESS [LENGTH]", kLastWriteHelp, last_write},
    MonitorCommand{"next-write", "[physical] ADDRESS [LENGTH]", "who writes this next\nAs last-write, from here on.",
                   next_write},
    MonitorCommand{"watch-physical", "ADDRESS [LENGTH] [KIND]",
                   "stop at accesses to physical memory\nKIND is write (if it is not given), read or access. Linear "
                   "addresses have gdb's own watch, rwatch and awatch.",
                   watch_physical},
    MonitorCommand{"unwatch-physical", "[ADDRESS]", "stop there no more\nWithout ADDRESS: nowhere.", unwatch_physical},
    MonitorCommand{
        "xp", "ADDRESS [LENGTH]",
        "physical memory, 64 bytes or LENGTH\nA device's registers are not read: that could change the device.", xp},
    MonitorCommand{"tlb", "ADDRESS", "how a linear address is translated, level by level", tlb}};

}  // namespace

std::span<const MonitorCommand> monitor_memory_commands() { return kCommands; }

}  // namespace understudy::tools
