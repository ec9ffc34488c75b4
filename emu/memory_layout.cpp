#include "emu/memory_layout.h"

#include <string>

#include "emu/byte_writer.h"

namespace understudy::emu {

MemoryLayout::MemoryLayout(uint64_t ram_size) : ram_size_(ram_size) {
  if (ram_size < kMinRam || ram_size > kMaxRam || ram_size % 4096 != 0)
    throw BootError("memory", std::to_string(ram_size) + " bytes of RAM are not possible: give " +
                                  std::to_string(kMinRam / kMiB) + " to " + std::to_string(kMaxRam / kMiB) +
                                  " MiB (RAM ends below the PCI hole at 3 GiB)");
}

std::vector<MemoryRange> MemoryLayout::ranges() const {
  return {{0, kLowEnd, MemoryType::usable},
          {kLowEnd, 0xa0000 - kLowEnd, MemoryType::reserved},
          {kBiosBase, kHighBase - kBiosBase, MemoryType::reserved},
          {kHighBase, high_end() - kHighBase, MemoryType::usable},
          {high_end(), kTableArea, MemoryType::reserved}};
}

bool MemoryLayout::usable(uint64_t base, uint64_t length) const {
  for (const MemoryRange& r : ranges())
    if (r.type == MemoryType::usable && base >= r.base && base - r.base <= r.length &&
        length <= r.length - (base - r.base))
      return true;
  return false;
}

Chunk bios_data_area() {
  ByteWriter bda(0x100);
  bda.patch(0x00, 0x3f8, 2);
  bda.patch(0x02, 0x2f8, 2);
  bda.patch(0x0e, MemoryLayout::kLowEnd >> 4, 2);
  bda.patch(0x10, 0x0427, 2);  // equipment: floppy, FPU, mouse, 80x25 colour, two serial ports
  bda.patch(0x13, MemoryLayout::kLowEnd >> 10, 2);
  bda.patch(0x49, 3, 1);  // video mode
  bda.patch(0x4a, 80, 2);
  bda.patch(0x63, 0x3d4, 2);
  bda.patch(0x84, 24, 1);  // last row
  bda.patch(0x85, 16, 2);  // character height
  return {0x400, bda.take()};
}

}  // namespace understudy::emu
