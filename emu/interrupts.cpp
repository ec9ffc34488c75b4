#include "emu/interrupts.h"

#include <optional>

#include "emu/segment_load.h"
#include "emu/stack_frame.h"
#include "emu/task_switch.h"

namespace understudy::emu {

namespace {

constexpr unsigned kTaskGate = 5;
constexpr unsigned kWideGate = 8;  // of a gate's type: 386 form, 32-bit frame
constexpr unsigned kTrapGate = 1;  // of a gate's type: leaves IF alone

// In a chain of task switches whose TSSs all ask for a debug trap the last ones are dropped: a guest must not keep us
// here for ever.
constexpr unsigned kMostTaskTraps = 8;

bool is_software(EventKind kind) {
  return kind == EventKind::software_int || kind == EventKind::int3 || kind == EventKind::into;
}

bool is_contributory(uint8_t vector) { return vector == 0 || (vector >= kVectorTs && vector <= kVectorGp); }

// SDM Vol. 3A table 6-5.
bool makes_double_fault(uint8_t first, uint8_t second) {
  if (is_contributory(first)) return is_contributory(second);
  return first == kVectorPf && (is_contributory(second) || second == kVectorPf);
}

// What RF is in the pushed EFLAGS (SDM Vol. 3B 17.3.1.1): set for faults so that an instruction breakpoint does not hit
// again, but not for #DB itself, traps (#BP, #OF) and aborts (#DF, #MC).
uint32_t pushed_flags(EventKind kind, uint8_t vector, uint32_t flags) {
  switch (kind) {
    case EventKind::software_int:
    case EventKind::int3:
    case EventKind::into:
    case EventKind::icebp:
      return flags & ~eflags::kRf;
    case EventKind::hardware:
    case EventKind::debug_trap:
      return flags;
    case EventKind::exception:
      break;
  }
  const bool is_fault =
      vector != kVectorDb && vector != 2 && vector != 3 && vector != 4 && vector != kVectorDf && vector != 18;
  return is_fault ? flags | eflags::kRf : flags;
}

uint32_t flags_in_record(const EngineCpu& cpu) {
  return static_cast<uint32_t>(cpu.eflags) | static_cast<uint32_t>(cpu.cc_src) | (cpu.df < 0 ? eflags::kDf : 0);
}

// A gate of the IDT; the upper half only in long mode.
struct Gate {
  Descriptor low;
  uint32_t offset_high;
  uint32_t reserved;

  unsigned type() const { return low.high >> 8 & 0x1f; }  // with S, which must be clear
  uint16_t selector() const { return static_cast<uint16_t>(low.low >> 16); }
  uint64_t offset() const { return uint64_t{offset_high} << 32 | (low.high & 0xffff0000) | (low.low & 0xffff); }
  unsigned ist() const { return low.high & 7; }
};
static_assert(sizeof(Gate) == 16);

}  // namespace

bool has_error_code(uint8_t vector) {
  return vector == kVectorDf || (vector >= kVectorTs && vector <= kVectorPf) || vector == 17;
}

// One attempt to enter a handler: an event, or what became of it by faults.
struct InterruptDelivery::Attempt {
  EventKind kind;
  uint8_t vector;
  uint32_t error_code;
  uint64_t eip;     // to be pushed
  uint32_t eflags;  // current

  bool software() const { return is_software(kind); }
  uint32_t external() const { return software() ? 0 : kErrorExternal; }
  bool pushes_error_code() const { return kind == EventKind::exception && has_error_code(vector); }
  uint32_t flags_to_push() const { return pushed_flags(kind, vector, eflags); }
  uint32_t flags_in_handler(bool interrupt_gate) const {
    return eflags & ~(eflags::kTf | eflags::kNt | eflags::kRf | eflags::kVm | (interrupt_gate ? eflags::kIf : 0));
  }

  GuestFault gate_fault(uint8_t fault) const { return fault_with_code(fault, vector * 8u | kErrorIdt | external()); }
  GuestFault selector_fault(uint8_t fault, uint32_t selector) const {
    return fault_with_code(fault, (selector & 0xfffc) | external());
  }
};

// The handler's code segment as a gate names it.
struct InterruptDelivery::Target {
  uint16_t selector;
  Descriptor code;
  unsigned privilege;  // CPL in the handler
};

Delivery InterruptDelivery::deliver(const Event& event, uint32_t eflags) {
  Attempt attempt{event.kind, event.vector, event.error_code, event.return_eip, eflags};
  std::optional<uint8_t> failed;  // the exception whose delivery is being attempted
  if (event.kind == EventKind::exception) failed = event.vector;
  unsigned task_traps = 0;
  cpu_.old_exception = -1;  // the engine's own bookkeeping of nested faults must not see ours
  for (;;) {
    GuestFault fault{};
    try {
      const bool task_trap = enter_handler(attempt);
      cpu_.hflags &= ~hflags::kInhibitIrq;
      if (!task_trap || ++task_traps > kMostTaskTraps) return Delivery::done;
      attempt = {EventKind::debug_trap, kVectorDb, 0, cpu_.eip, flags_in_record(cpu_)};
      failed.reset();
      continue;
    } catch (const NewTaskFault& in_new_task) {
      fault = in_new_task;
      attempt.eip = cpu_.eip;
      attempt.eflags = flags_in_record(cpu_);
    } catch (const GuestFault& in_old_task) {
      fault = in_old_task;
      if (attempt.software() || attempt.kind == EventKind::icebp) attempt.eip = event.instruction_eip;
    }
    if (fault.vector == kVectorPf) cpu_.cr[2] = fault.cr2;  // even when it becomes a double or triple fault
    if (failed == kVectorDf) return Delivery::triple_fault;
    const bool doubled = failed && makes_double_fault(*failed, fault.vector);
    attempt.kind = EventKind::exception;
    attempt.vector = doubled ? kVectorDf : fault.vector;
    attempt.error_code = doubled ? 0 : fault.error_code;
    failed = attempt.vector;
  }
}

Delivery InterruptDelivery::deliver_fault(const GuestFault& fault, uint64_t eip, uint32_t eflags) {
  if (fault.vector == kVectorPf) cpu_.cr[2] = fault.cr2;
  return deliver({EventKind::exception, fault.vector, fault.error_code, eip, eip}, eflags);
}

bool InterruptDelivery::enter_handler(const Attempt& a) {
  if (in_real_mode(cpu_)) {
    through_ivt(a);
    return false;
  }
  if (in_long_mode(cpu_)) {
    through_long_gate(a);
    return false;
  }
  return through_gate(a);
}

void InterruptDelivery::through_ivt(const Attempt& a) {
  if (a.vector * 4u + 3 > cpu_.idt.limit) throw a.gate_fault(kVectorGp);
  uint16_t entry[2];
  memory_.read(wrap_linear(cpu_, cpu_.idt.base + a.vector * 4u), entry, sizeof entry);
  StackFrame frame(cpu_.segs[kSs], cpu_.regs[kRsp], 2);
  frame.push(a.flags_to_push());
  frame.push(cpu_.segs[kCs].selector);
  frame.push(a.eip);
  if (!frame.fits()) throw fault_with_code(kVectorSs, 0);
  frame.write(cpu_, memory_);

  cpu_.regs[kRsp] = frame.stack_pointer();
  set_eflags(cpu_, a.eflags & ~(eflags::kIf | eflags::kTf | eflags::kAc | eflags::kRf));
  SegmentCache code = cpu_.segs[kCs];  // real mode changes only selector and base
  code.selector = entry[1];
  code.base = uint64_t{entry[1]} << 4;
  load_segment(cpu_, kCs, code);
  cpu_.eip = entry[0];
}

InterruptDelivery::Target InterruptDelivery::code_target(const Attempt& a, uint16_t selector) {
  if (!(selector & 0xfffc)) throw fault_with_code(kVectorGp, a.external());
  const auto code = fetch_descriptor(cpu_, memory_, selector);
  const unsigned privilege = current_privilege(cpu_);
  if (!code || !code->is_code() || code->dpl() > privilege) throw a.selector_fault(kVectorGp, selector);
  if (!code->present()) throw a.selector_fault(kVectorNp, selector);
  // V86 can only be left for ring 0; anything else is as bad as a wrong descriptor (SDM Vol. 3A 20.3.1).
  if (in_v86(cpu_) && (code->is_conforming_code() || code->dpl() != 0)) throw a.selector_fault(kVectorGp, selector);
  // Handlers of long mode are 64-bit code (6.14.1).
  const uint32_t size = code->high & (descriptor::kLong | descriptor::kBig);
  if (in_long_mode(cpu_) && size != descriptor::kLong) throw a.selector_fault(kVectorGp, selector);
  const unsigned target = code->is_conforming_code() ? privilege : code->dpl();
  return {static_cast<uint16_t>((selector & ~3u) | target), *code, target};
}

InterruptDelivery::InnerStack InterruptDelivery::inner_stack(const Attempt& a, unsigned privilege) {
  const bool wide = cpu_.tr.flags & 1u << 11;
  const unsigned word = wide ? 4 : 2;
  const unsigned offset = (privilege * 2 + 1) * word;  // SP, then SS (SDM Vol. 3A figures 7-2, 7-10)
  if (!(cpu_.tr.flags & descriptor::kPresent) || offset + word + 1 > cpu_.tr.limit)
    throw a.selector_fault(kVectorTs, cpu_.tr.selector);
  uint32_t pointer = 0;
  uint16_t selector;
  memory_.read(wrap_linear(cpu_, cpu_.tr.base + offset), &pointer, word);
  memory_.read(wrap_linear(cpu_, cpu_.tr.base + offset + word), &selector, 2);
  if (!(selector & 0xfffc)) throw fault_with_code(kVectorTs, a.external());
  const auto stack = fetch_descriptor(cpu_, memory_, selector);
  if (!stack || (selector & 3u) != privilege || stack->dpl() != privilege || !stack->is_writable_data())
    throw a.selector_fault(kVectorTs, selector);
  if (!stack->present()) throw a.selector_fault(kVectorSs, selector);
  return {selector, *stack, pointer};
}

// Returns whether a task gate asks for a debug trap.
bool InterruptDelivery::through_gate(const Attempt& a) {
  const bool from_v86 = in_v86(cpu_);
  if (from_v86 && a.kind == EventKind::software_int && (a.eflags & eflags::kIopl) != eflags::kIopl)
    throw fault_with_code(kVectorGp, 0);
  if (a.vector * 8u + 7 > cpu_.idt.limit) throw a.gate_fault(kVectorGp);
  Gate gate{};
  memory_.read(wrap_linear(cpu_, cpu_.idt.base + a.vector * 8u), &gate.low, sizeof gate.low);
  const unsigned type = gate.type();
  if (type != kTaskGate && (type & ~(kWideGate | kTrapGate)) != 6) throw a.gate_fault(kVectorGp);
  const unsigned privilege = current_privilege(cpu_);
  if (a.software() && gate.low.dpl() < privilege) throw a.gate_fault(kVectorGp);
  if (!gate.low.present()) throw a.gate_fault(kVectorNp);
  if (type == kTaskGate) {
    TaskSwitch request{gate.selector(), TaskSwitchReason::gate, a.flags_to_push(), static_cast<uint32_t>(a.eip),
                       std::nullopt,    a.external() != 0};
    if (a.pushes_error_code()) request.error_code = a.error_code;
    return task_switch(cpu_, memory_, request);
  }

  Target target = code_target(a, gate.selector());
  const uint32_t offset = static_cast<uint32_t>(gate.offset()) & (type & kWideGate ? 0xffffffff : 0xffff);
  std::optional<InnerStack> inner;
  if (target.privilege < privilege) inner = inner_stack(a, target.privilege);
  const SegmentCache stack = inner ? inner->descriptor.as_segment(inner->selector) : cpu_.segs[kSs];
  StackFrame frame(stack, inner ? inner->pointer : cpu_.regs[kRsp], type & kWideGate ? 4 : 2);
  if (from_v86)
    for (const SegmentIndex i : {kGs, kFs, kDs, kEs}) frame.push(cpu_.segs[i].selector);
  if (inner) {
    frame.push(cpu_.segs[kSs].selector);
    frame.push(cpu_.regs[kRsp]);
  }
  frame.push(a.flags_to_push());
  frame.push(cpu_.segs[kCs].selector);
  frame.push(a.eip);
  if (a.pushes_error_code()) frame.push(a.error_code);
  if (!frame.fits()) throw a.selector_fault(kVectorSs, inner ? inner->selector : 0);
  if (offset > target.code.limit()) throw fault_with_code(kVectorGp, a.external());
  if (inner) mark_accessed(cpu_, memory_, inner->selector, inner->descriptor);
  mark_accessed(cpu_, memory_, target.selector, target.code);
  frame.write(cpu_, memory_);

  set_eflags(cpu_, a.flags_in_handler(!(type & kTrapGate)));
  if (from_v86)
    for (const SegmentIndex i : {kEs, kDs, kFs, kGs}) load_null_segment(cpu_, i, 0);
  if (inner) load_segment(cpu_, kSs, inner->descriptor.as_segment(inner->selector));
  cpu_.regs[kRsp] = frame.stack_pointer();
  load_segment(cpu_, kCs, target.code.as_segment(target.selector));
  cpu_.eip = offset;
  return false;
}

void InterruptDelivery::through_long_gate(const Attempt& a) {
  if (a.kind == EventKind::into && in_64bit_code(cpu_)) throw invalid_opcode();
  if (a.vector * 16u + 15 > cpu_.idt.limit) throw a.gate_fault(kVectorGp);
  Gate gate{};
  memory_.read(cpu_.idt.base + a.vector * 16u, &gate, sizeof gate);
  if ((gate.type() & ~kTrapGate) != 14) throw a.gate_fault(kVectorGp);
  const unsigned privilege = current_privilege(cpu_);
  if (a.software() && gate.low.dpl() < privilege) throw a.gate_fault(kVectorGp);
  if (!gate.low.present()) throw a.gate_fault(kVectorNp);

  Target target = code_target(a, gate.selector());
  const bool inward = target.privilege < privilege;
  uint64_t pointer = cpu_.regs[kRsp];
  if (gate.ist() || inward) {
    const unsigned offset = gate.ist() ? 28 + 8 * gate.ist() : 4 + 8 * target.privilege;  // SDM Vol. 3A figure 7-11
    if (!(cpu_.tr.flags & descriptor::kPresent) || offset + 7 > cpu_.tr.limit)
      throw a.selector_fault(kVectorTs, cpu_.tr.selector);
    memory_.read(cpu_.tr.base + offset, &pointer, sizeof pointer);
  }
  StackFrame frame(pointer & ~uint64_t{15});
  frame.push(cpu_.segs[kSs].selector);
  frame.push(cpu_.regs[kRsp]);
  frame.push(a.flags_to_push());
  frame.push(cpu_.segs[kCs].selector);
  frame.push(a.eip);
  if (a.pushes_error_code()) frame.push(a.error_code);
  if (!frame.fits()) throw fault_with_code(kVectorSs, a.external());
  if (!is_canonical(gate.offset())) throw fault_with_code(kVectorGp, a.external());
  mark_accessed(cpu_, memory_, target.selector, target.code);
  frame.write(cpu_, memory_);

  set_eflags(cpu_, a.flags_in_handler(!(gate.type() & kTrapGate)));
  // Only a change of privilege empties SS; a switch to an IST stack alone does not (SDM Vol. 3A 6.14.4, 6.14.5).
  if (inward) load_null_segment(cpu_, kSs, static_cast<uint16_t>(target.privilege), target.privilege);
  cpu_.regs[kRsp] = frame.stack_pointer();
  load_segment(cpu_, kCs, target.code.as_segment(target.selector));
  cpu_.eip = gate.offset();
}

}  // namespace understudy::emu
