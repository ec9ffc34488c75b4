// What a debugger can do to a machine, whatever stands behind it: a recording that is moved along, or a machine that
// runs. The server knows nothing else of machines. All calls are on one thread, and the machine stands still between
// them.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "tools/gdb_registers.h"

namespace understudy::tools {

// Something that the debugger asked for and does not get: one line that says why.
class GdbRefusal : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The debugger's user, while something runs for long.
class GdbUser {
 public:
  virtual ~GdbUser() = default;
  // Whether they want it to end: Ctrl-C, or they are gone. Looks at the connection: to be asked some hundred times a
  // second at most.
  virtual bool wants_stop() = 0;
  // Shows lines, each with its newline, at once.
  virtual void say(std::string_view text) = 0;
};

struct GdbBreakpoint {
  // The numbers are those of the protocol's Z packets.
  enum class Kind : uint8_t { software, hardware, write, read, access };
  Kind kind = Kind::software;
  uint64_t address = 0;  // linear
  uint64_t length = 1;   // of a watched range, in bytes
  bool is_watchpoint() const { return kind >= Kind::write; }
  auto operator<=>(const GdbBreakpoint&) const = default;
};

struct GdbResume {
  enum class Kind : uint8_t {
    run,   // until something happens
    step,  // one instruction
    range  // instructions, as long as they begin in first..last (last excluded); forward only
  };
  Kind kind = Kind::run;
  bool backward = false;
  uint64_t first = 0, last = 0;
};

struct GdbStop {
  enum class Why : uint8_t {
    stepped,      // did what was asked
    breakpoint,   // the next instruction (backward: that was just undone) is at one
    watchpoint,   // the last instruction (backward: the next one) touches one
    interrupted,  // the user wanted it
    log_begin,    // there is nothing before
    log_end,      // there is nothing after
    ended         // the machine is off
  };
  Why why = Why::stepped;
  GdbBreakpoint hit;  // of breakpoint, watchpoint
  int exit_code = 0;  // of ended
};

class GdbTarget {
 public:
  virtual ~GdbTarget() = default;

  // A debugger has come: the machine stands still from now on. It has left, and the machine is to go on without one.
  virtual void attached() {}
  virtual void detached() {}

  // Valid until the target does anything else.
  virtual CpuView cpu() = 0;
  // Throws GdbRefusal.
  virtual void write_register(const GdbRegister& reg, std::span<const uint8_t> value) = 0;

  // Through the guest's page tables as they are now, and unseen by it. Returns how many bytes from the first on could
  // be read, at least one; throws GdbRefusal where that is none.
  virtual size_t read_memory(uint64_t linear, std::span<uint8_t> to) = 0;
  // All of them or none. Throws GdbRefusal.
  virtual void write_memory(uint64_t linear, std::span<const uint8_t> from) = 0;

  // Each is inserted at most once. Throws GdbRefusal.
  virtual void insert(const GdbBreakpoint& breakpoint) = 0;
  virtual void remove(const GdbBreakpoint& breakpoint) = 0;

  // Throws GdbRefusal for what cannot be begun.
  virtual GdbStop resume(const GdbResume& how, GdbUser& user) = 0;
};

// The commands behind the debugger's `monitor`.
class GdbMonitor {
 public:
  virtual ~GdbMonitor() = default;
  // Throws GdbRefusal, with what to do instead.
  virtual void run(std::string_view command, GdbUser& user) = 0;
};

}  // namespace understudy::tools
