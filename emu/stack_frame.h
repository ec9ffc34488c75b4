// The words that one event pushes on one stack: gathered, checked against the stack segment's limit as a whole, then
// written. Nothing of the CPU record changes here. The stack's width follows from the segment (SDM Vol. 1 6.2.3).
#pragma once

#include <cstdint>

#include "emu/engine_cpu.h"
#include "emu/linear_memory.h"

namespace understudy::emu {

class StackFrame {
 public:
  // `width` bytes a word: 2 or 4.
  StackFrame(const SegmentCache& stack, uint64_t stack_pointer, unsigned width);
  // Of 64-bit mode: flat, 8 bytes a word.
  explicit StackFrame(uint64_t stack_pointer);

  void push(uint64_t word) { words_[count_++] = word; }
  // Whether each word lies inside the segment, or, in 64-bit mode, at canonical addresses.
  bool fits() const;
  // Throws #PF, with the address of the first push that fails, as if they were done one by one.
  void write(const EngineCpu& cpu, LinearMemory& memory) const;
  // The stack register after the pushes: a 16-bit stack leaves its upper half alone.
  uint64_t stack_pointer() const { return (sp_ & ~mask_) | offset(count_); }

 private:
  // Where the stack pointer is after `pushes` words.
  uint64_t offset(unsigned pushes) const { return (sp_ - uint64_t{pushes} * width_) & mask_; }

  SegmentCache segment_;
  uint64_t sp_;
  uint64_t mask_;
  unsigned width_;
  unsigned count_ = 0;
  uint64_t words_[10] = {};  // the most is a fault in V86: four data segments, SS, SP, flags, CS, IP, error code
};

}  // namespace understudy::emu
