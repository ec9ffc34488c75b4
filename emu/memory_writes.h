// Which instructions certainly leave memory as it is. Code that shares its page with data is cut in front of all
// others, so that an instruction that may change the page runs alone and nothing after it has been translated too
// early. The opcode maps are those of the SDM, Vol. 2D, appendix A; what is not listed counts as writing.
#pragma once

#include <cstdint>

namespace understudy::emu {

// `map` 0 is the one-byte map, 1 is 0F. `reg` is ModRM's reg field; `memory` says that ModRM names memory.
bool certainly_writes_nothing(uint8_t map, uint8_t opcode, uint8_t reg, bool memory);

}  // namespace understudy::emu
