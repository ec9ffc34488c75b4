// A machine: CPU, memory, buses, time, events, doors, and the devices that a board has put on them. Runs to an exact
// instruction count; its state is what the walk over its parts names, plus RAM. Everything in it is a function of how
// it was wired and started, and of the inputs it took at their counts.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "emu/boot_plan.h"
#include "emu/cpu.h"
#include "emu/device.h"
#include "emu/event_queue.h"
#include "emu/page_hashes.h"
#include "emu/paged_store.h"
#include "emu/physical_memory.h"
#include "emu/virtual_time.h"
#include "emu/world.h"

namespace understudy::emu {

enum class MachineStop : uint8_t {
  limit,       // the count asked for
  idle,        // halted until the next event, and told not to skip idle time
  halted,      // halted, and no event or input can ever end it
  shutdown,    // the guest switched the power off
  reset,       // the guest asked for a reset, or shut its CPU down by a triple fault
  debug_exit,  // the guest wrote its verdict to the debug exit port
  asked        // ask_to_stop(), or whoever said so to stop_with()
};

struct Digest {
  uint64_t cpu = 0, ram = 0, devices = 0, all = 0;
  bool operator==(const Digest&) const = default;
};

class Machine {
 public:
  // `rom` is mapped so that it ends at 4 GiB; empty for none.
  Machine(uint64_t ram_bytes, std::span<const uint8_t> rom);

  PhysicalMemory& memory() { return memory_; }
  PortBus& ports() { return ports_; }
  MmioBus& mmio() { return mmio_; }
  EventQueue& events() { return events_; }
  World& world() { return world_; }
  VirtualTime& time() { return time_; }
  Cpu& cpu() { return cpu_; }

  // Wiring. Devices outlive the machine's use; their order is part of the machine.
  void add(Device& device) { devices_.push_back(&device); }
  const std::vector<Device*>& devices() const { return devices_; }
  // What a guest writes over a drive's image; part of snapshots, not of digests, since the guest sees it only through
  // the drive.
  void add(PagedStore& store) { stores_.push_back(&store); }
  // RAM first.
  const std::vector<PagedStore*>& stores() const { return stores_; }

  // RESET#: CPU and devices, RAM untouched.
  void reset();
  // Carries a boot plan's bytes and registers out. Its ROMs were given to the constructor.
  void apply(const BootPlan& plan);

  enum class Idle { skip, report };
  // Runs until icount() == `until_icount`, and virtual time is `until_ns` there if the CPU is halted then, or until
  // something else happens, or (MachineStop::limit) so many events have passed without an instruction that the caller
  // should look up. What happens at one count has one order: events that are due, inputs, and only then an
  // interrupt that the CPU takes; run() returns before the last, so a replay can stand at any point that a live run
  // stood at. Inputs that wait are taken at the present count.
  // Who only wants to look in says `about_icount` instead: run() returns where a block ends, at that count or less than
  // a block behind it. To stop inside a block costs the translation of both its parts.
  MachineStop run(uint64_t until_icount, Idle idle = Idle::skip, uint64_t until_ns = 0,
                  uint64_t about_icount = kNoLimit);
  static constexpr uint64_t kNoLimit = ~uint64_t{0};
  // run() comes back (MachineStop::limit) no more than a block later than when the clock of a machine that executes
  // shows `ns`. Not part of the state: it changes nothing but where run() returns.
  void pause_at(uint64_t ns) { pause_ns_ = ns; }
  // From a sink of World: this run() shall return within so many instructions and a block, or when the CPU halts; it
  // says MachineStop::limit then. The shortest such wish holds.
  void return_within(uint64_t instructions);
  // Hands an input to its device here and now, as run() does with those of World.
  void deliver(const Input& input);
  // Hears of each input that run() takes, before its device does.
  void observe_inputs(std::function<void(const Input&)> observer) { input_observer_ = std::move(observer); }
  // Hears of each stretch of virtual time that passes while the CPU is halted, after it.
  void observe_idle(std::function<void(uint64_t from_ns, uint64_t to_ns)> observer) {
    idle_observer_ = std::move(observer);
  }
  // At MachineStop::idle: when, in virtual time, the next event is due.
  uint64_t idle_until_ns() const { return events_.next_due(); }
  // Moves time forward while halted, to at most idle_until_ns(), and does what is due then.
  void skip_idle(uint64_t to_ns);

  uint64_t icount() const { return cpu_.icount(); }
  uint64_t now_ns() const { return time_.ns_at(cpu_.icount()); }

  // From devices: come back from run() with this, at the next instruction boundary.
  void stop_with(MachineStop why);
  // From an observer: come back from run() at the next instruction boundary, with `asked` unless a device has said
  // something else.
  void ask_to_stop();

  void visit_state(StateVisitor& visitor);
  // Loads a state of this machine whose stores were brought back, each change by the store's own doing: translated code
  // lives on.
  void load_state(StateVisitor& reader);
  Digest digest();

 private:
  MachineStop run_on(uint64_t until_icount, Idle idle, uint64_t until_ns, uint64_t about_icount);
  void update_limit();
  PhysicalMemory memory_;
  PortBus ports_;
  MmioBus mmio_;
  EventQueue events_;
  World world_;
  Cpu cpu_;
  VirtualTime time_;
  std::vector<Device*> devices_;
  std::vector<PagedStore*> stores_;
  PageHashes page_hashes_;
  std::function<void(const Input&)> input_observer_;
  uint64_t pause_ns_ = EventQueue::kNever;
  std::function<void(uint64_t, uint64_t)> idle_observer_;
  MachineStop asked_ = MachineStop::limit;  // limit: nothing asked
  std::optional<uint64_t> return_at_;
};

}  // namespace understudy::emu
