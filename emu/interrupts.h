// Delivery of interrupts and exceptions to the guest through the IVT or the IDT, as the engine itself never does:
// frames, stack switches through the TSS and the IST, task gates, faults on the way up to #DF and triple fault.
// SDM Vol. 3A chapter 6 and Vol. 2A "INT n"; in long mode 6.14; nested faults table 6-5. Works on the CPU record
// between blocks or in a hook. A failed attempt leaves the record as it was: everything is read, checked and pushed
// before the first register changes, except in a task switch that failed after its commit point, which stays in the new
// task as SDM 7.3 asks. CR4.VME and CR4.PVI are not supported.
#pragma once

#include <cstdint>

#include "emu/engine_cpu.h"
#include "emu/linear_memory.h"
#include "emu/segment_load.h"

namespace understudy::emu {

enum class EventKind : uint8_t {
  hardware,      // INTR or NMI
  software_int,  // INT n, also CD 03 and CD 04: checked against IOPL in V86 and against the gate's DPL
  int3,          // CC: gate's DPL only
  into,          // CE: gate's DPL only; #UD in 64-bit code
  icebp,         // F1: vector 1 without checks
  exception,     // an instruction's fault or abort
  debug_trap,    // #DB after an instruction: single step, data breakpoint, task switch
};

struct Event {
  EventKind kind;
  uint8_t vector;
  uint32_t error_code;       // for exceptions whose vector has one
  uint64_t return_eip;       // what the handler returns to: the faulting instruction, or the next one
  uint64_t instruction_eip;  // the instruction itself: a software interrupt that cannot be delivered faults there
};

enum class Delivery { done, triple_fault };

// Whether an exception of this vector pushes an error code (SDM Vol. 3A table 6-1).
bool has_error_code(uint8_t vector);

class InterruptDelivery {
 public:
  // Both must outlive this.
  InterruptDelivery(EngineCpu& cpu, LinearMemory& memory) : cpu_(cpu), memory_(memory) {}

  // Makes the CPU enter the handler of `event`. `eflags` is all of EFLAGS at the event; the record's own lazy flags are
  // not looked at. On success the interrupt shadow of STI and MOV SS is over and EFLAGS are wholly in the record. After
  // a triple fault the record is that before the last attempt; real hardware shuts down, and a PC resets.
  Delivery deliver(const Event& event, uint32_t eflags);
  // An exception raised by our own code for the instruction at `eip`. Sets CR2 for a page fault.
  Delivery deliver_fault(const GuestFault& fault, uint64_t eip, uint32_t eflags);

 private:
  struct Attempt;
  struct Target;
  struct InnerStack {
    uint16_t selector;
    Descriptor descriptor;
    uint32_t pointer;
  };
  // Returns whether a debug trap follows, as a task switch can ask for. Throws what stops the delivery.
  bool enter_handler(const Attempt& a);
  void through_ivt(const Attempt& a);
  bool through_gate(const Attempt& a);
  void through_long_gate(const Attempt& a);
  Target code_target(const Attempt& a, uint16_t selector);
  InnerStack inner_stack(const Attempt& a, unsigned privilege);

  EngineCpu& cpu_;
  LinearMemory& memory_;
};

}  // namespace understudy::emu
