#include "emu/segment_load.h"

namespace understudy::emu {

namespace {

constexpr uint32_t kSystemFlags =
    eflags::kTf | eflags::kIf | eflags::kIopl | eflags::kNt | eflags::kRf | eflags::kVm | eflags::kAc | eflags::kId;

uint32_t with(uint32_t word, uint32_t bit, bool on) { return on ? word | bit : word & ~bit; }

// Whether translated code must add the bases of DS, ES and SS.
bool bases_count(const EngineCpu& cpu) {
  if (cpu.hflags & hflags::kCs64) return false;
  if (in_real_mode(cpu) || (cpu.eflags & eflags::kVm) || !(cpu.hflags & hflags::kCs32)) return true;
  return (cpu.segs[kDs].base | cpu.segs[kEs].base | cpu.segs[kSs].base) != 0;
}

}  // namespace

unsigned current_privilege(const EngineCpu& cpu) {
  if (in_real_mode(cpu)) return 0;
  return in_v86(cpu) ? 3 : cpu.hflags & hflags::kCpl;
}

uint64_t descriptor_address(const EngineCpu& cpu, uint16_t selector) {
  const SegmentCache& table = selector & 4 ? cpu.ldt : cpu.gdt;
  return wrap_linear(cpu, table.base + (selector & ~7u));
}

std::optional<Descriptor> fetch_descriptor(const EngineCpu& cpu, LinearMemory& memory, uint16_t selector) {
  const SegmentCache& table = selector & 4 ? cpu.ldt : cpu.gdt;
  if ((selector | 7u) > table.limit) return std::nullopt;
  Descriptor descriptor{};
  memory.read(descriptor_address(cpu, selector), &descriptor, sizeof descriptor);
  return descriptor;
}

void mark_accessed(const EngineCpu& cpu, LinearMemory& memory, uint16_t selector, Descriptor& in_hand) {
  if (in_hand.high & descriptor::kAccessed) return;
  in_hand.high |= descriptor::kAccessed;
  const auto type_byte = static_cast<uint8_t>(in_hand.high >> 8);
  memory.write(wrap_linear(cpu, descriptor_address(cpu, selector) + 5), &type_byte, 1);
}

void load_segment(EngineCpu& cpu, SegmentIndex index, const SegmentCache& cache) {
  cpu.segs[index] = cache;
  cpu.segs[index].padding = 0;
  uint32_t flags = cpu.hflags;
  if (index == kCs) {
    const bool is_64bit = (flags & hflags::kLma) && (cache.flags & descriptor::kLong);
    flags = with(flags, hflags::kCs64, is_64bit);
    flags = with(flags, hflags::kCs32, is_64bit || (cache.flags & descriptor::kBig));
  }
  if (index == kSs) flags = (flags & ~hflags::kCpl) | (cache.flags >> descriptor::kDplShift & 3);
  cpu.hflags = with(flags, hflags::kSs32, cpu.segs[kSs].flags & descriptor::kBig);
  cpu.hflags = with(cpu.hflags, hflags::kAddSeg, bases_count(cpu));
}

void load_null_segment(EngineCpu& cpu, SegmentIndex index, uint16_t selector, unsigned privilege) {
  load_segment(cpu, index, {selector, 0, 0, 0, privilege << descriptor::kDplShift});
}

void load_v86_segment(EngineCpu& cpu, SegmentIndex index, uint16_t selector) {
  load_segment(cpu, index,
               {selector, 0, static_cast<uint64_t>(selector) << 4, 0xffff,
                descriptor::kPresent | descriptor::kNotSystem | descriptor::kWritable | descriptor::kAccessed |
                    3u << descriptor::kDplShift});
}

uint32_t get_eflags(const EngineCpu& cpu, FlagsSource& source) {
  return (static_cast<uint32_t>(cpu.eflags) & kSystemFlags) | (source.arithmetic_flags() & eflags::kArithmetic) |
         (cpu.df < 0 ? eflags::kDf : 0) | eflags::kReserved1;
}

void set_eflags(EngineCpu& cpu, uint32_t flags) {
  cpu.cc_src = flags & eflags::kArithmetic;
  cpu.cc_op = kCcOpEflags;
  cpu.df = flags & eflags::kDf ? -1 : 1;
  cpu.eflags = (flags & kSystemFlags) | eflags::kReserved1;
}

}  // namespace understudy::emu
