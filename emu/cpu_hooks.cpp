#include "emu/cpu_hooks.h"

#include "emu/cpuid.h"

namespace understudy::emu {

namespace {

Cpu& cpu_of(void* context) { return *static_cast<Cpu*>(context); }

Access access_of(uc_mem_type type) {
  return type == UC_MEM_WRITE ? Access::write : type == UC_MEM_FETCH ? Access::fetch : Access::read;
}

}  // namespace

void CpuHooks::block(uc_engine*, uint64_t pc, uint32_t size, void* context) {
  auto* record = static_cast<BlockRecord*>(context);
  // Runs before every block there is: a few loads and stores.
  Cpu& cpu = *record->owner;
  const uint64_t after = cpu.icount_ + record->cost;
  if (after > cpu.fast_limit_) [[unlikely]]
    return cpu.block_not_fast(pc, size, record);
  cpu.icount_ = after;
  cpu.running_ = record;
}

void CpuHooks::install(Cpu& cpu) {
  // Function pointers through void*: how Unicorn takes them.
  using Uc = uc_engine*;
  auto translated = +[](Uc, uc_tb* block, uc_tb*, void* context) {
    Cpu& self = cpu_of(context);
    self.guarded([&] { self.blocks_.translated(block->pc, block->size, block->icount); });
    // Out of records: the next block finds that it needs care, and run() starts over with none.
    if (self.blocks_.nearly_full()) self.fast_limit_ = 0;
  };
  auto fill = +[](Uc, uint64_t linear, uc_mem_type type, uc_tlb_entry* entry, void* context) -> bool {
    Cpu& self = cpu_of(context);
    bool filled = false;
    self.guarded([&] {
      Mmu::LinearRange running;
      if (self.running_ != nullptr) running = {self.running_->pc, self.running_->pc + self.running_->size - 1};
      filled = self.mmu_.fill(linear, access_of(type), running, *entry);
    });
    return filled;
  };
  auto interrupt = +[](Uc, uint32_t vector, void* context) {
    Cpu& self = cpu_of(context);
    self.guarded([&] { self.exception_raised(vector, false); });
  };
  auto invalid = +[](Uc, void* context) -> bool {
    Cpu& self = cpu_of(context);
    self.guarded([&] { self.exception_raised(6, true); });
    return true;
  };
  auto in = +[](Uc, uint32_t port, int size, void* context) -> uint32_t {
    Cpu& self = cpu_of(context);
    uint32_t value = ~0u;
    self.guarded([&] {
      self.device_access_ = {Cpu::DeviceAccess::port, port};
      value = self.ports_.read(static_cast<uint16_t>(port), static_cast<unsigned>(size));
      self.device_access_ = {};
      if (self.port_accessed_) self.port_accessed_(static_cast<uint16_t>(port));
    });
    return value;
  };
  auto out = +[](Uc, uint32_t port, int size, uint32_t value, void* context) {
    Cpu& self = cpu_of(context);
    self.guarded([&] {
      self.device_access_ = {Cpu::DeviceAccess::port, port};
      self.ports_.write(static_cast<uint16_t>(port), static_cast<unsigned>(size), value);
      self.device_access_ = {};
      if (self.port_accessed_) self.port_accessed_(static_cast<uint16_t>(port));
    });
  };
  auto rdtsc = +[](Uc, void* context) -> int {
    Cpu& self = cpu_of(context);
    self.guarded([&] {
      self.in_tsc_read_ = true;
      const uint64_t value = self.msrs_.tsc(self.board_.read_tsc_clock());
      self.in_tsc_read_ = false;
      EngineCpu& record = self.engine_.cpu();
      record.regs[kRax] = static_cast<uint32_t>(value);
      record.regs[kRdx] = value >> 32;
    });
    return 1;
  };
  auto rdtscp = +[](Uc, void* context) -> int {
    Cpu& self = cpu_of(context);
    self.guarded([&] {
      self.in_tsc_read_ = true;
      const uint64_t value = self.msrs_.tsc(self.board_.read_tsc_clock());
      self.in_tsc_read_ = false;
      EngineCpu& record = self.engine_.cpu();
      record.regs[kRax] = static_cast<uint32_t>(value);
      record.regs[kRdx] = value >> 32;
      record.regs[kRcx] = static_cast<uint32_t>(record.tsc_aux);
    });
    return 1;
  };
  auto cpuid = +[](Uc, void* context) -> int {
    Cpu& self = cpu_of(context);
    self.guarded([&] {
      constexpr uint64_t kApicEnabled = 1u << 11;
      const uint64_t base = self.board_.msr.read_apic_base ? self.board_.msr.read_apic_base() : kApicEnabled;
      execute_cpuid(self.engine_.cpu(), (base & kApicEnabled) != 0);
    });
    return 1;
  };
  auto syscall = +[](Uc, void* context) {
    Cpu& self = cpu_of(context);
    self.guarded([&] { self.system_call(false); });
  };
  auto sysenter = +[](Uc, void* context) {
    Cpu& self = cpu_of(context);
    self.guarded([&] { self.system_call(true); });
  };
  auto add = [&cpu](int type, auto* callback, int instruction = 0) {
    cpu.engine_.add_hook(type, reinterpret_cast<void*>(callback), &cpu, instruction);
  };
  add(UC_HOOK_EDGE_GENERATED, translated);
  add(UC_HOOK_TLB_FILL, fill);
  add(UC_HOOK_INTR, interrupt);
  add(UC_HOOK_INSN_INVALID, invalid);
  add(UC_HOOK_INSN, in, UC_X86_INS_IN);
  add(UC_HOOK_INSN, out, UC_X86_INS_OUT);
  add(UC_HOOK_INSN, rdtsc, UC_X86_INS_RDTSC);
  add(UC_HOOK_INSN, rdtscp, UC_X86_INS_RDTSCP);
  add(UC_HOOK_INSN, cpuid, UC_X86_INS_CPUID);
  add(UC_HOOK_INSN, syscall, UC_X86_INS_SYSCALL);
  add(UC_HOOK_INSN, sysenter, UC_X86_INS_SYSENTER);
}

}  // namespace understudy::emu
