// The CPU's exceptions: raised by the engine, by a refused memory access, or by an instruction we execute ourselves.
#include <array>
#include <cassert>
#include <cstring>

#include "emu/cpu.h"
#include "emu/cpu_hooks.h"
#include "emu/cpu_observer.h"
#include "emu/debug_registers.h"
#include "emu/fp_status.h"
#include "emu/io_permission.h"
#include "emu/segment_load.h"
#include "emu/system_calls.h"
#include "emu/task_switch.h"
#include "emu/x87_functions.h"

namespace understudy::emu {

namespace {

constexpr uint8_t kVectorBp = 3, kVectorOf = 4;
constexpr unsigned kSystemCallLength = 2;

}  // namespace

void Cpu::deliver(const Event& event) {
  deviations_.interrupted(icount_);
  if (watches_events_)
    observer_->event(event, event.vector == kVectorPf && event.kind == EventKind::exception ? engine_.cpu().cr[2] : 0);
  const Delivery done = delivery_.deliver(event, engine_.flags());
  running_ = nullptr;
  if (done == Delivery::triple_fault) return pause(Pause::triple_fault);
  if (delivered_ && (event.kind == EventKind::hardware || event.kind == EventKind::exception))
    delivered_({event.kind, event.vector});
  entered_handler();
}

void Cpu::deliver_fault(const GuestFault& fault) {
  deviations_.interrupted(icount_);
  const uint64_t eip = engine_.cpu().eip;
  if (watches_events_) observer_->event({EventKind::exception, fault.vector, fault.error_code, eip, eip}, fault.cr2);
  const Delivery done = delivery_.deliver_fault(fault, engine_.cpu().eip, engine_.flags());
  running_ = nullptr;
  if (done == Delivery::triple_fault) return pause(Pause::triple_fault);
  if (delivered_) delivered_({EventKind::exception, fault.vector});
  entered_handler();
}

// Where the privilege level may be another than before, and a task switch may have taken breakpoints away.
void Cpu::entered_handler() {
  if (engine_.cpu().dr[7] != debug_control_) {
    debug_registers_changed_ = true;
    fast_limit_ = 0;
  }
  if (!watches_privilege_) return;
  privilege_unsure_ = true;
  fast_limit_ = 0;
}

void Cpu::roll_back_to(uint64_t pc) {
  if (running_ == nullptr) return;
  const uint32_t before = blocks_.index_of(*running_, pc);
  assert(before <= running_->count);
  icount_ -= running_->count - before;
  running_ = nullptr;
}

// Called by the engine between blocks, with the record exact.
void Cpu::exception_raised(uint32_t vector, bool invalid_opcode) {
  ++statistics_.exceptions;
  EngineCpu& cpu = engine_.cpu();
  const uint64_t pc = linear_pc();
  // The instruction of a single step has retired, and the next one cannot be fetched: engine_step() leaves that to the
  // run that goes on.
  if (engine_step_ == Step::second && (vector == kVectorPf || vector == kVectorGp) && !invalid_opcode &&
      !cpu.exception_is_int && running_ != nullptr && pc != running_->pc) {
    next_unfetched_ = true;
    return pause(Pause::step_done);
  }
  Event event{EventKind::exception, static_cast<uint8_t>(vector), 0, cpu.eip, cpu.eip};
  if (!invalid_opcode && cpu.exception_is_int) {
    // INT ends its block and has retired; RIP is behind it.
    const uint64_t length = running_->size - running_->last_offset;
    const auto opcode = blocks_.opcode_at(running_->pc + running_->last_offset);
    event.instruction_eip = cpu.eip - length;
    event.kind = opcode.byte == 0xcc   ? EventKind::int3
                 : opcode.byte == 0xce ? EventKind::into
                 : opcode.byte == 0xf1 ? EventKind::icebp
                                       : EventKind::software_int;
    if (event.kind == EventKind::software_int && opcode.byte != 0xcd)
      event.kind = vector == kVectorBp ? EventKind::int3 : vector == kVectorOf ? EventKind::into : event.kind;
  } else if (vector == kVectorDb && !invalid_opcode &&
             !(running_ != nullptr && pc >= running_->pc && pc < running_->pc + running_->size &&
               running_->count > 1)) {
    // A trap after an instruction that was a block of its own (TF).
    event.kind = EventKind::debug_trap;
  } else {
    event.error_code = invalid_opcode ? 0 : static_cast<uint32_t>(cpu.error_code);
    roll_back_to(pc);
  }
  deliver(event);
}

// The fill callback refused an access and the engine has left the block before the instruction.
void Cpu::handle_refusal() {
  const Mmu::Refused refused = mmu_.refused();
  mmu_.clear_refused();
  EngineCpu& cpu = engine_.cpu();
  const uint64_t pc = linear_pc();
  if (refused.access == Access::fetch) {
    running_ = nullptr;
    if ((pc & kPageMask) != (wrap_linear(cpu, refused.linear_page))) {
      // The translator ran into the next page: first run what is whole in this one.
      const uint32_t whole = blocks_.whole_in_page(pc);
      if (whole > 0) {
        engine_.limit_next_block(whole);
        return;
      }
    }
    // Between the instruction that led here and the fault is a point like any other: a run may stop there, and an
    // interrupt that waits comes first. The fetch is tried again when the run goes on.
    if (is_at_limit() || stop_requested_ || accepts_interrupt()) return;
    if (breakpoint_ && blocks_.is_debuggers_breakpoint(pc)) breakpoint_(pc);
    if (stop_requested_) return;
  } else {
    roll_back_to(pc);
  }
  switch (refused.why) {
    case Refusal::io:
      ++statistics_.io_steps;
      mmu_.begin_io();
      io_step_ = Step::first;
      engine_.limit_next_block(1);
      return;
    case Refusal::own_page:
      ++statistics_.own_page_stores;
      engine_.limit_next_block(1);
      if (refused.executable) {
        mmu_.make_mixed(refused.physical_page);
      } else {
        mmu_.begin_own_store(refused.physical_page);
        own_store_step_ = Step::first;
      }
      return;
    case Refusal::non_canonical:
      deliver_fault(fault_with_code(kVectorGp, 0));
      return;
    default:
      break;
  }
  if (refused.access != Access::fetch && (refused.error_code & kPfUser) && loads_segments(pc)) {
    // At CPL 3 these read descriptor tables with supervisor privilege, which our fill callback cannot tell from the
    // program's own accesses. The engine can.
    engine_step();
    return;
  }
  ++statistics_.page_faults;
  deliver_fault({kVectorPf, true, refused.error_code, wrap_linear(cpu, engine_.refused_address())});
}

bool Cpu::loads_segments(uint64_t pc) {
  const auto opcode = blocks_.opcode_at(pc);
  if (opcode.map == 1)
    return opcode.byte == 0x00 || opcode.byte == 0x02 || opcode.byte == 0x03 || opcode.byte == 0xa1 ||
           opcode.byte == 0xa9 || opcode.byte == 0xb2 || opcode.byte == 0xb4 || opcode.byte == 0xb5;
  if (opcode.map != 0) return false;
  switch (opcode.byte) {
    case 0x07:
    case 0x17:
    case 0x1f:  // POP segment
    case 0x8e:  // MOV segment
    case 0x9a:
    case 0xea:  // far CALL and JMP
    case 0xc4:
    case 0xc5:  // LES, LDS
    case 0xca:
    case 0xcb:  // far RET
    case 0xcf:  // IRET
      return true;
    case 0xff:
      return opcode.modrm_reg == 3 || opcode.modrm_reg == 5;
    default:
      return false;
  }
}

bool Cpu::may_switch_tasks(uint64_t pc, const CodeBlocks::Opcode& opcode) {
  if (opcode.byte != 0x9a && opcode.byte != 0xea) return true;  // the selector is in memory: not looked for
  const EngineCpu& cpu = engine_.cpu();
  uint16_t selector = 0;
  std::array<uint8_t, 15> bytes{};
  if (mmu_.peek(pc, std::span(bytes).first(opcode.length)) != opcode.length) return true;
  std::memcpy(&selector, &bytes[opcode.length - sizeof selector], sizeof selector);
  Descriptor descriptor{};
  std::array<uint8_t, sizeof descriptor> raw{};
  if (mmu_.peek(descriptor_address(cpu, selector), raw) != raw.size()) return true;
  std::memcpy(&descriptor, raw.data(), raw.size());
  constexpr unsigned kCallGate = 4;
  if (descriptor.is_system() && descriptor.type() == kCallGate && descriptor.high >> 16 != 0)
    deviations_.saw(Deviation::gate_286, icount_);
  return descriptor.is_system() && (descriptor.type() & 7) != kCallGate;
}

// SYSCALL and SYSENTER: the engine adds the instruction's length to RIP when its hook returns.
void Cpu::system_call(bool sysenter) {
  EngineCpu& cpu = engine_.cpu();
  try {
    if (sysenter)
      enter_by_sysenter(cpu, kSystemCallLength);
    else
      enter_by_syscall(cpu, engine_.flags(), cpu.eip + kSystemCallLength, kSystemCallLength);
  } catch (const GuestFault& fault) {
    roll_back_to(linear_pc());
    deliver_fault(fault);
    cpu.eip -= kSystemCallLength;
  }
  entered_handler();
}

// A breakpoint of the guest's, in front of its instruction (SDM Vol. 3B 17.3.1.1).
bool Cpu::raise_breakpoint(uint64_t pc) {
  EngineCpu& cpu = engine_.cpu();
  const uint64_t hit = breakpoint_hit(cpu, pc);
  if (hit == 0 || (cpu.eflags & eflags::kRf)) return false;
  cpu.dr[6] |= hit;
  deliver({EventKind::exception, kVectorDb, 0, cpu.eip, cpu.eip});
  look_up_again(~0u);
  return true;
}

bool Cpu::execute_intercept(const BlockRecord& record, uint64_t pc) {
  EngineCpu& cpu = engine_.cpu();
  const auto opcode = blocks_.opcode_at(pc);
  // Done: the instruction has retired and the engine goes on behind it.
  auto retire = [&] {
    ++icount_;
    cpu.eip += opcode.length;
    if (!(cpu.hflags & hflags::kCs64)) cpu.eip = static_cast<uint32_t>(cpu.eip);
    cpu.hflags &= ~hflags::kInhibitIrq;
    cpu.eflags &= ~uint64_t{eflags::kRf};
    look_up_again(~0u);
  };
  auto fault = [&](const GuestFault& what) {
    deliver_fault(what);
    look_up_again(~0u);
  };
  try {
    const bool supervisor = current_privilege(cpu) == 0;
    switch (record.intercept) {
      case Intercept::msr_read: {
        if (!supervisor) throw fault_with_code(kVectorGp, 0);
        const uint64_t value = msrs_.read(engine_, board_.msr, static_cast<uint32_t>(cpu.regs[kRcx]),
                                          board_.read_tsc_clock ? board_.read_tsc_clock() : 0);
        cpu.regs[kRax] = static_cast<uint32_t>(value);
        cpu.regs[kRdx] = value >> 32;
        retire();
        return true;
      }
      case Intercept::msr_write:
        if (!supervisor) throw fault_with_code(kVectorGp, 0);
        msrs_.write(engine_, board_.msr, static_cast<uint32_t>(cpu.regs[kRcx]),
                    cpu.regs[kRdx] << 32 | static_cast<uint32_t>(cpu.regs[kRax]),
                    board_.read_tsc_clock ? board_.read_tsc_clock() : 0);
        retire();
        return true;
      case Intercept::rdpmc:
        throw fault_with_code(kVectorGp, 0);  // there are no counters (SDM Vol. 2B "RDPMC")
      case Intercept::cr8: {
        if (!supervisor) throw fault_with_code(kVectorGp, 0);
        uint64_t& general = cpu.regs[opcode.modrm_rm];
        if (opcode.byte == 0x20) {
          general = board_.msr.read_tpr ? board_.msr.read_tpr() : 0;
        } else {
          if (general & ~0xfull) throw fault_with_code(kVectorGp, 0);
          if (board_.msr.write_tpr) board_.msr.write_tpr(static_cast<uint8_t>(general));
        }
        retire();
        return true;
      }
      case Intercept::port_check: {
        const uint8_t byte = opcode.byte;
        const bool immediate = byte >= 0xe4 && byte <= 0xe7;
        uint16_t port = static_cast<uint16_t>(cpu.regs[kRdx]);
        std::array<uint8_t, 16> bytes{};
        if (immediate && mmu_.peek(pc, std::span(bytes).first(opcode.length)) == opcode.length)
          port = bytes[opcode.length - 1u];
        unsigned size = byte & 1 ? 4 : 1;
        if (size == 4) {
          mmu_.peek(pc, std::span(bytes).first(opcode.length));
          bool wide = (cpu.hflags & hflags::kCs32) != 0;
          for (unsigned i = 0; i < opcode.length && bytes[i] != byte; ++i)
            if (bytes[i] == 0x66) wide = !wide;
          if (!wide) size = 2;
        }
        if (!io_allowed(cpu, mmu_, port, size, engine_.flags())) throw fault_with_code(kVectorGp, 0);
        break;
      }
      case Intercept::iret:
        if (!(cpu.eflags & eflags::kNt)) break;
        pause(Pause::boundary);
        wants_engine_step_ = true;
        return true;
      case Intercept::far_transfer:
        if (!may_switch_tasks(pc, opcode)) break;
        // A task switch would be run twice after a TLB miss in its middle; the engine's own walker does not restart.
        pause(Pause::boundary);
        wants_engine_step_ = true;
        return true;
      case Intercept::icebp:
        ++icount_;
        deliver({EventKind::icebp, kVectorDb, 0, cpu.eip + opcode.length, cpu.eip});
        look_up_again(~0u);
        return true;
      case Intercept::x87_function:
        if (cpu.hflags & (hflags::kEm | hflags::kTs)) break;  // the engine raises #NM
        execute_x87_function(cpu, opcode.modrm_reg, opcode.modrm_rm);
        retire();
        return true;
      case Intercept::debug_register:
        // Otherwise the engine raises #GP, or #UD.
        if (!supervisor || !write_debug_register(cpu, opcode.modrm_reg, cpu.regs[opcode.modrm_rm])) break;
        deviations_.debug_control_written(cpu.dr[7], icount_);
        debug_registers_changed_ = true;
        fast_limit_ = 0;
        retire();
        return true;
      case Intercept::fp_read:
        publish_fp_flags(cpu);
        deviations_.fp_flags_published(icount_);
        break;
      case Intercept::fp_load:
        publish_fp_flags(cpu);
        deviations_.fp_flags_published(icount_);
        fp_loaded_ = true;
        break;
      case Intercept::none:
        break;
    }
  } catch (const GuestFault& what) {
    fault(what);
    return true;
  }
  passed_intercept_ = true;
  fast_limit_ = 0;
  return false;
}

}  // namespace understudy::emu
