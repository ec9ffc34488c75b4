#include "emu/machine.h"

#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "emu/io_timing.h"
#include "emu/segment_load.h"
#include "emu/state_archive.h"

namespace understudy::emu {

namespace {

// Events that come one after the other without an instruction between them: as of a timer that is masked.
constexpr unsigned kMostSkips = 1 << 14;

PhysicalMemory& with_rom(PhysicalMemory& memory, std::span<const uint8_t> rom) {
  if (!rom.empty()) memory.set_rom(rom);
  return memory;
}

}  // namespace

Machine::Machine(uint64_t ram_bytes, std::span<const uint8_t> rom)
    : memory_(ram_bytes),
      cpu_(with_rom(memory_, rom), ports_, mmio_),
      time_([this] { return cpu_.executing_icount(); }),
      stores_{&memory_},
      page_hashes_(memory_) {
  events_.on_earlier([this] { update_limit(); });
  cpu_.on_port_access([this](uint16_t port) {
    time_.pass(port_access_ns(port));
    update_limit();
  });
}

void Machine::update_limit() {
  cpu_.shorten(time_.icount_at(events_.next_due()));
  if (pause_ns_ != EventQueue::kNever) cpu_.shorten_about(time_.icount_at(pause_ns_));
}

void Machine::reset() {
  events_.reset();
  cpu_.mmu().set_a20(true);
  cpu_.reset();
  for (Device* device : devices_) device->reset();
  asked_ = MachineStop::limit;
}

void Machine::apply(const BootPlan& plan) {
  for (const Chunk& chunk : plan.chunks) memory_.store(chunk.address, chunk.bytes);
  EngineCpu& cpu = cpu_.engine().cpu();
  const InitialCpu& initial = plan.cpu;
  const uint64_t signature = cpu.regs[kRdx];
  for (unsigned i = 0; i < 16; ++i) cpu.regs[i] = initial.general[i];
  if (!plan.bypasses_firmware) cpu.regs[kRdx] = signature;
  cpu.cr[3] = initial.cr3;
  cpu_.engine().set_control_registers(initial.cr0, initial.cr4, initial.efer);
  cpu.gdt = {0, 0, initial.gdtr.base, initial.gdtr.limit, 0};
  cpu.idt = {0, 0, initial.idtr.base, initial.idtr.limit, 0};
  auto system = [](const SegmentRegister& s) { return SegmentCache{s.selector, 0, s.base, s.limit, s.access}; };
  cpu.ldt = system(initial.ldtr);
  cpu.tr = system(initial.tr);
  set_eflags(cpu, static_cast<uint32_t>(initial.rflags));
  const SegmentRegister* segments[kSegmentCount] = {&initial.es, &initial.cs, &initial.ss,
                                                    &initial.ds, &initial.fs, &initial.gs};
  for (unsigned i = 0; i < kSegmentCount; ++i) load_segment(cpu, static_cast<SegmentIndex>(i), system(*segments[i]));
  cpu.eip = initial.rip;
  cpu_.state_changed();
}

void Machine::stop_with(MachineStop why) {
  asked_ = why;
  cpu_.request_stop();
}

void Machine::ask_to_stop() {
  if (asked_ == MachineStop::limit) stop_with(MachineStop::asked);
}

void Machine::return_within(uint64_t instructions) {
  return_at_ = std::min(return_at_.value_or(kNoLimit), cpu_.executing_icount() + instructions);
  cpu_.shorten_about(*return_at_);
}

void Machine::skip_idle(uint64_t to_ns) {
  const uint64_t from_ns = now_ns();
  time_.skip_to(cpu_.icount(), std::min(to_ns, events_.next_due()));
  if (idle_observer_ && now_ns() > from_ns) idle_observer_(from_ns, now_ns());
  events_.run_due(now_ns());
}

void Machine::deliver(const Input& input) {
  world_.deliver(input);
  events_.run_due(now_ns());
}

MachineStop Machine::run(uint64_t until_icount, Idle idle, uint64_t until_ns, uint64_t about_icount) {
  const MachineStop stop = run_on(until_icount, idle, until_ns, about_icount);
  return_at_.reset();
  return stop;
}

MachineStop Machine::run_on(uint64_t until_icount, Idle idle, uint64_t until_ns, uint64_t about_icount) {
  for (unsigned skipped = 0; skipped < kMostSkips; ++skipped) {
    events_.run_due(now_ns());
    if (asked_ != MachineStop::limit) return std::exchange(asked_, MachineStop::limit);
    Input input;
    while (world_.take(input)) {
      if (input_observer_) input_observer_(input);
      deliver(input);
    }
    if (cpu_.icount() >= until_icount) {
      if (now_ns() >= until_ns || !cpu_.halted()) return MachineStop::limit;
      skip_idle(until_ns);
      continue;
    }
    if (cpu_.icount() >= std::min(about_icount, return_at_.value_or(kNoLimit))) return MachineStop::limit;
    if (now_ns() >= pause_ns_ && !cpu_.halted()) return MachineStop::limit;
    const uint64_t before = cpu_.icount();
    const uint64_t until = std::min(until_icount, time_.icount_at(events_.next_due()));
    uint64_t about = std::min(about_icount, return_at_.value_or(kNoLimit));
    // A halted CPU that an interrupt wakes executes, too; past the pause, one instruction shows whether it does.
    if (pause_ns_ != EventQueue::kNever)
      about = std::min(about, std::max(time_.icount_at(pause_ns_), before + (cpu_.halted() ? 1 : 0)));
    switch (cpu_.run(until, about)) {
      case CpuStop::triple_fault:
        return MachineStop::reset;
      case CpuStop::halted:
        if (world_.has_input()) break;
        if (!cpu_.wakeable() || events_.next_due() == EventQueue::kNever) return MachineStop::halted;
        if (idle == Idle::report) return MachineStop::idle;
        if (return_at_) return MachineStop::limit;
        skip_idle(events_.next_due());
        break;
      case CpuStop::limit:
      case CpuStop::request:
        break;
    }
    if (cpu_.icount() != before) skipped = 0;
  }
  return MachineStop::limit;
}

void Machine::visit_state(StateVisitor& visitor) {
  // Time and events first: the CPU's and the devices' states refer to them. The CPU comes before the devices because a
  // load drops its derived state.
  time_.visit_state(visitor);
  events_.visit_state(visitor);
  cpu_.visit_state(visitor);
  for (Device* device : devices_) {
    visitor.begin(device->name());
    device->visit_state(visitor);
    visitor.end();
  }
  if (visitor.is_loading())
    for (Device* device : devices_) device->state_loaded();
}

void Machine::load_state(StateVisitor& reader) {
  asked_ = MachineStop::limit;
  cpu_.keep_code(true);
  try {
    visit_state(reader);
  } catch (...) {
    cpu_.keep_code(false);
    throw;
  }
  cpu_.keep_code(false);
}

Digest Machine::digest() {
  Digest digest;
  StateDigest cpu;
  time_.visit_state(cpu);
  cpu_.visit_state(cpu);
  digest.cpu = cpu.digest();
  StateDigest devices;
  events_.visit_state(devices);
  for (Device* device : devices_) {
    devices.begin(device->name());
    device->visit_state(devices);
    devices.end();
  }
  digest.devices = devices.digest();
  digest.ram = page_hashes_.digest();
  const uint64_t parts[3] = {digest.cpu, digest.ram, digest.devices};
  digest.all = XXH3_64bits(parts, sizeof parts);
  return digest;
}

}  // namespace understudy::emu
