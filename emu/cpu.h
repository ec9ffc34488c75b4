// The CPU: runs guest instructions to an exact count, and delivers what interrupts them. The instruction count (icount)
// is the number of instructions retired since power-on; each iteration of a REP instruction is one. The only caller of
// Engine::run().
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <vector>

#include "emu/bus.h"
#include "emu/clock.h"
#include "emu/code_blocks.h"
#include "emu/deviations.h"
#include "emu/engine.h"
#include "emu/interrupts.h"
#include "emu/mmu.h"
#include "emu/msr.h"
#include "emu/physical_memory.h"
#include "emu/state_visitor.h"

namespace understudy::emu {

// Why run() came back.
enum class CpuStop : uint8_t {
  limit,         // icount() reached the limit
  halted,        // HLT, and nothing to wake it
  triple_fault,  // the CPU shut down: a PC resets
  request        // request_stop()
};

struct IoRegion;
class CpuObserver;
struct CpuWatch;

class Cpu {
 public:
  // What the CPU asks of the board; set once, before the first run.
  struct Board {
    std::function<uint8_t()> acknowledge;      // the INTA cycle: the vector of the pending interrupt
    std::function<uint64_t()> read_tsc_clock;  // ticks of the time-stamp counter at the executing instruction
    MsrBoard msr;
  };

  Cpu(PhysicalMemory& memory, PortBus& ports, MmioBus& mmio);
  ~Cpu();
  Cpu(const Cpu&) = delete;
  Cpu& operator=(const Cpu&) = delete;
  void connect(Board board) { board_ = std::move(board); }
  // The CPU has entered a handler without retiring an instruction: for an interrupt, or for a fault of the next
  // instruction. Between it and the handler's first instruction the machine can stop. Not called for INT, INT3, INTO,
  // ICEBP and traps, which are the end of an instruction.
  struct Delivered {
    EventKind kind;
    uint8_t vector;
  };
  void on_delivery(std::function<void(const Delivered&)> callback) { delivered_ = std::move(callback); }
  // Called when the CPU is about to execute the instruction at a breakpoint, perhaps more than once for the same time;
  // Machine::ask_to_stop() then keeps it from doing so. Addresses are linear, and any number of them costs nothing
  // elsewhere; to change them costs the translated code.
  void on_breakpoint(std::function<void(uint64_t pc)> callback) { breakpoint_ = std::move(callback); }
  void set_breakpoints(std::vector<uint64_t> addresses);
  // Between runs. With `alone`, executing() is exact for what an instruction does, but each access to a page with
  // watched bytes costs microseconds instead of tens of nanoseconds.
  void watch_accesses(std::vector<AccessWatch::Range> ranges, AccessWatch::Callback callback, bool alone);
  // From a callback: which instructions are executing, by the count before each: those of one block; or that none is,
  // but something happens between two.
  struct Executing {
    bool inside = false;
    uint64_t first = 0, last = 0;
  };
  Executing executing() const;
  // From a callback: the port or the memory-mapped register that an instruction is accessing.
  struct DeviceAccess {
    enum Kind : uint8_t { none, port, memory } kind = none;
    uint64_t address = 0;
  };
  const DeviceAccess& device_access() const { return device_access_; }
  // Called when the guest is first seen to rely on something that is not so here.
  void on_deviation(std::function<void(const DeviationSeen&)> callback) { deviations_.listen(std::move(callback)); }
  // Called after each access to a port.
  void on_port_access(std::function<void(uint16_t port)> callback) { port_accessed_ = std::move(callback); }

  // Executes until icount() == limit or something else stops it. Never runs past the limit. Stops too, with
  // CpuStop::limit, at the first block boundary from the count `about` on: a stop that may be where it costs nothing,
  // while one inside a block costs the translation of both its parts.
  CpuStop run(uint64_t limit, uint64_t about = ~uint64_t{0});
  // From a device while the CPU runs: stop no later than `limit` (at once if that is past), or about `about`.
  void shorten(uint64_t limit);
  void shorten_about(uint64_t about);
  // From a device: come back from run() at the next instruction boundary.
  void request_stop();

  uint64_t icount() const { return icount_; }
  // While a device is called from an instruction: the count before that instruction. Else icount().
  uint64_t executing_icount() const;

  // INTR, level. The vector is asked for when the CPU takes it.
  void set_interrupt(bool level);
  void raise_nmi() {
    nmi_pending_ = true;
    fast_limit_ = 0;
  }
  bool halted() const { return halted_; }
  // Whether the next thing is an instruction (or its fault): no interrupt that is to be taken, no halt.
  bool about_to_execute() const { return !halted_ && !accepts_interrupt(); }
  uint64_t linear_pc() const;
  // Whether something could ever end a halt without new input: the interrupt flag is set (or an NMI waits).
  bool wakeable() const { return nmi_pending_ || (engine_.cpu().eflags & eflags::kIf); }

  // Tells `observer` of what `watch` says, until the next call; nullptr: nobody. Between runs.
  void observe(CpuObserver* observer, const CpuWatch& watch);
  void observe_nothing();

  Mmu& mmu() { return mmu_; }
  Engine& engine() { return engine_; }
  const Engine& engine() const { return engine_; }
  MsrFile& msrs() { return msrs_; }
  const CodeBlocks& blocks() const { return blocks_; }

  // RESET#: the registers of SDM Vol. 3A table 9-1; EDX is the signature.
  void reset();
  void visit_state(StateVisitor& visitor);
  // The record was changed from outside (boot plan, snapshot): forget everything derived from it.
  void state_changed();
  // The same, but RAM is told to be what it is: see Mmu::registers_changed().
  void registers_changed();
  // Whether translated code outlives the next visit_state() that loads.
  void keep_code(bool keep) { keep_code_ = keep; }

  struct Statistics {
    uint64_t runs = 0, look_ups_again = 0, page_faults = 0, exceptions = 0, interrupts = 0, io_steps = 0,
             engine_steps = 0, own_page_stores = 0;
  };
  const Statistics& statistics() const { return statistics_; }

 private:
  friend struct CpuHooks;
  // What ended Engine::run().
  enum class Pause : uint8_t { none, boundary, step_done, triple_fault };

  void block_not_fast(uint64_t pc, uint32_t size, BlockRecord* record);
  void block_with_care(uint64_t pc, uint32_t size, BlockRecord* record);
  void enter(const BlockRecord* record);
  void look_up_again(uint32_t limit);
  void pause(Pause why);
  bool accepts_interrupt() const;
  void take_interrupt();
  bool is_at_limit() const { return icount_ >= limit_ || icount_ >= about_; }
  void refresh_fast_limit();
  void settle_fp_flags();
  void settle_privilege();
  // For an instruction whose accesses nobody sees one by one.
  std::vector<std::vector<uint8_t>> watched_bytes();
  void tell_of_changes(const std::vector<std::vector<uint8_t>>& before);
  void entered_handler();
  void about_to_run(const BlockRecord& record);

  void exception_raised(uint32_t vector, bool invalid_opcode);
  void handle_refusal();
  void engine_step();
  void deliver(const Event& event);
  void deliver_fault(const GuestFault& fault);
  bool loads_segments(uint64_t pc);
  // Whether the far JMP or CALL at `pc` may lead to a TSS or a task gate.
  bool may_switch_tasks(uint64_t pc, const CodeBlocks::Opcode& opcode);
  // Takes back the instructions of the current block that did not run: those from linear address `pc` on.
  void roll_back_to(uint64_t pc);
  // Executes the intercepted instruction at the current RIP; false: let the engine run the block as it is.
  bool raise_breakpoint(uint64_t pc);
  void take_debug_registers();
  bool execute_intercept(const BlockRecord& record, uint64_t pc);
  void system_call(bool sysenter);
  template <typename F>
  void guarded(F&& function);

  PhysicalMemory& memory_;
  PortBus& ports_;
  MmioBus& mmio_;
  Engine engine_;
  Mmu mmu_;
  CodeBlocks blocks_;
  InterruptDelivery delivery_;
  MsrFile msrs_;
  DeviationWatch deviations_{engine_.cpu()};
  Board board_;
  std::function<void(uint16_t)> port_accessed_;
  std::function<void(const Delivered&)> delivered_;
  std::function<void(uint64_t)> breakpoint_;
  DeviceAccess device_access_;
  bool keep_code_ = false;

  uint64_t icount_ = 0;      // instructions retired once the current block has run
  uint64_t fast_limit_ = 0;  // blocks that end at or before it need no look; 0 when something waits
  uint64_t limit_ = 0, about_ = 0;
  uint64_t mixed_retried_ = 0;  // icount_ when mixed pages were last tried afresh; the guest sees nothing of it
  bool halted_ = false;
  bool nmi_pending_ = false;
  bool interrupt_ = false;
  bool stop_requested_ = false;

  const BlockRecord* running_ = nullptr;  // the block that executes
  Pause pause_ = Pause::none;
  bool stopping_ = false;
  bool passed_intercept_ = false;  // the next block's intercept has been looked at
  enum class Step : uint8_t { none, first, second } io_step_ = Step::none, engine_step_ = Step::none, own_store_step_ = Step::none;
  bool limited_ = false;  // the next block, a lone store, was looked up with a limit of one
  bool in_tsc_read_ = false;
  bool fp_loaded_ = false;               // an instruction that replaces FP flags has been let through
  bool debug_registers_changed_ = true;  // since take_debug_registers()
  uint64_t debug_control_ = 0;           // DR7 then
  bool next_unfetched_ = false;          // engine_step() came to an instruction that cannot be fetched
  bool wants_engine_step_ = false;       // the next instruction is one that only the engine's own walker gets right
  std::unique_ptr<IoRegion> io_region_;
  std::vector<uint8_t> open_bus_;
  CpuObserver* observer_ = nullptr;
  bool watches_events_ = false, watches_privilege_ = false, watches_instructions_ = false;
  bool privilege_unsure_ = false;  // it may have changed since it was told last
  unsigned privilege_told_ = 0;
  std::exception_ptr error_;
  Statistics statistics_;
};

}  // namespace understudy::emu
