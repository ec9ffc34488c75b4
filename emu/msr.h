// Model-specific registers (SDM Vol. 4). All of RDMSR and WRMSR is ours: the engine would drop what it does not know,
// and never checks for canonical addresses. Registers that steer the engine live in its CPU record; the others here.
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "emu/engine.h"
#include "emu/state_visitor.h"

namespace understudy::emu {

// Registers that belong to parts outside of the CPU core.
struct MsrBoard {
  std::function<uint64_t()> read_apic_base;
  std::function<void(uint64_t)> write_apic_base;
  std::function<uint8_t()> read_tpr;  // CR8
  std::function<void(uint8_t)> write_tpr;
};

class MsrFile {
 public:
  // `tsc_clock`: the counter's ticks since power-on at the executing instruction, before the guest's own offset.
  uint64_t read(Engine& engine, const MsrBoard& board, uint32_t index, uint64_t tsc_clock) const;
  // Throws GuestFault (#GP) for what the register refuses.
  void write(Engine& engine, const MsrBoard& board, uint32_t index, uint64_t value, uint64_t tsc_clock);

  uint64_t tsc(uint64_t tsc_clock) const { return tsc_clock + tsc_offset_; }
  void reset();
  void visit_state(StateVisitor& visitor);

 private:
  static constexpr unsigned kVariableRanges = 8;
  uint64_t tsc_offset_ = 0;
  std::array<uint64_t, 2 * kVariableRanges> mtrr_variable_{};  // base, mask, base, mask, ...
  std::array<uint64_t, 11> mtrr_fixed_{};
  uint64_t mtrr_default_ = 0;
  uint64_t bios_signature_ = 0;
};

}  // namespace understudy::emu
