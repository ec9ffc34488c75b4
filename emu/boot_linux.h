// Starts a Linux bzImage without a BIOS: lays out kernel, initrd, command line and zero page, and enters through the
// 32-bit or the 64-bit boot protocol (Linux Documentation/arch/x86/boot.rst; field offsets from there). Also boots what
// imitates a bzImage (memtest86+). The kernel is loaded whole and unpacks itself.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "emu/boot_plan.h"
#include "emu/memory_layout.h"

namespace understudy::emu {

enum class LinuxEntry { bits32, bits64 };

struct LinuxBoot {
  std::string kernel_name;  // for messages
  std::span<const uint8_t> kernel;
  std::string initrd_name;
  std::span<const uint8_t> initrd;  // empty: none
  std::string command_line;
  LinuxEntry entry = LinuxEntry::bits32;
  bool text_screen = true;    // tells the kernel of a VGA in 80x25 text mode
  uint64_t rsdp_address = 0;  // 0: the kernel searches for the ACPI tables itself
};

// Throws BootError.
BootPlan plan_linux(const LinuxBoot& boot, const MemoryLayout& memory);

}  // namespace understudy::emu
