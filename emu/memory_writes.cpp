#include "emu/memory_writes.h"

namespace understudy::emu {

namespace {

// ADD to CMP in their six forms: memory is only written as the destination of the first two, and never by CMP.
bool arithmetic(uint8_t opcode, bool memory) {
  const unsigned form = opcode & 7;
  if (form >= 6) return false;  // PUSH and POP of segments, prefixes, BCD
  return form >= 2 || !memory || (opcode & 0x38) == 0x38;
}

bool one_byte(uint8_t opcode, uint8_t reg, bool memory) {
  if (opcode < 0x40) return arithmetic(opcode, memory);
  if (opcode < 0x50) return true;                     // INC, DEC
  if (opcode >= 0x58 && opcode < 0x60) return true;   // POP register
  if (opcode >= 0x70 && opcode < 0x80) return true;   // Jcc
  if (opcode >= 0x90 && opcode <= 0x99) return true;  // XCHG with the accumulator, CBW, CWD
  if (opcode >= 0xb0 && opcode < 0xc0) return true;   // MOV register, immediate
  switch (opcode) {
    case 0x80:
    case 0x81:
    case 0x83:
      return !memory || reg == 7;
    case 0x84:
    case 0x85:  // TEST
    case 0x8a:
    case 0x8b:
    case 0x8d:
    case 0xa0:
    case 0xa1:  // MOV to a register, LEA
    case 0xa8:
    case 0xa9:  // TEST
    case 0xc2:
    case 0xc3:  // RET
    case 0xc9:  // LEAVE
    case 0xe0:
    case 0xe1:
    case 0xe2:
    case 0xe3:
    case 0xe9:
    case 0xeb:  // LOOP, JCXZ, JMP
    case 0xf5:
    case 0xf8:
    case 0xf9:
    case 0xfa:
    case 0xfc:
    case 0xfd:  // CMC, CLC, STC, CLI, CLD, STD
      return true;
    case 0x86:
    case 0x87:
    case 0x88:
    case 0x89:
    case 0xc0:
    case 0xc1:
    case 0xc6:
    case 0xc7:
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
      return !memory;
    case 0xf6:
    case 0xf7:
      return !memory || (reg != 2 && reg != 3);  // NOT and NEG write
    case 0xfe:
      return !memory;
    case 0xff:
      return (!memory && reg <= 1) || reg == 4;  // INC, DEC, JMP
    default:
      return false;
  }
}

bool two_byte(uint8_t opcode, bool memory) {
  if (opcode >= 0x40 && opcode < 0x50) return true;     // CMOVcc
  if (opcode >= 0x80 && opcode < 0x90) return true;     // Jcc
  if (opcode >= 0x90 && opcode < 0xa0) return !memory;  // SETcc
  switch (opcode) {
    case 0xa3:  // BT
    case 0xaf:  // IMUL
    case 0xb6:
    case 0xb7:
    case 0xbe:
    case 0xbf:  // MOVZX, MOVSX
      return true;
    default:
      return false;
  }
}

}  // namespace

bool certainly_writes_nothing(uint8_t map, uint8_t opcode, uint8_t reg, bool memory) {
  if (map == 0) return one_byte(opcode, reg & 7, memory);
  return map == 1 && two_byte(opcode, memory);
}

}  // namespace understudy::emu
