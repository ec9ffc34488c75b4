#include "tools/touched_memory.h"

#include <span>

#include "emu/segment_load.h"

namespace understudy::tools {

namespace {

constexpr uint64_t mask_of(unsigned bits) { return bits >= 64 ? ~0ull : (1ull << bits) - 1; }

// BT and its like with a register go up and down from their address, in steps of the operand's size.
uint64_t bit_string_offset(uint64_t bit, unsigned operand_bytes) {
  const unsigned bits = 8 * operand_bytes;
  const int64_t index = bits == 64   ? static_cast<int64_t>(bit)
                        : bits == 32 ? static_cast<int32_t>(bit)
                                     : static_cast<int16_t>(bit);
  const int64_t step = index >> (bits == 64 ? 6 : bits == 32 ? 5 : 4);
  return static_cast<uint64_t>(step) * operand_bytes;
}

}  // namespace

uint64_t TouchedMemory::computed(const MemoryOperand& operand) const {
  uint64_t offset = static_cast<uint64_t>(operand.displacement);
  if (operand.base == MemoryOperand::kInstructionPointer)
    offset += cpu_.eip;
  else if (operand.base != MemoryOperand::kNoRegister)
    offset += cpu_.regs[operand.base];
  if (operand.index != MemoryOperand::kNoRegister)
    offset += (cpu_.regs[operand.index] & mask_of(operand.index_bits)) * operand.scale;
  if (operand.bit_index != MemoryOperand::kNoRegister)
    offset += bit_string_offset(cpu_.regs[operand.bit_index], operand.size);
  offset &= mask_of(operand.address_bits);
  const bool has_base =
      !(cpu_.hflags & emu::hflags::kCs64) || operand.segment == emu::kFs || operand.segment == emu::kGs;
  return emu::wrap_linear(cpu_, offset + (has_base ? cpu_.segs[operand.segment].base : 0));
}

uint64_t TouchedMemory::stack_top() const {
  const uint64_t pointer = cpu_.regs[emu::kRsp];
  if (cpu_.hflags & emu::hflags::kCs64) return pointer;
  const uint64_t offset = pointer & mask_of(cpu_.hflags & emu::hflags::kSs32 ? 32 : 16);
  return emu::wrap_linear(cpu_, cpu_.segs[emu::kSs].base + offset);
}

void TouchedMemory::look(MemoryTouch& touch) {
  touch.known = touch.size <= touch.value.size() &&
                mmu_.peek(touch.address, std::span(touch.value).first(touch.size)) == touch.size;
}

void TouchedMemory::add(uint64_t address, uint16_t size, bool write) {
  MemoryTouch& touch = touches_[count_++];
  touch.address = address;
  touch.size = size;
  touch.write = write;
  touch.known = false;
  if (!write) look(touch);
}

void TouchedMemory::before(const DecodedInstruction& instruction) {
  count_ = 0;
  if (instruction.memory_count == 0) return;
  if (instruction.repeats && (cpu_.regs[emu::kRcx] & mask_of(instruction.address_bits)) == 0) return;
  privilege_ = emu::current_privilege(cpu_);
  for (unsigned i = 0; i < instruction.memory_count; ++i) {
    const MemoryOperand& operand = instruction.memory[i];
    if (operand.where == MemoryOperand::Where::pushed) continue;
    const uint64_t address = operand.where == MemoryOperand::Where::popped ? stack_top() : computed(operand);
    if (operand.read) add(address, operand.size, false);
  }
  for (unsigned i = 0; i < instruction.memory_count; ++i) {
    const MemoryOperand& operand = instruction.memory[i];
    if (operand.write && operand.where == MemoryOperand::Where::computed) add(computed(operand), operand.size, true);
  }
}

void TouchedMemory::after(const DecodedInstruction& instruction) {
  // What an IRET takes from the stack is decided by what it finds there.
  if (instruction.is_iret && count_ == 1 && !emu::in_long_mode(cpu_)) {
    const unsigned word = instruction.operand_bits / 8;
    const bool to_v86 = privilege_ == 0 && emu::in_v86(cpu_);
    touches_[0].size = static_cast<uint16_t>(word * (to_v86 ? 9 : emu::current_privilege(cpu_) != privilege_ ? 5 : 3));
    look(touches_[0]);
  }
  for (unsigned i = 0; i < instruction.memory_count; ++i)
    if (instruction.memory[i].where == MemoryOperand::Where::pushed) add(stack_top(), instruction.memory[i].size, true);
  for (unsigned i = 0; i < count_; ++i)
    if (touches_[i].write) look(touches_[i]);
}

}  // namespace understudy::tools
