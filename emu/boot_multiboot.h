// Starts a Multiboot 1 kernel (Multiboot Specification 0.6.96; sections in the code): an ELF file of either class, or
// any file with the address fields of header flag 16. Modules go above the kernel, page-aligned, in order; the
// information structure and its strings sit in free base memory. Entry is in 32-bit protected mode.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "emu/boot_plan.h"
#include "emu/memory_layout.h"

namespace understudy::emu {

struct MultibootModule {
  std::string name;  // for messages
  std::span<const uint8_t> bytes;
  std::string command_line;  // what the kernel sees
};

struct MultibootBoot {
  std::string kernel_name;  // for messages
  std::span<const uint8_t> kernel;
  std::string command_line;
  std::vector<MultibootModule> modules;
};

// Throws BootError.
BootPlan plan_multiboot(const MultibootBoot& boot, const MemoryLayout& memory);

}  // namespace understudy::emu
