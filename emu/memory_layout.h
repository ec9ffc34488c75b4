// Where things are in the guest's physical memory, as a boot loader is told (ACPI 6.4 section 15.2, "E820"), and the
// low-memory places that the boot planners share. RAM is one piece from 0 and ends below the PCI hole at 3 GiB; the
// last 64 KiB of it hold firmware tables in boots without a BIOS. Units: bytes.
#pragma once

#include <cstdint>
#include <vector>

#include "emu/boot_plan.h"

namespace understudy::emu {

// The numbers are E820's.
enum class MemoryType : uint32_t { usable = 1, reserved = 2 };

struct MemoryRange {
  uint64_t base;
  uint64_t length;
  MemoryType type;
};

class MemoryLayout {
 public:
  static constexpr uint64_t kMiB = 1 << 20;
  static constexpr uint64_t kMinRam = 2 * kMiB;
  static constexpr uint64_t kMaxRam = 3072 * kMiB;
  static constexpr uint64_t kTableArea = 64 << 10;
  static constexpr uint64_t kLowEnd = 0x9fc00;    // the EBDA begins: the end of base memory
  static constexpr uint64_t kBiosBase = 0xf0000;  // anchors of the firmware tables, up to 1 MiB
  static constexpr uint64_t kHighBase = kMiB;

  // Throws BootError when `ram_size` is not a whole number of pages or outside kMinRam..kMaxRam.
  explicit MemoryLayout(uint64_t ram_size);

  uint64_t ram_size() const { return ram_size_; }
  // The end of memory that a kernel may use, and the start of the firmware tables.
  uint64_t high_end() const { return ram_size_ - kTableArea; }
  std::vector<MemoryRange> ranges() const;
  // Whether base..base+length is usable memory as a whole.
  bool usable(uint64_t base, uint64_t length) const;

 private:
  uint64_t ram_size_;
};

// The BIOS data area words that kernels still read when no BIOS ran: serial ports, EBDA segment, base memory, and the
// text mode (IBM PC BIOS data area, 400h-4FFh).
Chunk bios_data_area();

}  // namespace understudy::emu
