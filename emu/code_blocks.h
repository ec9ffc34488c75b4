// What the CPU must know of each translated block: how many instructions it has, and whether something in it needs
// care before it may run. The translator bakes a hook's data pointer into every block, so each block carries a record
// of its own and counting costs one load: nothing is looked up or decoded at run time.
#pragma once

#include <unicorn/unicorn.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "emu/engine.h"
#include "emu/engine_layout.h"
#include "emu/mmu.h"

namespace understudy::emu {

class Cpu;

enum class BlockAction : uint8_t {
  unknown,    // not analysed yet
  run,        // as it is
  shorten,    // look it up again with `limit` instructions
  intercept,  // its first instruction is ours to execute, or to look at
  resume      // one instruction that EFLAGS.RF spares its breakpoint; RF ends with it
};

enum class Intercept : uint8_t {
  none,
  msr_read,
  msr_write,
  rdpmc,
  cr8,
  port_check,
  far_transfer,
  iret,
  icebp,
  fp_read,
  fp_load,
  x87_function,
  debug_register
};

struct BlockRecord {
  // The block's instructions; beyond any count while the action is not `run`, so that one comparison finds both.
  uint64_t cost;
  Cpu* owner;
  uint64_t pc;    // linear
  uint32_t size;  // in bytes
  uint32_t count;
  uint16_t last_offset;  // of the last instruction, in bytes
  uint16_t limit;
  BlockAction action;
  Intercept intercept;
  bool may_change_privilege;  // known only while privilege is watched
  bool breakpoint;            // on its first instruction, the guest's or a debugger's
};
constexpr uint64_t kNeedsCare = 1ull << 62;

class CodeBlocks {
 public:
  // Installs the block hook, with `callback` of type uc_cb_hookcode_t receiving a BlockRecord*.
  CodeBlocks(Engine& engine, Mmu& mmu, Cpu& owner, void* callback);

  // The block at `pc` (linear) has been translated with the record at hand; gives the next block its own.
  void translated(uint64_t pc, uint32_t size, uint32_t count);
  // A block runs whose record is unknown: its translation was not announced, or what it knew was dropped.
  void entered_unknown(BlockRecord& record, uint64_t pc, uint32_t size);

  // How many instructions of the block come before linear address `at`.
  uint32_t index_of(const BlockRecord& record, uint64_t at);
  // How many whole instructions start and end in the page of `pc`, from there on.
  uint32_t whole_in_page(uint64_t pc);
  // The opcode at an address, prefixes skipped: 0 when it cannot be read.
  struct Opcode {
    uint8_t map = 0;  // 0 one-byte, 1 0F, ...
    uint8_t byte = 0;
    uint8_t length = 0;
    uint8_t modrm_reg = 0;  // with REX.R
    uint8_t modrm_rm = 0;   // with REX.B
    bool modrm_memory = false;
  };
  Opcode opcode_at(uint64_t pc);

  // Throws away every record and block. Only between runs.
  void reset();
  // How often that was done.
  uint64_t generation() const { return generation_; }
  // Which of at most kRecords a record is.
  size_t number_of(const BlockRecord& record) const { return static_cast<size_t>(&record - records_.get()); }
  static constexpr size_t kRecords = 1u << 19;
  // From the next reset() on, blocks that may leave the privilege level need care.
  void watch_privilege(bool watch) { watches_privilege_ = watch; }
  // From the next reset() on, instructions at these linear addresses begin blocks that need care: a debugger's, and
  // those of the guest's debug registers. False if these are the addresses already.
  bool set_breakpoints(std::vector<uint64_t> addresses);
  bool set_guest_breakpoints(std::vector<uint64_t> addresses);
  bool is_debuggers_breakpoint(uint64_t pc) const;
  bool nearly_full() const { return used_ + 4096 > kRecords; }
  uint64_t blocks_translated() const { return translated_; }
  // What the engine remembers of them beside their code.
  size_t engine_notes() const { return block_notes(hook_data_); }

 private:
  BlockRecord& fresh_record();
  void use_fresh_record();
  // `count` 0: by decoding.
  void analyse(BlockRecord& record, uint64_t pc, uint32_t size, uint32_t count);

  Engine& engine_;
  Mmu& mmu_;
  Cpu& owner_;
  struct Unmap {
    void operator()(BlockRecord* records) const;
  };
  std::unique_ptr<BlockRecord[], Unmap> records_;
  size_t used_ = 0;
  uint64_t translated_ = 0;
  uint64_t generation_ = 0;
  bool watches_privilege_ = false;
  std::vector<uint64_t> breakpoints_, guest_breakpoints_;  // ascending
  BlockRecord* current_ = nullptr;
  void** hook_data_ = nullptr;
  struct IndexEntry {
    const BlockRecord* record = nullptr;
    uint64_t at = 0;
    uint32_t index = 0;
  };
  std::vector<IndexEntry> indices_;
};

}  // namespace understudy::emu
