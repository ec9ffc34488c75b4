#include "emu/engine.h"

#include <fmt/format.h>

#include <string>

namespace understudy::emu {

namespace {

// Translated code is bounded: a full buffer is flushed and refilled, at a cost of milliseconds.
constexpr uint32_t kCodeBufferBytes = 96u << 20;

void check(uc_err error, const char* what) {
  if (error != UC_ERR_OK) throw EngineError(fmt::format("Unicorn engine: {}: {}", what, uc_strerror(error)));
}

}  // namespace

Engine::Engine() {
  check(uc_open(UC_ARCH_X86, UC_MODE_64, &handle_), "open");
  try {
    check(uc_ctl_set_cpu_model(handle_, UC_CPU_X86_NEHALEM), "CPU model");
    check(uc_ctl_set_tcg_buffer_size(handle_, kCodeBufferBytes), "code buffer size");
    // An empty list of exits: with an `until` address the engine would invent an exit at it.
    check(uc_ctl_exits_enable(handle_), "exits");
    layout_ = locate_engine_layout(handle_);
  } catch (...) {
    uc_close(handle_);
    throw;
  }
}

Engine::~Engine() { uc_close(handle_); }

uint32_t Engine::flags() const {
  uint64_t value = 0;
  uc_reg_read(handle_, UC_X86_REG_EFLAGS, &value);
  // The arithmetic flags and DF come from the engine's computation; the others are the record's, because computed
  // flags can carry stale system bits after CMPXCHG8B.
  constexpr uint32_t kComputed = eflags::kArithmetic | eflags::kDf;
  return (static_cast<uint32_t>(value) & kComputed) | (static_cast<uint32_t>(cpu().eflags) & ~kComputed) |
         eflags::kReserved1;
}

void Engine::set_x87_control(uint16_t value) { check(uc_reg_write(handle_, UC_X86_REG_FPCW, &value), "FPCW"); }

void Engine::set_mxcsr(uint32_t value) { check(uc_reg_write(handle_, UC_X86_REG_MXCSR, &value), "MXCSR"); }

void Engine::set_control_registers(uint64_t cr0, uint64_t cr4, uint64_t efer) {
  // Paging decides LMA when it is switched on, so EFER and CR4 come first.
  // A fresh engine claims to be in long mode without paging. One that leaves long mode cuts RIP.
  const uint64_t rip = cpu().eip;
  uint64_t off = cr0 & ~cr0::kPg;
  check(uc_reg_write(handle_, UC_X86_REG_CR0, &off), "CR0");
  cpu().efer = 0;
  cpu().hflags &= ~(hflags::kLma | hflags::kCs64);
  uc_x86_msr msr{0xC0000080, efer & ~efer::kLma};
  check(uc_reg_write(handle_, UC_X86_REG_MSR, &msr), "EFER");
  check(uc_reg_write(handle_, UC_X86_REG_CR4, &cr4), "CR4");
  check(uc_reg_write(handle_, UC_X86_REG_CR0, &cr0), "CR0");
  cpu().eip = rip;
}

void Engine::map_memory(uint64_t address, uint64_t size, uint8_t* host) {
  check(uc_mem_map_ptr(handle_, address, size, UC_PROT_ALL, host), "map memory");
}

void Engine::map_io(uint64_t address, uint64_t size, uc_cb_mmio_read_t read, uc_cb_mmio_write_t write, void* context) {
  check(uc_mmio_map(handle_, address, size, read, context, write, context), "map I/O");
}

uc_hook Engine::add_hook(int type, void* callback, void* context, int instruction) {
  uc_hook hook = 0;
  check(uc_hook_add(handle_, &hook, type, callback, context, 1, 0, instruction), "add a hook");
  return hook;
}

uc_err Engine::run() {
  // On its way in the engine takes the arithmetic flags and DF out of the EFLAGS word, where it leaves them on its way
  // out. Flags that were set in between (set_eflags) are in cc_src and df only.
  EngineCpu& record = cpu();
  if (record.cc_op == kCcOpEflags) {
    constexpr uint64_t kComputed = eflags::kArithmetic | eflags::kDf;
    record.eflags =
        (record.eflags & ~kComputed) | (record.cc_src & eflags::kArithmetic) | (record.df < 0 ? eflags::kDf : 0);
  }
  return uc_emu_start(handle_, record.eip, 0, 0, 0);
}

void Engine::stop() { uc_emu_stop(handle_); }

void Engine::look_up_again(uint32_t limit) {
  *layout_.next_block_limit = limit;
  const uint64_t rip = cpu().eip;
  // Writing RIP from a hook makes the engine leave the block and look up where to go on.
  uc_reg_write(handle_, UC_X86_REG_RIP, &rip);
}

void Engine::use_walker(Walker walker) {
  check(uc_ctl_tlb_mode(handle_, walker == Walker::ours ? UC_TLB_VIRTUAL : UC_TLB_CPU), "TLB mode");
  flush_tlb();
}

void Engine::flush_tlb() { check(uc_ctl_flush_tlb(handle_), "flush TLB"); }

template <typename F>
void Engine::for_each_tlb_entry(F&& function) {
  for (const TlbMode& mode : layout_.tlb) {
    const uint64_t entries = mode.fast->mask / sizeof(TlbEntry) + 1;
    for (uint64_t i = 0; i < entries; ++i) function(mode.fast->table[i]);
    for (unsigned i = 0; i < kTlbVictims; ++i) function(mode.victims[i]);
  }
}

void Engine::forbid_writes(uint64_t page) {
  for_each_tlb_entry([page](TlbEntry& entry) {
    if (entry.paddr == page) entry.addr_write = ~0ull;
  });
}

void Engine::forbid_all_writes() {
  for_each_tlb_entry([](TlbEntry& entry) { entry.addr_write = ~0ull; });
}

void Engine::forbid_fetches(uint64_t page) {
  for_each_tlb_entry([page](TlbEntry& entry) {
    if (entry.paddr == page) entry.addr_code = ~0ull;
  });
}

void Engine::forget_page(uint64_t page) {
  auto matches = [page](const TlbEntry& entry) {
    constexpr uint64_t kPageMask = ~0xfffull;
    return ((entry.addr_read ^ page) & kPageMask) == 0 || ((entry.addr_write ^ page) & kPageMask) == 0 ||
           ((entry.addr_code ^ page) & kPageMask) == 0;
  };
  auto forget = [&](TlbEntry& entry) {
    if (matches(entry)) entry.addr_read = entry.addr_write = entry.addr_code = ~0ull;
  };
  for (const TlbMode& mode : layout_.tlb) {
    const uint64_t entries = mode.fast->mask / sizeof(TlbEntry) + 1;
    forget(mode.fast->table[(page >> 12) & (entries - 1)]);
    for (unsigned i = 0; i < kTlbVictims; ++i) forget(mode.victims[i]);
  }
}

void Engine::drop_code(uint64_t alias, uint64_t size) {
  check(uc_ctl_remove_cache(handle_, alias, alias + size), "drop translated code");
  forget_page(alias);
}

void Engine::drop_all_code() { check(uc_ctl_flush_tb(handle_), "drop all translated code"); }

}  // namespace understudy::emu
