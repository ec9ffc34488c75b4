// How a linear address is translated, for people: the walk over the guest's page tables level by level (SDM Vol. 3A
// chapter 4), each entry with its address and what its bits say, and where it ends. The guest does not notice.
#pragma once

#include <cstdint>
#include <string>

#include "emu/machine.h"

namespace understudy::tools {

std::string page_walk_text(emu::Machine& machine, uint64_t linear);
// The mode that decides how addresses are translated, in a few lines.
std::string paging_mode_text(emu::Machine& machine);

}  // namespace understudy::tools
