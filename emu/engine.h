// Owns the Unicorn handle. Its error codes become exceptions here and nowhere else; above this class the engine is a
// CPU record, a software TLB, and blocks of translated code that can be counted, limited and dropped.
#pragma once

#include <unicorn/unicorn.h>

#include <cstdint>

#include "emu/engine_layout.h"

namespace understudy::emu {

class Engine {
 public:
  // Opens a 64-bit engine of the Nehalem model: the newest one without RDRAND, which would execute with host
  // randomness. One engine runs every mode from real to long. Throws EngineError.
  Engine();
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  uc_engine* handle() const { return handle_; }
  EngineCpu& cpu() { return *layout_.cpu; }
  const EngineCpu& cpu() const { return *layout_.cpu; }

  // The current EFLAGS, arithmetic flags computed. Valid between blocks and in hooks.
  uint32_t flags() const;
  void set_x87_control(uint16_t value);
  void set_mxcsr(uint32_t value);
  // Loads CR0, CR4 and EFER with the engine's own derived state (translation flags, TLB).
  void set_control_registers(uint64_t cr0, uint64_t cr4, uint64_t efer);

  // Maps `host` at guest-physical `address`; the caller keeps the memory alive.
  void map_memory(uint64_t address, uint64_t size, uint8_t* host);
  void map_io(uint64_t address, uint64_t size, uc_cb_mmio_read_t read, uc_cb_mmio_write_t write, void* context);
  // `callback` has the type that Unicorn documents for `type`.
  uc_hook add_hook(int type, void* callback, void* context, int instruction = 0);

  // Runs from the current RIP until something stops it.
  uc_err run();
  // From a hook: leave run() before the next block.
  void stop();
  // From a block hook: do not run the block, but look it up again with at most `limit` instructions (~0u: no limit),
  // at the record's current RIP.
  void look_up_again(uint32_t limit);
  // From outside a run: the first block has at most `limit` instructions.
  void limit_next_block(uint32_t limit) { *layout_.next_block_limit = limit; }
  // The exact linear address of the access that the fill callback refused last.
  uint64_t refused_address() const { return *layout_.refused_address; }

  enum class Walker { ours, engines };
  // Who walks the guest's page tables at a TLB miss. Flushes the TLB.
  void use_walker(Walker walker);

  void flush_tlb();
  // Takes one right from every TLB entry of a physical page.
  void forbid_writes(uint64_t physical_page_address);
  // The same for every page.
  void forbid_all_writes();
  void forbid_fetches(uint64_t physical_page_address);
  // Drops the entries of one linear page; falls back to flushing everything when they cannot be found.
  void forget_page(uint64_t linear_page_address);
  // Drops translated code of the physical page that our fill callback maps `alias` to.
  void drop_code(uint64_t alias, uint64_t size);
  void drop_all_code();

 private:
  template <typename F>
  void for_each_tlb_entry(F&& function);
  uc_engine* handle_ = nullptr;
  EngineLayout layout_;
};

}  // namespace understudy::emu
