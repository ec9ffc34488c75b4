#include "emu/system_calls.h"

#include "emu/segment_load.h"

namespace understudy::emu {

namespace {

constexpr uint32_t kFlatData = descriptor::kPresent | descriptor::kNotSystem | descriptor::kWritable |
                               descriptor::kAccessed | descriptor::kBig | descriptor::kGranular;
constexpr uint32_t kFlatCode = descriptor::kPresent | descriptor::kNotSystem | descriptor::kCode |
                               descriptor::kReadable | descriptor::kAccessed | descriptor::kGranular;

// CS and SS of ring 0 without a look at the descriptor tables: SS is the next descriptor after CS.
void load_kernel_segments(EngineCpu& cpu, uint16_t selector) {
  const uint32_t code = selector & 0xfffcu;
  const uint32_t size = in_long_mode(cpu) ? descriptor::kLong : descriptor::kBig;
  load_segment(cpu, kCs, {code, 0, 0, 0xffffffff, kFlatCode | size});
  load_segment(cpu, kSs, {(code + 8) & 0xffff, 0, 0, 0xffffffff, kFlatData});
}

}  // namespace

void enter_by_syscall(EngineCpu& cpu, uint32_t eflags, uint64_t next_eip, unsigned engine_adds) {
  if (!in_64bit_code(cpu) || !(cpu.efer & efer::kSce)) throw invalid_opcode();
  cpu.regs[kRcx] = next_eip;
  cpu.regs[11] = eflags & ~eflags::kRf;
  set_eflags(cpu, eflags & ~eflags::kRf & ~static_cast<uint32_t>(cpu.fmask));
  load_kernel_segments(cpu, static_cast<uint16_t>(cpu.star >> 32));
  cpu.eip = cpu.lstar - engine_adds;
}

void enter_by_sysenter(EngineCpu& cpu, unsigned engine_adds) {
  if (in_real_mode(cpu) || !(cpu.sysenter_cs & 0xfffc)) throw fault_with_code(kVectorGp, 0);
  cpu.eflags &= ~uint64_t{eflags::kVm | eflags::kIf | eflags::kRf};
  load_kernel_segments(cpu, static_cast<uint16_t>(cpu.sysenter_cs));
  const uint64_t width = in_long_mode(cpu) ? ~uint64_t{0} : 0xffffffff;
  cpu.regs[kRsp] = cpu.sysenter_esp & width;
  cpu.eip = ((cpu.sysenter_eip & width) - engine_adds) & width;
}

}  // namespace understudy::emu
