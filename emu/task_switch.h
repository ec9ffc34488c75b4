// Hardware task switches with 16- and 32-bit TSSs (SDM Vol. 3A chapter 7). What fails before the commit point is a
// GuestFault that leaves the CPU record untouched, so the fault belongs to the old task; what fails afterwards is a
// NewTaskFault, and the record is that of the new task, whose first instruction has not run. Not for long mode.
#pragma once

#include <cstdint>
#include <optional>

#include "emu/engine_cpu.h"
#include "emu/linear_memory.h"

namespace understudy::emu {

enum class TaskSwitchReason { jump, call, gate, iret };  // gate: an interrupt or exception through the IDT

struct TaskSwitch {
  uint16_t selector = 0;  // of the new TSS's descriptor in the GDT; privilege is the caller's to check
  TaskSwitchReason reason = TaskSwitchReason::jump;
  uint32_t eflags = 0;                      // all of EFLAGS, saved in the old TSS
  uint32_t next_eip = 0;                    // saved in the old TSS
  std::optional<uint32_t> error_code = {};  // pushed on the new task's stack
  bool external = false;                    // EXT in the error codes of faults
};

struct NewTaskFault : GuestFault {};

// Returns whether the new TSS has its T flag set: DR6.BT is set then, and the caller delivers a #DB trap.
[[nodiscard]] bool task_switch(EngineCpu& cpu, LinearMemory& memory, const TaskSwitch& request);

}  // namespace understudy::emu
