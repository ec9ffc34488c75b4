// What the board tells firmware, or, when none runs, what firmware would have left in memory. One description of the
// machine feeds both ways, so that a guest sees the same PC however it was booted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "devices/fw_cfg.h"
#include "emu/boot_plan.h"
#include "emu/memory_layout.h"

namespace understudy::devices {

enum class BootDevice { floppy, disk, virtio_disk, cdrom, network };

struct FirmwareSetup {
  uint64_t ram_size = 0;       // bytes
  uint32_t cpu_signature = 0;  // CPUID 1, EAX
  uint32_t cpu_features = 0;   // CPUID 1, EDX
  bool boot_menu = false;      // SeaBIOS waits for Esc and offers a menu
  // Tried in this order. Devices are where the board has them: floppy drive 0, the first disk on the primary IDE
  // channel as master, the CD on the secondary channel as master, cards in their slots.
  std::vector<BootDevice> boot_order;
};

struct OptionRom {
  std::string name;  // file name within SeaBIOS's vgaroms/ folder
  std::vector<uint8_t> bytes;
};

// All keys and files that SeaBIOS 1.16 reads on this board.
void add_firmware_files(FwCfg& fw_cfg, const FirmwareSetup& setup, const std::vector<OptionRom>& vga_roms);

struct DirectBootTables {
  std::vector<emu::Chunk> chunks;
  uint64_t rsdp_address = 0;
};

// ACPI, MP and SMBIOS tables for a plan that bypasses the firmware: anchors in F0000h..FFFFFh, ACPI tables in the
// memory that `memory` reserves at the top of RAM. The F segment must be writable RAM when the chunks are copied.
DirectBootTables direct_boot_tables(const emu::MemoryLayout& memory, const FirmwareSetup& setup);

}  // namespace understudy::devices
