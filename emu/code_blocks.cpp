#include "emu/code_blocks.h"

#include <Zydis/Zydis.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <new>

#include "emu/memory_writes.h"
#include "emu/segment_load.h"
#include "emu/x87_functions.h"

namespace understudy::emu {

namespace {

constexpr size_t kLongestInstruction = 15;
constexpr size_t kLongestBlock = 2 * kPageSize;
constexpr size_t kIndexEntries = 4096;

struct Instruction {
  uint8_t map = 0;
  uint8_t opcode = 0;
  uint8_t length = 0;
  uint8_t reg = 0;
  uint8_t rm = 0;
  bool memory = false;
};

// One decoder a mode; lengths and opcodes only.
class Decoder {
 public:
  explicit Decoder(const EngineCpu& cpu) {
    const unsigned mode = cpu.hflags & hflags::kCs64 ? 2 : cpu.hflags & hflags::kCs32 ? 1 : 0;
    decoder_ = &decoders()[mode];
  }
  bool decode(std::span<const uint8_t> bytes, Instruction& out) const {
    ZydisDecodedInstruction instruction;
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(decoder_, nullptr, bytes.data(), bytes.size(), &instruction)))
      return false;
    const auto& modrm = instruction.raw.modrm;
    out.map = static_cast<uint8_t>(instruction.opcode_map);
    out.opcode = instruction.opcode;
    out.length = instruction.length;
    out.reg = static_cast<uint8_t>(modrm.reg | instruction.raw.rex.R << 3);
    out.rm = static_cast<uint8_t>(modrm.rm | instruction.raw.rex.B << 3);
    out.memory = (instruction.attributes & ZYDIS_ATTRIB_HAS_MODRM) && modrm.mod != 3;
    return true;
  }

 private:
  static std::array<ZydisDecoder, 3>& decoders() {
    static std::array<ZydisDecoder, 3> all = [] {
      std::array<ZydisDecoder, 3> made{};
      ZydisDecoderInit(&made[0], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
      ZydisDecoderInit(&made[1], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
      ZydisDecoderInit(&made[2], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
      for (ZydisDecoder& decoder : made) ZydisDecoderEnableMode(&decoder, ZYDIS_DECODER_MODE_MINIMAL, ZYAN_TRUE);
      return made;
    }();
    return all;
  }
  const ZydisDecoder* decoder_;
};

bool is_port_io(const Instruction& i) {
  return i.map == 0 && ((i.opcode >= 0x6c && i.opcode <= 0x6f) || (i.opcode >= 0xe4 && i.opcode <= 0xe7) ||
                        (i.opcode >= 0xec && i.opcode <= 0xef));
}

bool is_into(const Instruction& i) { return i.map == 0 && i.opcode == 0xce; }

// CMPXCHG8B and CMPXCHG16B read flags that the translator has not brought up to date, except where nothing in the block
// has set or read them before.
bool is_wide_exchange(const Instruction& i) { return i.map == 1 && i.opcode == 0xc7 && (i.reg & 7) == 1 && i.memory; }

// BT, BTS, BTR, BTC. Only CF is theirs; what the translator makes of OF and AF, which the manual leaves undefined,
// depends on whether it has seen the instruction that set the flags before, and so on where the block starts.
bool is_bit_test(const Instruction& i) {
  if (i.map != 1) return false;
  return i.opcode == 0xa3 || i.opcode == 0xab || i.opcode == 0xb3 || i.opcode == 0xbb ||
         (i.opcode == 0xba && (i.reg & 7) >= 4);
}

// Instructions that leave the arithmetic flags alone; not all of them.
bool leaves_flags(const Instruction& i) {
  const uint8_t op = i.opcode;
  if (i.map == 0)
    return (op >= 0x50 && op <= 0x5f) || op == 0x63 || op == 0x68 || op == 0x6a || (op >= 0x86 && op <= 0x8d) ||
           (op >= 0x90 && op <= 0x99) || (op >= 0xa0 && op <= 0xa3) || (op >= 0xb0 && op <= 0xbf) || op == 0xc6 ||
           op == 0xc7;
  if (i.map == 1)
    return (op >= 0x10 && op <= 0x1f) || op == 0x28 || op == 0x29 || (op >= 0x40 && op <= 0x4f) ||
           (op >= 0x90 && op <= 0x9f) || op == 0xb6 || op == 0xb7 || op == 0xbe || op == 0xbf ||
           (op >= 0xc8 && op <= 0xcf);
  return false;
}

// Of those, the ones that do not look at them either.
bool ignores_flags(const Instruction& i) {
  const bool conditional = i.map == 1 && ((i.opcode & 0xf0) == 0x40 || (i.opcode & 0xf0) == 0x90);  // CMOVcc, SETcc
  return leaves_flags(i) && !conditional;
}

// Of those that leave them alone, the ones that can neither fault nor tell anybody what OF and AF are.
bool is_blind_to_flags(const Instruction& i) {
  if (i.memory && !(i.map == 0 && i.opcode == 0x8d)) return false;
  const uint8_t op = i.opcode;
  const bool reads_cf_or_zf = (op & 0xf) >= 2 && (op & 0xf) <= 7;  // of SETcc and CMOVcc
  if (i.map == 0)
    return op == 0x63 || (op >= 0x88 && op <= 0x8b) || op == 0x8d || op == 0x90 || op == 0x98 || op == 0x99 ||
           (op >= 0xb0 && op <= 0xbf) || op == 0xc6 || op == 0xc7;
  if (i.map == 1)
    return ((op & 0xf0) == 0x40 && reads_cf_or_zf) || ((op & 0xf0) == 0x90 && reads_cf_or_zf) || op == 0xb6 ||
           op == 0xb7 || op == 0xbe || op == 0xbf;
  return false;
}

// Arithmetic between registers and constants that sets OF and AF anew whatever they were.
bool renews_flags(const Instruction& i) {
  if (i.map != 0 || i.memory) return false;
  const uint8_t op = i.opcode;
  return (op < 0x40 && (op & 7) < 6) || op == 0x80 || op == 0x81 || op == 0x83 || op == 0x84 || op == 0x85 ||
         op == 0xa8 || op == 0xa9 || ((op == 0xf6 || op == 0xf7) && ((i.reg & 7) <= 1 || (i.reg & 7) == 3));
}

// Port I/O that must be checked against IOPL and the TSS first, because the engine does not.
bool ports_are_checked(const EngineCpu& cpu) {
  if (in_real_mode(cpu)) return false;
  const unsigned iopl = static_cast<unsigned>(cpu.eflags >> 12) & 3;
  return in_v86(cpu) || current_privilege(cpu) > iopl;
}

// Instructions that read the x87 status word or MXCSR, and those that (also) replace them.
Intercept fp_access(const Instruction& i) {
  const unsigned reg = i.reg & 7;
  if (i.map == 1) {
    if (i.opcode != 0xae || !i.memory || reg > 3) return Intercept::none;
    return reg == 0 || reg == 3 ? Intercept::fp_read : Intercept::fp_load;  // FXSAVE, FXRSTOR, LDMXCSR, STMXCSR
  }
  if (i.opcode == 0x9b) return Intercept::fp_read;  // FWAIT
  if (i.memory) {
    if (i.opcode == 0xd9 && reg == 4) return Intercept::fp_load;                // FLDENV
    if (i.opcode == 0xd9 && reg == 6) return Intercept::fp_read;                // FNSTENV
    if (i.opcode == 0xdd && (reg == 4 || reg == 6)) return Intercept::fp_load;  // FRSTOR, FNSAVE
    if (i.opcode == 0xdd && reg == 7) return Intercept::fp_read;                // FNSTSW
    return Intercept::none;
  }
  if (i.opcode == 0xdf && reg == 4) return Intercept::fp_read;  // FNSTSW AX
  if (i.opcode == 0xdb && reg == 4) return Intercept::fp_load;  // FNCLEX, FNINIT
  return Intercept::none;
}

// Far JMP, CALL and RET, IRET, SYSRET and SYSEXIT. What enters the kernel by an event or a system call is known anyway.
bool may_change_privilege(const Instruction& i) {
  if (i.map == 1) return i.opcode == 0x07 || i.opcode == 0x35;
  if (i.map != 0) return false;
  return i.opcode == 0x9a || i.opcode == 0xea || i.opcode == 0xca || i.opcode == 0xcb || i.opcode == 0xcf ||
         (i.opcode == 0xff && ((i.reg & 7) == 3 || (i.reg & 7) == 5));
}

Intercept intercept_of(const Instruction& i, const EngineCpu& cpu) {
  if (i.map == 1) {
    switch (i.opcode) {
      case 0x30:
        return Intercept::msr_write;
      case 0x32:
        return Intercept::msr_read;
      case 0x33:
        return Intercept::rdpmc;
      case 0x20:
      case 0x22:
        return i.reg == 8 ? Intercept::cr8 : Intercept::none;
      case 0x23:
        return Intercept::debug_register;
      default:
        return fp_access(i);
    }
  }
  if (i.map != 0) return Intercept::none;
  if (is_port_io(i)) return ports_are_checked(cpu) ? Intercept::port_check : Intercept::none;
  if (i.opcode == 0xf1) return Intercept::icebp;  // the engine takes it for its own breakpoint and never comes back
  if (i.opcode == 0xd9 && !i.memory && is_x87_function(i.reg, i.rm)) return Intercept::x87_function;
  if (i.opcode == 0x9b || (i.opcode >= 0xd8 && i.opcode <= 0xdf)) return fp_access(i);
  const bool segmented = !in_real_mode(cpu) && !in_long_mode(cpu) && !in_v86(cpu);
  if (!segmented) return Intercept::none;
  if (i.opcode == 0x9a || i.opcode == 0xea) return Intercept::far_transfer;
  if (i.opcode == 0xff && ((i.reg & 7) == 3 || (i.reg & 7) == 5)) return Intercept::far_transfer;
  if (i.opcode == 0xcf) return Intercept::iret;
  return Intercept::none;
}

bool contains(const std::vector<uint64_t>& ascending, uint64_t address) {
  return !ascending.empty() && std::binary_search(ascending.begin(), ascending.end(), address);
}

}  // namespace

void CodeBlocks::Unmap::operator()(BlockRecord* records) const { munmap(records, kRecords * sizeof(BlockRecord)); }

CodeBlocks::CodeBlocks(Engine& engine, Mmu& mmu, Cpu& owner, void* callback)
    : engine_(engine), mmu_(mmu), owner_(owner), indices_(kIndexEntries) {
  void* pages = mmap(nullptr, kRecords * sizeof(BlockRecord), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) throw std::bad_alloc();
  records_.reset(static_cast<BlockRecord*>(pages));
  current_ = &fresh_record();
  const uc_hook hook = engine_.add_hook(UC_HOOK_BLOCK, callback, current_);
  hook_data_ = hook_user_data(hook, current_);
  keep_one_note(hook_data_);
}

BlockRecord& CodeBlocks::fresh_record() {
  BlockRecord& record = records_[used_];
  // The last record is shared by all blocks that find no other; it is never trusted.
  if (used_ + 1 < kRecords) ++used_;
  record = {kNeedsCare, &owner_, 0, 0, 0, 0, 0, BlockAction::unknown, Intercept::none, false, false};
  return record;
}

void CodeBlocks::translated(uint64_t pc, uint32_t size, uint32_t count) {
  ++translated_;
  // Outside long mode the engine's block addresses may exceed 32 bits.
  if (!(engine_.cpu().hflags & hflags::kLma)) pc = static_cast<uint32_t>(pc);
  if (current_->action == BlockAction::unknown && used_ + 1 < kRecords) analyse(*current_, pc, size, count);
  use_fresh_record();
}

void CodeBlocks::use_fresh_record() {
  current_ = &fresh_record();
  *hook_data_ = current_;
}

void CodeBlocks::analyse(BlockRecord& record, uint64_t pc, uint32_t size, uint32_t count) {
  uint8_t buffer[kLongestBlock + kLongestInstruction];
  const size_t readable = mmu_.peek(pc, std::span(buffer).first(std::min<size_t>(size, kLongestBlock)));
  const EngineCpu& cpu = engine_.cpu();
  const Decoder decoder(cpu);
  const bool mixed = mmu_.is_mixed_code(pc) || mmu_.is_mixed_code(pc + size - 1);
  record.pc = pc;
  record.size = size;
  record.limit = 0;
  record.intercept = Intercept::none;
  record.last_offset = 0;
  record.may_change_privilege = false;
  record.breakpoint = false;
  uint32_t offset = 0, index = 0;
  uint32_t open_bit_test = 0;  // index of a bit test whose undefined flags somebody may still see; 0: none
  bool stores_first = false;   // to what may be its own bytes
  bool flags_set = false;      // by an instruction of this block
  bool flags_used = false;     // set or read
  auto shorten = [&](uint32_t limit) {
    if (record.limit == 0) record.limit = static_cast<uint16_t>(limit);
  };
  Instruction i;
  while (offset < readable && decoder.decode(std::span(buffer).subspan(offset, readable - offset), i)) {
    record.last_offset = static_cast<uint16_t>(offset);
    const bool last = offset + i.length >= size;
    if (last && watches_privilege_) record.may_change_privilege = may_change_privilege(i);
    if (contains(breakpoints_, pc + offset) || contains(guest_breakpoints_, pc + offset)) {
      if (index == 0)
        record.breakpoint = true;
      else
        shorten(index);
    }
    const Intercept intercept = intercept_of(i, cpu);
    if (intercept != Intercept::none) {
      if (index == 0)
        record.intercept = intercept;
      else
        shorten(index);
    }
    // Not behind an open bit test, whose flags could then be seen. Ahead of port I/O: INS stores too.
    if (mixed && !certainly_writes_nothing(i.map, i.opcode, i.reg, i.memory)) {
      stores_first |= index == 0;
      shorten(open_bit_test != 0 ? open_bit_test : std::max(index, 1u));
    }
    if (intercept == Intercept::fp_load && !last) shorten(index + 1);
    // INTO ends a block only when it is taken.
    if ((is_port_io(i) || is_into(i)) && !last) shorten(index + 1);
    if (is_wide_exchange(i) && flags_used) shorten(index);
    flags_used |= !ignores_flags(i);
    if (open_bit_test != 0) {
      if (renews_flags(i))
        open_bit_test = 0;
      else if (!is_blind_to_flags(i))
        shorten(open_bit_test);
    }
    if (is_bit_test(i)) {
      if (flags_set && open_bit_test == 0) open_bit_test = index;
    } else {
      flags_set |= !leaves_flags(i);
    }
    offset += i.length;
    ++index;
  }
  if (open_bit_test != 0) shorten(open_bit_test);
  if (mixed && offset < size) shorten(std::max(index, 1u));
  record.count = count != 0 ? count : std::max(index, 1u);
  const bool resumes = cpu.eflags & eflags::kRf;
  if (resumes && record.count > 1) record.limit = 1;
  // A REP or a CALL that stores to its own bytes would run again and count twice, unless its block was translated with
  // a limit of one; that it is one instruction anyway is not enough.
  if (record.limit >= record.count && !(stores_first && record.count == 1)) record.limit = 0;
  record.action = record.intercept != Intercept::none ? BlockAction::intercept
                  : record.limit != 0                 ? BlockAction::shorten
                  : resumes                           ? BlockAction::resume
                                                      : BlockAction::run;
  const bool plain = record.action == BlockAction::run && !record.may_change_privilege && !record.breakpoint;
  record.cost = plain ? record.count : kNeedsCare;
}

void CodeBlocks::entered_unknown(BlockRecord& record, uint64_t pc, uint32_t size) {
  analyse(record, pc, size, 0);
  // The engine announces a block only as the successor of another: the first one that a fresh engine translates comes
  // unannounced, and the record baked into it must not serve the next one too.
  if (&record == current_) use_fresh_record();
}

uint32_t CodeBlocks::index_of(const BlockRecord& record, uint64_t at) {
  const uint64_t block_pc = record.pc;
  if (at == block_pc) return 0;
  IndexEntry& entry = indices_[(at ^ at >> 12 ^ reinterpret_cast<uintptr_t>(&record) >> 5) % kIndexEntries];
  if (entry.record == &record && entry.at == at) return entry.index;
  uint8_t buffer[kLongestBlock + kLongestInstruction];
  const size_t readable = mmu_.peek(block_pc, std::span(buffer).first(std::min<size_t>(record.size, kLongestBlock)));
  const Decoder decoder(engine_.cpu());
  uint32_t offset = 0, index = 0;
  Instruction i;
  while (block_pc + offset < at && offset < readable &&
         decoder.decode(std::span(buffer).subspan(offset, readable - offset), i)) {
    offset += i.length;
    ++index;
  }
  entry = {&record, at, index};
  return index;
}

uint32_t CodeBlocks::whole_in_page(uint64_t pc) {
  uint8_t buffer[kPageSize];
  const size_t room = kPageSize - (pc & ~kPageMask);
  const size_t readable = mmu_.peek(pc, std::span(buffer).first(room));
  const Decoder decoder(engine_.cpu());
  uint32_t offset = 0, count = 0;
  Instruction i;
  while (offset < readable && decoder.decode(std::span(buffer).subspan(offset, readable - offset), i)) {
    offset += i.length;
    ++count;
  }
  return count;
}

CodeBlocks::Opcode CodeBlocks::opcode_at(uint64_t pc) {
  uint8_t buffer[kLongestInstruction];
  const size_t readable = mmu_.peek(pc, buffer);
  Instruction i;
  if (!Decoder(engine_.cpu()).decode(std::span(buffer).first(readable), i)) return {};
  return {i.map, i.opcode, i.length, i.reg, i.rm, i.memory};
}

bool CodeBlocks::set_breakpoints(std::vector<uint64_t> addresses) {
  std::sort(addresses.begin(), addresses.end());
  if (addresses == breakpoints_) return false;
  breakpoints_ = std::move(addresses);
  return true;
}

bool CodeBlocks::set_guest_breakpoints(std::vector<uint64_t> addresses) {
  if (addresses == guest_breakpoints_) return false;
  guest_breakpoints_ = std::move(addresses);
  return true;
}

bool CodeBlocks::is_debuggers_breakpoint(uint64_t pc) const { return contains(breakpoints_, pc); }

void CodeBlocks::reset() {
  engine_.drop_all_code();
  ++generation_;
  used_ = 0;
  std::fill(indices_.begin(), indices_.end(), IndexEntry{});
  use_fresh_record();
}

}  // namespace understudy::emu
