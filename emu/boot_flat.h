// Starts code that is its own boot loader: a flat image copied into RAM and entered in real mode (as a BIOS enters a
// boot sector), or a ROM that ends at 4 GiB and is entered at the reset vector (Intel SDM vol. 3, section 9.1.4), with
// its last 128 KiB also below 1 MiB as a chipset shadows it. SeaBIOS boots this way.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "emu/boot_plan.h"
#include "emu/memory_layout.h"

namespace understudy::emu {

struct RealModeAddress {
  uint16_t segment = 0;
  uint16_t offset = 0;
};

struct FlatBoot {
  std::string name;  // for messages
  std::span<const uint8_t> image;
  uint64_t address = 0x7c00;
  std::optional<RealModeAddress> entry;  // none: 0:address below 64 KiB, else address >> 4 : 0
};

// Throws BootError. RAM below 640 KiB must hold the image.
BootPlan plan_flat(const FlatBoot& boot, const MemoryLayout& memory);

// Throws BootError. A ROM that is not a whole number of pages is padded in front.
BootPlan plan_rom(const std::string& name, std::span<const uint8_t> image);

}  // namespace understudy::emu
