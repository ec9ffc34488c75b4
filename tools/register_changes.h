// Which registers an instruction changed: remembers what they were, and compares.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "emu/machine.h"

namespace understudy::tools {

class RegisterChanges {
 public:
  explicit RegisterChanges(emu::Machine& machine)
      : cpu_(machine.cpu().engine().cpu()), engine_(machine.cpu().engine()) {}

  // From here on.
  void remember();

  // Calls `changed(name, value, digits)` for each register that is another than it was, in hexadecimal digits as the
  // CPU's mode has them, and remembers what it is. `with_flags` and `with_fpu`: whether these can have changed; to look
  // costs more than all else. 80 and 128 bit registers come as two values, the high one first, the second without name.
  template <typename F>
  void compare(bool with_flags, bool with_fpu, F&& changed);

 private:
  static constexpr unsigned kControls = 7;
  struct State {
    std::array<uint64_t, 16> general;
    std::array<uint64_t, kControls> control;  // as in register_names::kControl
    std::array<uint32_t, 6> selectors;
    uint32_t flags;
  };
  struct FpuState {
    std::array<uint64_t, 8> mantissas;
    std::array<uint16_t, 8> exponents;
    std::array<std::array<uint64_t, 2>, 16> vectors;
    uint32_t control, status, mxcsr;
  };
  void take_fpu(FpuState& state) const;

  const emu::EngineCpu& cpu_;
  const emu::Engine& engine_;
  State was_{};
  FpuState fpu_was_{};
};

namespace register_names {
constexpr const char* kWide[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                   "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
constexpr const char* kNarrow[8] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};
constexpr const char* kSegments[6] = {"es", "cs", "ss", "ds", "fs", "gs"};
constexpr const char* kControl[7] = {"cr0", "cr2", "cr3", "cr4", "efer", "fs_base", "gs_base"};
// By their place in the register file, not by the top of the stack (SDM Vol. 1 8.1.2).
constexpr const char* kX87[8] = {"fpr0", "fpr1", "fpr2", "fpr3", "fpr4", "fpr5", "fpr6", "fpr7"};
constexpr const char* kVector[16] = {"xmm0", "xmm1", "xmm2",  "xmm3",  "xmm4",  "xmm5",  "xmm6",  "xmm7",
                                     "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"};
}  // namespace register_names

template <typename F>
void RegisterChanges::compare(bool with_flags, bool with_fpu, F&& changed) {
  const bool wide = (cpu_.hflags & emu::hflags::kCs64) != 0;
  const unsigned count = wide ? 16 : 8;
  for (unsigned i = 0; i < count; ++i) {
    if (was_.general[i] == cpu_.regs[i]) continue;
    if (wide)
      changed(register_names::kWide[i], cpu_.regs[i], 16);
    else if (static_cast<uint32_t>(was_.general[i]) != static_cast<uint32_t>(cpu_.regs[i]))
      changed(register_names::kNarrow[i], cpu_.regs[i] & 0xffffffff, 8);
    was_.general[i] = cpu_.regs[i];
  }
  if (with_flags) {
    const uint32_t flags = engine_.flags();
    if (flags != was_.flags) changed("eflags", flags, 8);
    was_.flags = flags;
  }
  for (unsigned i = 0; i < 6; ++i) {
    const uint32_t selector = cpu_.segs[i].selector & 0xffff;
    if (selector != was_.selectors[i]) changed(register_names::kSegments[i], selector, 4);
    was_.selectors[i] = selector;
  }
  const uint64_t controls[kControls] = {
      cpu_.cr[0], cpu_.cr[2], cpu_.cr[3], cpu_.cr[4], cpu_.efer, cpu_.segs[emu::kFs].base, cpu_.segs[emu::kGs].base};
  for (unsigned i = 0; i < kControls; ++i) {
    // Outside of 64-bit code a segment's base follows from its selector.
    if (controls[i] != was_.control[i] && (wide || i < 5))
      changed(register_names::kControl[i], controls[i], wide ? 16 : 8);
    was_.control[i] = controls[i];
  }
  if (!with_fpu) return;
  FpuState now{};
  take_fpu(now);
  for (unsigned i = 0; i < 8; ++i)
    if (now.mantissas[i] != fpu_was_.mantissas[i] || now.exponents[i] != fpu_was_.exponents[i]) {
      changed(register_names::kX87[i], now.exponents[i], 4);
      changed(nullptr, now.mantissas[i], 16);
    }
  for (unsigned i = 0; i < 16; ++i)
    if (now.vectors[i] != fpu_was_.vectors[i]) {
      changed(register_names::kVector[i], now.vectors[i][1], 16);
      changed(nullptr, now.vectors[i][0], 16);
    }
  if (now.control != fpu_was_.control) changed("fcw", now.control, 4);
  if (now.status != fpu_was_.status) changed("fsw", now.status, 4);
  if (now.mxcsr != fpu_was_.mxcsr) changed("mxcsr", now.mxcsr, 8);
  fpu_was_ = now;
}

}  // namespace understudy::tools
