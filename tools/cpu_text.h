// A CPU for people: its registers, and the instructions that it stands before.
#pragma once

#include <string>

#include "emu/machine.h"

namespace understudy::tools {

// Several lines, each beginning with `indent`.
std::string registers_text(emu::Machine& machine, const std::string& indent);
// At most `count` instructions from CS:RIP on; fewer where memory cannot be read or holds none. The guest does not
// notice.
std::string disassembly_text(emu::Machine& machine, unsigned count, const std::string& indent);

}  // namespace understudy::tools
