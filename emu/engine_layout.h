// Where the engine keeps what its API does not show. Everything is found or checked at start-up by writing known
// values through the API and looking where they land; an engine whose layout does not check out is refused, because a
// wrong guess would corrupt a guest silently.
#pragma once

#include <unicorn/unicorn.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "emu/engine_cpu.h"

namespace understudy::emu {

// The engine is not the one this build knows, or an engine call failed where it must not.
class EngineError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// One entry of the engine's software TLB. An address field that is not the page's own address (low bits set, or -1)
// takes the slow path or misses.
struct TlbEntry {
  uint64_t addr_read;
  uint64_t addr_write;
  uint64_t addr_code;
  uint64_t paddr;
  uint64_t addend;
  uint64_t padding[3];
};
static_assert(sizeof(TlbEntry) == 64);

// The TLB of one MMU mode (supervisor with SMAP, user, supervisor): a direct-mapped table that the engine resizes as
// it likes, and a small victim table.
struct TlbMode {
  struct Fast {
    uint64_t mask;  // (entries - 1) * sizeof(TlbEntry)
    TlbEntry* table;
  };
  const Fast* fast;
  TlbEntry* victims;
};
constexpr unsigned kTlbModes = 3;
constexpr unsigned kTlbVictims = 8;

struct EngineLayout {
  EngineCpu* cpu = nullptr;
  // The most instructions that the next block looked up may have; ~0u: no limit. Consumed by that look-up. This is the
  // engine's own mechanism for exact counts: limited blocks are cached under their limit.
  uint32_t* next_block_limit = nullptr;
  // The exact address of the last access that our fill callback refused.
  const uint64_t* refused_address = nullptr;
  TlbMode tlb[kTlbModes] = {};
};

// Checks a throw-away engine of this library version once per process, then finds the same places in `engine`.
// Throws EngineError.
EngineLayout locate_engine_layout(uc_engine* engine);

// Names the library's version and the layout that this build relies on: equal on machines that can take over each
// other's state.
std::string engine_signature();

// Where a hook keeps the pointer it passes to its callback; the translator bakes the current value into each block.
void** hook_user_data(uc_hook hook, void* current_value);

// The engine notes each address and size that a hook of blocks was ever translated at, for uc_hook_del() to find: a
// guest whose programs are elsewhere each time makes it grow without bound. From now on this hook has one note for all
// of them, so it must not be deleted while there is code. `hook_data` is what hook_user_data() returned.
void keep_one_note(void** hook_data);
// How many there are.
size_t block_notes(void** hook_data);

}  // namespace understudy::emu
