#include "emu/stack_frame.h"

#include <cstring>

#include "emu/segment_load.h"

namespace understudy::emu {

StackFrame::StackFrame(const SegmentCache& stack, uint64_t stack_pointer, unsigned width)
    : segment_(stack),
      sp_(static_cast<uint32_t>(stack_pointer)),
      mask_(stack.flags & descriptor::kBig ? 0xffffffff : 0xffff),
      width_(width) {}

StackFrame::StackFrame(uint64_t stack_pointer) : segment_{}, sp_(stack_pointer), mask_(~uint64_t{0}), width_(8) {}

bool StackFrame::fits() const {
  const bool flat = mask_ == ~uint64_t{0};
  const bool expands_down =
      !(segment_.flags & descriptor::kCode) && (segment_.flags & descriptor::kExpandDown) && !flat;
  for (unsigned i = 1; i <= count_; ++i) {
    const uint64_t first = offset(i);
    const uint64_t last = first + width_ - 1;
    if (flat) {
      if (!is_canonical(first) || !is_canonical(last)) return false;
    } else if (expands_down ? first <= segment_.limit || last > mask_ : last > segment_.limit) {
      return false;
    }
  }
  return true;
}

void StackFrame::write(const EngineCpu& cpu, LinearMemory& memory) const {
  const auto address = [&](unsigned pushes) { return wrap_linear(cpu, segment_.base + offset(pushes)); };
  const size_t total = size_t{count_} * width_;
  if (address(1) - address(count_) == total - width_) {
    uint8_t bytes[sizeof words_];
    for (unsigned i = 0; i < count_; ++i) std::memcpy(bytes + total - (i + 1) * width_, &words_[i], width_);
    try {
      memory.write(address(count_), bytes, total);
      return;
    } catch (const GuestFault&) {
      // Push by push below: the CPU reports the first push that fails, which is the highest address.
    }
  }
  for (unsigned i = 0; i < count_; ++i) memory.write(address(i + 1), &words_[i], width_);
}

}  // namespace understudy::emu
