// The CPU's architectural state by name: what a snapshot keeps, a digest covers and a comparison shows. Nothing of the
// engine's own bookkeeping is in it but what the guest could notice later.
#include "emu/cpu.h"
#include "emu/segment_load.h"

namespace understudy::emu {

namespace {

void visit_segment(StateVisitor& visitor, std::string_view name, SegmentCache& segment) {
  visitor.begin(name);
  visitor.value("selector", segment.selector);
  visitor.value("base", segment.base);
  visitor.value("limit", segment.limit);
  visitor.value("flags", segment.flags);
  visitor.end();
}

constexpr std::string_view kGeneralNames[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                                "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
constexpr std::string_view kSegmentNames[kSegmentCount] = {"es", "cs", "ss", "ds", "fs", "gs"};
constexpr std::string_view kDebugNames[8] = {"dr0", "dr1", "dr2", "dr3", "dr4", "dr5", "dr6", "dr7"};
constexpr std::string_view kX87Names[8] = {"fpr0", "fpr1", "fpr2", "fpr3", "fpr4", "fpr5", "fpr6", "fpr7"};
constexpr std::string_view kXmmNames[16] = {"xmm0", "xmm1", "xmm2",  "xmm3",  "xmm4",  "xmm5",  "xmm6",  "xmm7",
                                            "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"};
// Translation flags that are facts of their own; the others follow from registers and travel with them.
constexpr uint32_t kNmiBlocked = 1u << 2;

}  // namespace

void Cpu::visit_state(StateVisitor& visitor) {
  EngineCpu& cpu = engine_.cpu();
  visitor.begin("cpu");
  visitor.value("icount", icount_);
  visitor.value("halted", halted_);
  visitor.value("nmi_pending", nmi_pending_);
  visitor.value("interrupt", interrupt_);
  for (unsigned i = 0; i < 16; ++i) visitor.value(kGeneralNames[i], cpu.regs[i]);
  visitor.value("rip", cpu.eip);
  uint32_t flags = engine_.flags();
  visitor.value("eflags", flags);
  for (unsigned i = 0; i < kSegmentCount; ++i) visit_segment(visitor, kSegmentNames[i], cpu.segs[i]);
  visit_segment(visitor, "ldtr", cpu.ldt);
  visit_segment(visitor, "tr", cpu.tr);
  visit_segment(visitor, "gdtr", cpu.gdt);
  visit_segment(visitor, "idtr", cpu.idt);
  uint64_t cr0 = cpu.cr[0], cr4 = cpu.cr[4], efer = cpu.efer;
  visitor.value("cr0", cr0);
  visitor.value("cr2", cpu.cr[2]);
  visitor.value("cr3", cpu.cr[3]);
  visitor.value("cr4", cr4);
  visitor.value("efer", efer);
  bool inhibit = cpu.hflags & hflags::kInhibitIrq, nmi_blocked = cpu.hflags2 & kNmiBlocked;
  uint32_t hidden = cpu.hflags;
  visitor.value("interrupt_shadow", inhibit);
  visitor.value("nmi_blocked", nmi_blocked);
  visitor.value("hidden_flags", hidden);
  uint64_t debug[8];
  for (unsigned i = 0; i < 8; ++i) {
    debug[i] = cpu.dr[i];
    visitor.value(kDebugNames[i], debug[i]);
  }
  bool a20 = mmu_.a20();
  visitor.value("a20", a20);
  visitor.begin("x87");
  visitor.value("top", cpu.fpstt);
  visitor.value("status", cpu.fpus);
  visitor.value("control", cpu.fpuc);
  visitor.value("tags", cpu.fptags);
  for (unsigned i = 0; i < 8; ++i) {
    visitor.begin(kX87Names[i]);
    visitor.value("mantissa", cpu.fpregs[i].mantissa);
    visitor.value("exponent", cpu.fpregs[i].exponent);
    visitor.end();
  }
  visitor.value("opcode", cpu.fpop);
  visitor.value("code_selector", cpu.fpcs);
  visitor.value("data_selector", cpu.fpds);
  visitor.value("instruction_pointer", cpu.fpip);
  visitor.value("data_pointer", cpu.fpdp);
  visitor.value("rounding", cpu.fp_status);
  visitor.end();
  visitor.begin("sse");
  visitor.value("mxcsr", cpu.mxcsr);
  visitor.value("rounding", cpu.sse_status);
  for (unsigned i = 0; i < 16; ++i) {
    visitor.begin(kXmmNames[i]);
    visitor.value("low", cpu.xmm[i].q[0]);
    visitor.value("high", cpu.xmm[i].q[1]);
    visitor.end();
  }
  visitor.end();
  visitor.begin("msr");
  visitor.value("sysenter_cs", cpu.sysenter_cs);
  visitor.value("sysenter_esp", cpu.sysenter_esp);
  visitor.value("sysenter_eip", cpu.sysenter_eip);
  visitor.value("star", cpu.star);
  visitor.value("lstar", cpu.lstar);
  visitor.value("cstar", cpu.cstar);
  visitor.value("fmask", cpu.fmask);
  visitor.value("kernel_gs_base", cpu.kernel_gs_base);
  visitor.value("tsc_aux", cpu.tsc_aux);
  visitor.value("pat", cpu.pat);
  visitor.value("misc_enable", cpu.misc_enable);
  msrs_.visit_state(visitor);
  visitor.end();
  visitor.end();
  if (!visitor.is_loading()) return;

  engine_.set_control_registers(cr0, cr4, efer);
  set_eflags(cpu, flags);
  constexpr uint32_t kFollowsRegisters = hflags::kOsfxsr | hflags::kMp | hflags::kEm | hflags::kTs;
  cpu.hflags = (hidden & ~(kFollowsRegisters | hflags::kInhibitIrq)) | (cpu.hflags & kFollowsRegisters) |
               (inhibit ? hflags::kInhibitIrq : 0);
  cpu.hflags2 = (cpu.hflags2 & ~kNmiBlocked) | (nmi_blocked ? kNmiBlocked : 0);
  for (unsigned i = 0; i < 8; ++i)
    if (i != 4 && i != 5) cpu.dr[i] = debug[i];
  mmu_.set_a20(a20);
  if (keep_code_)
    registers_changed();
  else
    state_changed();
}

}  // namespace understudy::emu
