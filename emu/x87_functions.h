// The x87 instructions that the engine hands to the host's C library or gets wrong, executed by us: F2XM1, FYL2X,
// FYL2XP1, FPTAN, FPATAN, FSIN, FCOS, FSINCOS, FPREM, FPREM1, FSCALE and FXTRACT. See x87_math for their values. As in
// the rest of the engine's x87, exceptions act as if masked until FWAIT, and empty registers are read as they are.
#pragma once

#include "emu/engine_cpu.h"

namespace understudy::emu {

// Opcode D9 with a register form of ModR/M.
constexpr bool is_x87_function(uint8_t reg, uint8_t rm) {
  switch ((reg & 7) << 3 | (rm & 7)) {
    case 066:  // FDECSTP
    case 067:  // FINCSTP
    case 072:  // FSQRT
    case 074:  // FRNDINT
      return false;
    default:
      return (reg & 7) >= 6;
  }
}

// The instruction at CS:EIP; leaves EIP alone.
void execute_x87_function(EngineCpu& cpu, uint8_t reg, uint8_t rm);

}  // namespace understudy::emu
