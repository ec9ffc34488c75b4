// Where an instruction reads and writes memory, this time: its decoded operands with the values that the registers have
// then. Accesses that no operand stands for (descriptor tables, task switches, page walks, the frames of interrupts and
// call gates) are not seen.
#pragma once

#include <array>
#include <cstdint>

#include "emu/machine.h"
#include "tools/decoded_instruction.h"

namespace understudy::tools {

struct MemoryTouch {
  uint64_t address = 0;  // linear
  uint16_t size = 0;
  bool write = false;
  bool known = false;  // `value` was read; not for devices, unmapped memory and what is larger than the array
  std::array<uint8_t, 16> value{};
};

// Reads memory as the guest sees it, without being noticed.
class TouchedMemory {
 public:
  explicit TouchedMemory(emu::Machine& machine) : mmu_(machine.cpu().mmu()), cpu_(machine.cpu().engine().cpu()) {}

  // Before the instruction: what it will read, with the values that it will find there; where it will write.
  void before(const DecodedInstruction& instruction);
  // After it: what it wrote.
  void after(const DecodedInstruction& instruction);

  const MemoryTouch* begin() const { return touches_.data(); }
  const MemoryTouch* end() const { return touches_.data() + count_; }

 private:
  uint64_t computed(const MemoryOperand& operand) const;
  uint64_t stack_top() const;
  void add(uint64_t address, uint16_t size, bool write);
  void look(MemoryTouch& touch);

  emu::Mmu& mmu_;
  const emu::EngineCpu& cpu_;
  // Two an operand.
  std::array<MemoryTouch, 6> touches_;
  unsigned count_ = 0;
  unsigned privilege_ = 0;
};

}  // namespace understudy::tools
