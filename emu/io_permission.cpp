#include "emu/io_permission.h"

#include "emu/segment_load.h"

namespace understudy::emu {

namespace {

constexpr uint32_t kType32 = 1u << 11;       // of a TSS descriptor; 64-bit TSSs have it too
constexpr unsigned kIoMapBaseOffset = 0x66;  // the last word of the TSS's fixed part

}  // namespace

bool io_allowed(const EngineCpu& cpu, LinearMemory& memory, uint16_t port, unsigned size, uint32_t eflags) {
  if (in_real_mode(cpu)) return true;
  if (!in_v86(cpu) && current_privilege(cpu) <= (eflags & eflags::kIopl) >> 12) return true;
  const SegmentCache& tss = cpu.tr;
  const uint32_t kind = descriptor::kPresent | kType32;
  if ((tss.flags & kind) != kind || tss.limit < kIoMapBaseOffset + 1) return false;
  uint16_t map;
  memory.read(wrap_linear(cpu, tss.base + kIoMapBaseOffset), &map, sizeof map);
  // Two bytes are always read, so that an access may straddle them; both must be inside the TSS.
  const uint32_t offset = map + port / 8u;
  if (offset + 1 > tss.limit) return false;
  uint16_t bits;
  memory.read(wrap_linear(cpu, tss.base + offset), &bits, sizeof bits);
  return (bits >> port % 8 & ((1u << size) - 1)) == 0;
}

}  // namespace understudy::emu
