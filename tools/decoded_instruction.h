// An instruction for people and for programs: its text (Capstone), and which memory and registers it may touch (Zydis).
// What depends on the CPU's mode and on the bytes is found once; what depends on register values is worked out for each
// time the instruction runs: see touched_memory.h.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "emu/engine_cpu.h"

namespace understudy::tools {

// One memory operand, explicit or not. Descriptor tables and TSSs, which the CPU reads by itself, are none.
struct MemoryOperand {
  static constexpr int8_t kNoRegister = -1, kInstructionPointer = 16;
  enum class Where : uint8_t {
    computed,  // segment:base + index * scale + displacement
    pushed,    // where the stack pointer is after the instruction
    popped,    // where the stack pointer is before the instruction
  };
  Where where = Where::computed;
  bool read = false, write = false;
  uint16_t size = 0;  // bytes
  uint8_t segment = emu::kDs;
  int8_t base = kNoRegister, index = kNoRegister;
  uint8_t scale = 0;
  uint8_t index_bits = 64;    // how much of the index register counts: 8 for XLAT
  uint8_t address_bits = 64;  // where offsets wrap
  int64_t displacement = 0;
  int8_t bit_index = kNoRegister;  // of BT and its like: the register that counts bits from the address on
};

struct DecodedInstruction {
  uint8_t length = 0;
  std::array<uint8_t, 15> bytes{};
  std::string text;          // "mov eax, dword ptr [ebx]", or "(bad)"
  uint8_t operand_bits = 0;  // 16, 32 or 64
  bool changes_flags = true;
  bool uses_fpu = false;  // x87, MMX or SSE state may change
  bool repeats = false;   // REP: no memory is touched when the count register is 0
  bool is_iret = false;
  uint8_t address_bits = 64;
  uint8_t memory_count = 0;
  std::array<MemoryOperand, 3> memory{};
};

class InstructionDecoder {
 public:
  InstructionDecoder();
  ~InstructionDecoder();
  InstructionDecoder(const InstructionDecoder&) = delete;
  InstructionDecoder& operator=(const InstructionDecoder&) = delete;

  // In the CPU's present mode; `bytes` are those at CS:`ip`, as many as can be read, up to 15.
  DecodedInstruction decode(const emu::EngineCpu& cpu, uint64_t ip, std::span<const uint8_t> bytes);

 private:
  struct Mode;
  std::array<std::unique_ptr<Mode>, 3> modes_;  // 16, 32 and 64 bits
};

}  // namespace understudy::tools
