// The walk over the guest's page tables: 32-bit, PAE and 4-level (SDM Vol. 3A chapter 4), without a TLB. It decides,
// then sets accessed and dirty bits, so a refused access changes nothing. As the engine's model: no PCID, SMEP, SMAP
// or 1 GiB pages; PDPTEs are read at each walk.
#pragma once

#include <cstdint>

#include "emu/engine_cpu.h"
#include "emu/physical_memory.h"

namespace understudy::emu {

enum class Access : uint8_t { read, write, fetch };

// Bits of a page fault's error code (SDM Vol. 3A 4.7).
constexpr uint32_t kPfPresent = 1, kPfWrite = 2, kPfUser = 4, kPfReserved = 8, kPfFetch = 16;

struct Translation {
  bool ok = false;
  bool writable = false;  // a store needs no further look at the tables: permitted, and the dirty bit is set
  bool executable = false;
  uint32_t error_code = 0;  // when not ok
  uint64_t physical = 0;    // when ok: of the exact linear address, A20 not applied
  // When ok: where the entries are that it came from.
  static constexpr unsigned kMaxEntries = 4;
  unsigned entry_count = 0;
  uint64_t entries[kMaxEntries] = {};
};

enum class AccessedBits : bool { leave, set };

// Translates `linear` for an access with user or supervisor privilege. Non-canonical addresses are the caller's to
// refuse (#GP); here they are not present.
Translation walk_pages(const EngineCpu& cpu, PhysicalMemory& memory, uint64_t a20_mask, uint64_t linear, Access access,
                       bool user, AccessedBits bits);

}  // namespace understudy::emu
