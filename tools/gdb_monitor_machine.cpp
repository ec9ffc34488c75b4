// Monitor commands about the machine itself: its registers and devices, its digest, and making a live one of it.
#include <fmt/format.h>

#include <array>

#include "tools/cpu_text.h"
#include "tools/gdb_monitor.h"
#include "tools/gdb_replay_target.h"
#include "tools/log_text.h"
#include "tools/page_walk_text.h"
#include "tools/state_text.h"

namespace understudy::tools {

namespace {

std::string system_registers_text(emu::Machine& machine) {
  const emu::EngineCpu& cpu = machine.cpu().engine().cpu();
  constexpr const char* kSegments[6] = {"es", "cs", "ss", "ds", "fs", "gs"};
  const auto cache = [](const char* name, const emu::SegmentCache& segment) {
    return fmt::format("{:<4} {:04x}  base {:x}  limit {:x}  access {:x}\n", name, segment.selector & 0xffffu,
                       segment.base, segment.limit, segment.flags);
  };
  std::string text;
  for (unsigned i = 0; i < 6; ++i) text += cache(kSegments[i], cpu.segs[i]);
  text += cache("tr", cpu.tr) + cache("ldtr", cpu.ldt);
  text += fmt::format("gdtr base {:x}  limit {:x}\nidtr base {:x}  limit {:x}\n", cpu.gdt.base, cpu.gdt.limit,
                      cpu.idt.base, cpu.idt.limit);
  return text + fmt::format("dr0 {:x}  dr1 {:x}  dr2 {:x}  dr3 {:x}  dr6 {:x}  dr7 {:x}\n", cpu.dr[0], cpu.dr[1],
                            cpu.dr[2], cpu.dr[3], cpu.dr[6], cpu.dr[7]);
}

std::string checkpoints_text(DebugState& state) {
  const SnapshotStatistics statistics = timeline_of(state).snapshots();
  std::string text;
  for (const auto& [name, mark] : state.checkpoints)
    text += fmt::format("checkpoint {:<12} instruction {}\n", one_line(name), mark_text(mark));
  constexpr double kMib = 1 << 20;
  text += fmt::format("snapshots in memory: {}, {:.1f} of {:.0f} MiB; {} taken, {} dropped, {} gone back to\n",
                      statistics.snapshots.size(), static_cast<double>(statistics.bytes) / kMib,
                      static_cast<double>(statistics.budget_bytes) / kMib, statistics.taken, statistics.dropped,
                      statistics.restored);
  if (statistics.widest_gap > statistics.wanted_gap && statistics.dropped != 0)
    text += fmt::format(
        "  going back may run {} instructions again, as the budget allows no more snapshots: --snapshot-budget\n",
        statistics.widest_gap);
  constexpr size_t kMost = 40;
  const size_t skip = statistics.snapshots.size() > kMost ? statistics.snapshots.size() - kMost : 0;
  if (skip != 0) text += fmt::format("  {} earlier ones\n", skip);
  for (size_t i = skip; i < statistics.snapshots.size(); ++i)
    text += fmt::format("  instruction {}\n", mark_text(statistics.snapshots[i]));
  text += fmt::format("snapshots in the recording: {}\n", statistics.recorded.size());
  for (const std::string& why : statistics.unusable) text += fmt::format("  not used: {}\n", why);
  return text;
}

std::string devices_text(emu::Machine& machine) {
  std::string text;
  for (emu::Device* device : machine.devices()) text += fmt::format("{}\n", device->name());
  return text;
}

// What users call parts of the machine that have a longer name, or one of several.
bool goes_by(std::string_view device, std::string_view name) {
  if (device == name) return true;
  if (name == "ide") return device == "piix3_ide";
  if (name == "nic") return device == "ne2k" || device == "virtio_net";
  return false;
}

std::string device_text(emu::Machine& machine, std::string_view name) {
  for (emu::Device* device : machine.devices()) {
    if (!goes_by(device->name(), name)) continue;
    StateText text;
    text.begin(device->name());
    device->visit_state(text);
    return text.text();
  }
  throw GdbRefusal(fmt::format("this machine has no `{}`; `monitor info devices` lists what it has", one_line(name)));
}

void info(DebugState& state, MonitorArguments& arguments, GdbUser& user) {
  const std::string name(arguments.word());
  arguments.done();
  emu::Machine& machine = *state.machine;
  if (name.empty()) throw GdbRefusal("about what? `monitor help info`");
  if (name == "registers") return user.say(registers_text(machine, "") + system_registers_text(machine));
  if (name == "mmu") return user.say(paging_mode_text(machine));
  if (name == "checkpoints") return user.say(checkpoints_text(state));
  if (name == "devices") return user.say(devices_text(machine));
  if (name == "timers") {
    StateText text;
    machine.events().visit_state(text);
    return user.say(fmt::format("now {} ns\n{}", machine.now_ns(), text.text()));
  }
  user.say(device_text(machine, name));
}

void digest(DebugState& state, MonitorArguments& arguments, GdbUser& user) {
  arguments.done();
  const emu::Digest digest = state.machine->digest();
  user.say(fmt::format("instruction {}: {:016x}, cpu {:016x}, ram {:016x}, devices {:016x}\n", state.machine->icount(),
                       digest.all, digest.cpu, digest.ram, digest.devices));
}

void width(DebugState& state, MonitorArguments& arguments, GdbUser& user) {
  const std::string_view wanted = arguments.word();
  arguments.done();
  if (wanted == "auto")
    state.settings.width.reset();
  else if (wanted == "16")
    state.settings.width = GdbWidth::bits16;
  else if (wanted == "32")
    state.settings.width = GdbWidth::bits32;
  else if (wanted == "64")
    state.settings.width = GdbWidth::bits64;
  else
    throw GdbRefusal("want auto, 16, 32 or 64");
  user.say("`unset tdesc filename` makes gdb look again.\n");
}

constexpr std::array kCommands{
    MonitorCommand{"info", "WHAT",
                   "a part of the machine\nWHAT is\n"
                   "  registers      the CPU's, with segments, descriptor tables and debug registers\n"
                   "  mmu            how addresses are translated\n"
                   "  checkpoints    yours, and the snapshots that going back stands on\n"
                   "  timers         what is due when\n"
                   "  devices        names of all devices; each name is a WHAT, too: pic, pit, ide, nic, uart0, ...",
                   info},
    MonitorCommand{"digest", "", "digests of the whole state\nEqual ones mean equal machines.", digest},
    MonitorCommand{
        "width", "auto|16|32|64",
        "which registers gdb sees\nauto is the width of the CPU's mode when gdb asks. `unset tdesc filename` "
        "makes gdb ask again.",
        width}};

}  // namespace

std::span<const MonitorCommand> monitor_machine_commands() { return kCommands; }

}  // namespace understudy::tools
