// Low memory as the direct boots (Linux, multiboot) lay it out below 640 KiB: the planners' own structures sit high up
// in base memory, where neither kernels that relocate themselves downwards (memtest86+ runs at 64 KiB) nor real-mode
// trampolines land. Physical addresses, bytes.
#pragma once

#include <cstdint>

#include "emu/boot_plan.h"

namespace understudy::emu {

inline constexpr uint64_t kPageTables = 0x88000;   // six pages: PML4, PDPT, four directories of 2 MiB pages
inline constexpr uint64_t kBootGdt = 0x8f000;      // flat code 10h, flat data 18h
inline constexpr uint64_t kBootParams = 0x90000;   // Linux's zero page, one page
inline constexpr uint64_t kCommandLine = 0x91000;  // to kCommandLineEnd
inline constexpr uint64_t kCommandLineEnd = 0x9f000;
inline constexpr uint64_t kBootStack = 0x88000;  // grows down from here

inline constexpr uint16_t kBootCode = 0x10;
inline constexpr uint16_t kBootData = 0x18;

// The GDT that the selectors above live in; `long_mode` makes the code segment a 64-bit one.
Chunk boot_gdt(bool long_mode);
// Protected mode, paging off, interrupts off, flat 4 GiB segments from that GDT, empty IDT.
InitialCpu flat_protected_mode();
// The same CPU in 64-bit mode, on page tables at kPageTables that map the first 4 GiB onto itself.
InitialCpu flat_long_mode();
Chunk identity_page_tables();

}  // namespace understudy::emu
