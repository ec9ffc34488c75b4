#include "emu/cpu.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "emu/cpu_hooks.h"
#include "emu/cpu_observer.h"
#include "emu/cpuid.h"
#include "emu/debug_registers.h"
#include "emu/fp_status.h"
#include "emu/segment_load.h"

namespace understudy::emu {

// The context of the engine's I/O callbacks, which get offsets into what was mapped at `base`.
struct IoRegion {
  MmioBus& bus;
  PhysicalMemory& memory;
  uint64_t base;
  Cpu::DeviceAccess& access;
};

namespace {

// hflags2 of the engine: NMIs wait until the IRET of the handler (the engine's IRET clears it).
constexpr uint32_t kNmiBlocked = 1u << 2;
constexpr uint8_t kVectorNmi = 2;
// Mixed pages are tried afresh after this many instructions. Each time their code is translated anew, which costs
// milliseconds on pages of a boot loader that will be mixed again at once.
constexpr uint64_t kMixedRetry = 4'000'000;

uint64_t io_read(uc_engine*, uint64_t offset, unsigned size, void* context) {
  const auto& region = *static_cast<IoRegion*>(context);
  region.access = {Cpu::DeviceAccess::memory, region.base + offset};
  const uint64_t value = region.bus.read(region.base + offset, size);
  region.access = {};
  return value;
}

void io_write(uc_engine*, uint64_t offset, unsigned size, uint64_t value, void* context) {
  const auto& region = *static_cast<IoRegion*>(context);
  region.access = {Cpu::DeviceAccess::memory, region.base + offset};
  region.bus.write(region.base + offset, size, value);
  region.access = {};
}

uint64_t rom_read(uc_engine*, uint64_t offset, unsigned size, void* context) {
  const auto& region = *static_cast<IoRegion*>(context);
  uint64_t value = 0;
  region.memory.get(region.memory.rom_base() + offset, {reinterpret_cast<uint8_t*>(&value), size});
  return value;
}

uint64_t nothing_read(uc_engine*, uint64_t, unsigned, void*) { return ~0ull; }
void nothing_written(uc_engine*, uint64_t, unsigned, uint64_t, void*) {}

uint64_t watched_read(uc_engine*, uint64_t offset, unsigned size, void* context) {
  return static_cast<Mmu*>(context)->watched_read(offset, size);
}

void watched_write(uc_engine*, uint64_t offset, unsigned size, uint64_t value, void* context) {
  static_cast<Mmu*>(context)->watched_write(offset, size, value);
}

}  // namespace

Cpu::Cpu(PhysicalMemory& memory, PortBus& ports, MmioBus& mmio)
    : memory_(memory),
      ports_(ports),
      mmio_(mmio),
      mmu_(engine_, memory),
      blocks_(engine_, mmu_, *this, reinterpret_cast<void*>(CpuHooks::block)),
      delivery_(engine_.cpu(), mmu_) {
  engine_.map_memory(0, memory.ram_size(), memory.ram());
  if (!memory.rom().empty()) engine_.map_memory(memory.rom_base(), memory.rom().size(), memory.rom().data());
  const uint64_t io_end = memory.rom().empty() ? kFourGiB : memory.rom_base();
  io_region_ = std::make_unique<IoRegion>(IoRegion{mmio_, memory_, memory.ram_size(), device_access_});
  engine_.map_io(memory.ram_size(), io_end - memory.ram_size(), io_read, io_write, io_region_.get());
  engine_.map_io(engine_map::kNothing, kPageSize, nothing_read, nothing_written, nullptr);
  if (!memory.rom().empty())
    engine_.map_io(engine_map::kRomWindow, memory.rom().size(), rom_read, nothing_written, io_region_.get());
  engine_.map_io(engine_map::kWatched, engine_map::kWatchedSlots * kPageSize, watched_read, watched_write, &mmu_);
  open_bus_.resize(2 * kPageSize, 0xff);
  auto aligned = (reinterpret_cast<uintptr_t>(open_bus_.data()) + kPageSize - 1) & kPageMask;
  engine_.map_memory(engine_map::kOpenBus, kPageSize, reinterpret_cast<uint8_t*>(aligned));
  CpuHooks::install(*this);
  engine_.use_walker(Engine::Walker::ours);
  reset();
}

Cpu::~Cpu() = default;

void Cpu::reset() {
  EngineCpu& cpu = engine_.cpu();
  engine_.set_control_registers(0x60000010, 0, 0);
  std::fill(std::begin(cpu.regs), std::end(cpu.regs), 0);
  cpu.regs[kRdx] = kCpuSignature;
  for (unsigned i = 0; i < kSegmentCount; ++i) cpu.segs[i] = {0, 0, 0, 0xffff, 0x9300};
  cpu.segs[kCs] = {0xf000, 0, 0xffff0000, 0xffff, 0x9b00};
  cpu.ldt = {0, 0, 0, 0xffff, 0x8200};
  cpu.tr = {0, 0, 0, 0xffff, 0x8b00};
  cpu.gdt = {0, 0, 0, 0xffff, 0};
  cpu.idt = {0, 0, 0, 0x3ff, 0};
  cpu.eip = 0xfff0;
  cpu.cr[2] = cpu.cr[3] = cpu.cr[8] = 0;
  cpu.hflags = hflags::kAddSeg;
  cpu.hflags2 = 0;
  set_eflags(cpu, eflags::kReserved1);
  cpu.fpstt = 0;
  cpu.fpus = 0;
  std::fill(std::begin(cpu.fptags), std::end(cpu.fptags), uint8_t{1});
  for (auto& reg : cpu.fpregs) reg = {};
  for (auto& reg : cpu.xmm) reg = {};
  cpu.fpop = cpu.fpcs = cpu.fpds = 0;
  cpu.fpip = cpu.fpdp = 0;
  engine_.set_x87_control(0x37f);
  engine_.set_mxcsr(0x1f80);
  absorb_fp_flags(cpu);
  cpu.sysenter_cs = 0;
  cpu.sysenter_esp = cpu.sysenter_eip = 0;
  cpu.star = cpu.lstar = cpu.cstar = cpu.fmask = cpu.kernel_gs_base = cpu.tsc_aux = 0;
  cpu.pat = 0x0007040600070406;
  // Bit 0, "fast strings" (SDM Vol. 4, table 2-2), is clear: a repeated string instruction costs more here than a loop
  // that moves eight bytes at a time, and Linux then chooses that loop.
  cpu.misc_enable = 0;
  for (unsigned i = 0; i < 8; ++i) cpu.dr[i] = 0;
  write_debug_register(cpu, 6, 0);
  write_debug_register(cpu, 7, 0);
  cpu.error_code = 0;
  cpu.exception_is_int = 0;
  cpu.old_exception = -1;
  msrs_.reset();
  halted_ = false;
  nmi_pending_ = false;
  state_changed();
}

void Cpu::state_changed() {
  registers_changed();
  mmu_.reset();
  blocks_.reset();
}

void Cpu::registers_changed() {
  running_ = nullptr;
  io_step_ = engine_step_ = own_store_step_ = Step::none;
  passed_intercept_ = wants_engine_step_ = fp_loaded_ = false;
  debug_registers_changed_ = true;
  engine_.limit_next_block(~0u);
  mmu_.registers_changed();
}

uint64_t Cpu::linear_pc() const {
  const EngineCpu& cpu = engine_.cpu();
  return wrap_linear(cpu, cpu.segs[kCs].base + cpu.eip);
}

uint64_t Cpu::executing_icount() const {
  if (running_ == nullptr) return icount_;
  if (!in_tsc_read_) return icount_ - 1;  // port and memory-mapped I/O end their blocks
  const uint32_t before = const_cast<CodeBlocks&>(blocks_).index_of(*running_, linear_pc());
  return icount_ - running_->count + before;
}

// --- blocks

void Cpu::enter(const BlockRecord* record) {
  icount_ += record->count;
  running_ = record;
}

void Cpu::block_not_fast(uint64_t pc, uint32_t size, BlockRecord* record) {
  running_ = nullptr;
  guarded([&] {
    // Its instructions would be counted and not run.
    if (stopping_) throw EngineError("the engine entered a block after it had been stopped");
    block_with_care(engine_.cpu().hflags & hflags::kLma ? pc : static_cast<uint32_t>(pc), size, record);
  });
}

void Cpu::block_with_care(uint64_t pc, uint32_t size, BlockRecord* record) {
  if (record->action == BlockAction::unknown) blocks_.entered_unknown(*record, pc, size);
  settle_fp_flags();
  if (io_step_ == Step::second) {
    io_step_ = Step::none;
    mmu_.end_io();
    refresh_fast_limit();
  }
  if (engine_step_ == Step::second) return pause(Pause::step_done);
  // The block at hand may be one that the store has changed.
  if (own_store_step_ == Step::second) return pause(Pause::boundary);
  if (stop_requested_ || is_at_limit() || accepts_interrupt() || blocks_.nearly_full() || debug_registers_changed_)
    return pause(Pause::boundary);

  if (privilege_unsure_) settle_privilege();
  const bool stepping = io_step_ == Step::first || engine_step_ == Step::first || own_store_step_ == Step::first;
  if (record->breakpoint && !stepping) {
    if (breakpoint_ && blocks_.is_debuggers_breakpoint(pc)) breakpoint_(pc);
    if (stop_requested_) return pause(Pause::boundary);
    if (!passed_intercept_ && raise_breakpoint(pc)) return;
  }
  uint32_t limit = static_cast<uint32_t>(std::min<uint64_t>(record->count, limit_ - icount_));
  if (record->limit != 0) limit = std::min<uint32_t>(limit, record->limit);
  if (stepping || watches_instructions_) limit = 1;
  if (record->intercept != Intercept::none && !passed_intercept_ && engine_step_ == Step::none) {
    if (watches_instructions_) about_to_run(*record);
    if (execute_intercept(*record, pc)) return;
  }
  const bool lone_store = record->limit == 1 && record->count == 1;
  if (limit < record->count || (lone_store && !limited_)) {
    limited_ = lone_store;
    return look_up_again(limit);
  }
  limited_ = false;
  passed_intercept_ = false;
  if (io_step_ == Step::first) io_step_ = Step::second;
  if (engine_step_ == Step::first) engine_step_ = Step::second;
  if (own_store_step_ == Step::first) own_store_step_ = Step::second;
  if (watches_instructions_) about_to_run(*record);
  if (record->may_change_privilege) {
    privilege_unsure_ = true;
    fast_limit_ = 0;
  }
  // The engine would clear RF only at the end of a block that ends in no jump.
  if (record->action == BlockAction::resume) engine_.cpu().eflags &= ~uint64_t{eflags::kRf};
  enter(record);
}

void Cpu::look_up_again(uint32_t limit) {
  ++statistics_.look_ups_again;
  engine_.look_up_again(limit);
}

void Cpu::pause(Pause why) {
  pause_ = why;
  stopping_ = true;
  fast_limit_ = 0;
  engine_.stop();
}

void Cpu::refresh_fast_limit() {
  const bool attention = interrupt_ || nmi_pending_ || stop_requested_ || io_step_ != Step::none ||
                         engine_step_ != Step::none || own_store_step_ != Step::none || passed_intercept_ ||
                         fp_loaded_ || stopping_ || privilege_unsure_ || watches_instructions_ ||
                         debug_registers_changed_;
  fast_limit_ = attention ? 0 : std::min(limit_, about_);
}

void Cpu::settle_fp_flags() {
  if (!fp_loaded_) return;
  // Not while that instruction is still to run, as after a fault that let it be tried again.
  if (passed_intercept_) return;
  fp_loaded_ = false;
  absorb_fp_flags(engine_.cpu());
  refresh_fast_limit();
}

// --- watching

void Cpu::observe(CpuObserver* observer, const CpuWatch& watch) {
  observer_ = observer;
  watches_events_ = observer != nullptr && watch.events;
  watches_privilege_ = observer != nullptr && watch.privilege;
  watches_instructions_ = observer != nullptr && watch.instructions;
  privilege_unsure_ = false;
  privilege_told_ = current_privilege(engine_.cpu());
  blocks_.watch_privilege(watches_privilege_);
  // Whole blocks would be found again and again where single instructions are wanted, and the other way round.
  blocks_.reset();
  engine_.limit_next_block(~0u);
}

void Cpu::set_breakpoints(std::vector<uint64_t> addresses) {
  if (!blocks_.set_breakpoints(std::move(addresses))) return;
  blocks_.reset();
  engine_.limit_next_block(~0u);
}

void Cpu::take_debug_registers() {
  debug_registers_changed_ = false;
  debug_control_ = engine_.cpu().dr[7];
  if (!blocks_.set_guest_breakpoints(execute_breakpoints(engine_.cpu()))) return;
  blocks_.reset();
  engine_.limit_next_block(~0u);
}

void Cpu::watch_accesses(std::vector<AccessWatch::Range> ranges, AccessWatch::Callback callback, bool alone) {
  memory_.watch().set(std::move(ranges), std::move(callback));
  mmu_.watch_changed(alone);
}

std::vector<std::vector<uint8_t>> Cpu::watched_bytes() {
  std::vector<std::vector<uint8_t>> all;
  for (const AccessWatch::Range& range : memory_.watch().ranges()) {
    std::vector<uint8_t>& bytes = all.emplace_back(range.last - range.first + 1);
    if (range.physical)
      memory_.get(range.first, bytes);
    else
      bytes.resize(mmu_.peek(range.first, bytes));
  }
  return all;
}

void Cpu::tell_of_changes(const std::vector<std::vector<uint8_t>>& before) {
  if (before.empty()) return;
  const std::vector<std::vector<uint8_t>> after = watched_bytes();
  for (size_t i = 0; i < after.size(); ++i) {
    const AccessWatch::Range range = memory_.watch().ranges()[i];
    if (!range.writes || after[i] == before[i]) continue;
    memory_.watch().tell({i,
                          AccessWatch::Who::cpu,
                          true,
                          range.physical ? AccessWatch::kUnknown : range.first,
                          range.physical ? range.first : AccessWatch::kUnknown,
                          after[i].size(),
                          true,
                          {}});
  }
}

Cpu::Executing Cpu::executing() const {
  if (running_ == nullptr) return {false, icount_, icount_};
  return {true, icount_ - running_->count, icount_ - 1};
}

void Cpu::observe_nothing() { observe(nullptr, {}); }

void Cpu::settle_privilege() {
  privilege_unsure_ = false;
  const unsigned level = current_privilege(engine_.cpu());
  if (watches_privilege_ && level != privilege_told_) observer_->privilege(privilege_told_ = level);
  refresh_fast_limit();
}

void Cpu::about_to_run(const BlockRecord& record) {
  observer_->instruction(record);
  // Each block is entered from one that was limited, too: they are chained, and nothing is looked up any more.
  engine_.limit_next_block(1);
}

// --- running

CpuStop Cpu::run(uint64_t limit, uint64_t about) {
  limit_ = limit;
  about_ = about;
  stop_requested_ = false;
  if (icount_ - mixed_retried_ >= kMixedRetry) {
    mixed_retried_ = icount_;
    mmu_.retry_mixed_pages();
  }
  while (true) {
    settle_fp_flags();
    if (stop_requested_) return CpuStop::request;
    // The limit comes before an interrupt that waits: what is done to the machine between two runs, at a count, is
    // done before the interrupt is taken there, however the run was sliced.
    if (is_at_limit()) return CpuStop::limit;
    if (accepts_interrupt()) {
      take_interrupt();
      if (pause_ == Pause::triple_fault) {
        pause_ = Pause::none;
        return CpuStop::triple_fault;
      }
      continue;
    }
    if (halted_) return CpuStop::halted;
    if (debug_registers_changed_) take_debug_registers();
    if (blocks_.nearly_full()) blocks_.reset();
    if (wants_engine_step_) {
      wants_engine_step_ = false;
      engine_step();
      if (pause_ == Pause::triple_fault) {
        pause_ = Pause::none;
        return CpuStop::triple_fault;
      }
      continue;
    }

    pause_ = Pause::none;
    stopping_ = false;
    running_ = nullptr;
    limited_ = false;
    refresh_fast_limit();
    ++statistics_.runs;
    const uc_err error = engine_.run();
    stopping_ = false;
    if (io_step_ == Step::second) {
      io_step_ = Step::none;
      mmu_.end_io();
    }
    if (own_store_step_ == Step::second) {
      own_store_step_ = Step::none;
      mmu_.end_own_store();
    }
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    const bool refused = mmu_.refused().why != Refusal::none;
    if (refused) handle_refusal();
    running_ = nullptr;
    if (pause_ == Pause::triple_fault) {
      pause_ = Pause::none;
      return CpuStop::triple_fault;
    }
    if (refused || pause_ != Pause::none) continue;
    if (error != UC_ERR_OK)
      throw EngineError(
          fmt::format("Unicorn engine: {} at instruction {}, RIP {:#x}", uc_strerror(error), icount_, linear_pc()));
    halted_ = true;
  }
}

void Cpu::shorten(uint64_t limit) {
  limit_ = std::min(limit_, limit);
  fast_limit_ = std::min(fast_limit_, limit_);
}

void Cpu::shorten_about(uint64_t about) {
  about_ = std::min(about_, about);
  fast_limit_ = std::min(fast_limit_, about_);
}

void Cpu::request_stop() {
  stop_requested_ = true;
  fast_limit_ = 0;
}

void Cpu::set_interrupt(bool level) {
  interrupt_ = level;
  if (level)
    fast_limit_ = 0;
  else
    refresh_fast_limit();
}

bool Cpu::accepts_interrupt() const {
  const EngineCpu& cpu = engine_.cpu();
  if (cpu.hflags & hflags::kInhibitIrq) return false;
  if (nmi_pending_ && !(cpu.hflags2 & kNmiBlocked)) return true;
  return interrupt_ && (cpu.eflags & eflags::kIf);
}

void Cpu::take_interrupt() {
  ++statistics_.interrupts;
  halted_ = false;
  EngineCpu& cpu = engine_.cpu();
  uint8_t vector = kVectorNmi;
  if (nmi_pending_ && !(cpu.hflags2 & kNmiBlocked)) {
    nmi_pending_ = false;
    cpu.hflags2 |= kNmiBlocked;
  } else {
    vector = board_.acknowledge();
  }
  deliver({EventKind::hardware, vector, 0, cpu.eip, cpu.eip});
}

void Cpu::engine_step() {
  ++statistics_.engine_steps;
  const uint64_t pc = linear_pc();
  mmu_.note_code(pc);
  engine_.use_walker(Engine::Walker::engines);
  engine_.limit_next_block(1);
  engine_step_ = Step::first;
  pause_ = Pause::none;
  stopping_ = false;
  running_ = nullptr;
  refresh_fast_limit();
  const std::vector<std::vector<uint8_t>> watched = watched_bytes();
  const uint64_t cr2 = engine_.cpu().cr[2];
  const uc_err error = engine_.run();
  stopping_ = false;
  // The engine has begun to raise a fault whose time has not come.
  if (std::exchange(next_unfetched_, false)) {
    engine_.cpu().cr[2] = cr2;
    engine_.cpu().error_code = 0;
    engine_.cpu().old_exception = -1;
  }
  engine_step_ = Step::none;
  tell_of_changes(watched);
  engine_.limit_next_block(~0u);
  debug_registers_changed_ = true;  // by a task switch
  engine_.use_walker(Engine::Walker::ours);
  memory_.changes().note_all();  // the engine's own walker tells nobody what it let through
  mmu_.note_code(pc);
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  if (error != UC_ERR_OK)
    throw EngineError(fmt::format("Unicorn engine: {} in a single step at instruction {}, RIP {:#x}",
                                  uc_strerror(error), icount_, pc));
}

}  // namespace understudy::emu
