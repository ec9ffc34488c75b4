// A place on the line that a recording is: see tools/timeline.h.
#pragma once

#include <compare>
#include <cstdint>

namespace understudy::tools {

// A point between two steps of the machine. At one instruction count there is first the point (icount, 0): the last
// instruction has retired, all that the log has for this count was applied, and no interrupt has been taken. If an
// interrupt is then taken, or the next instruction faults, the CPU enters a handler without retiring anything: that is
// the point (icount, 1), with RIP at the handler; if the handler's first instruction faults too, (icount, 2); and so
// on. INT and traps are the end of their instructions, each iteration of a REP is an instruction, a halted CPU waits at
// one point until the interrupt that wakes it, and a reset of the board belongs to the point at whose count it happens.
struct Mark {
  uint64_t icount = 0;
  uint64_t deliveries = 0;
  auto operator<=>(const Mark&) const = default;
};

}  // namespace understudy::tools
