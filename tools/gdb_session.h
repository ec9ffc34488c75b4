// A debugging session: its clients one after the other, until one of them ends it.
#pragma once

#include "tools/debug_state.h"
#include "tools/gdb_listener.h"
#include "tools/gdb_target.h"

namespace understudy::tools {

enum class DebugEnd : uint8_t {
  killed,  // by a client
  over,    // the machine is off
  closed   // a signal, or the listener was closed
};

DebugEnd serve_debugger(GdbListener& listener, GdbTarget& target, DebugState& state);

// The command to type for it, with the first of these files that gdb can read itself, and what is to be said of the
// listener's reach.
std::string gdb_command(const GdbListener& listener, const std::vector<std::string>& symbols);
void warn_if_public(const GdbListener& listener);
// FILE or FILE@BIAS each. Throws UsageError.
void load_symbols(Symbols& symbols, const std::vector<std::string>& specs);

}  // namespace understudy::tools
