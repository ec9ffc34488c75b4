#include "tools/decoded_instruction.h"

#include <Zydis/Zydis.h>
#include <capstone/capstone.h>

#include <algorithm>
#include <stdexcept>

namespace understudy::tools {

namespace {

// The number of a general register, whatever its width; AH and its like do not address memory.
int8_t number_of(ZydisRegister reg) {
  if (reg == ZYDIS_REGISTER_NONE) return MemoryOperand::kNoRegister;
  if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP) return MemoryOperand::kInstructionPointer;
  return ZydisRegisterGetId(reg);
}

uint8_t segment_of(ZydisRegister reg) {
  switch (reg) {
    case ZYDIS_REGISTER_ES:
      return emu::kEs;
    case ZYDIS_REGISTER_CS:
      return emu::kCs;
    case ZYDIS_REGISTER_SS:
      return emu::kSs;
    case ZYDIS_REGISTER_FS:
      return emu::kFs;
    case ZYDIS_REGISTER_GS:
      return emu::kGs;
    default:
      return emu::kDs;
  }
}

bool is_stack_pointer(ZydisRegister reg) {
  return reg == ZYDIS_REGISTER_SP || reg == ZYDIS_REGISTER_ESP || reg == ZYDIS_REGISTER_RSP;
}

// Their operand is an address that they do not access, or only hint at.
bool accesses_nothing(ZydisMnemonic mnemonic) {
  switch (mnemonic) {
    case ZYDIS_MNEMONIC_NOP:
    case ZYDIS_MNEMONIC_PREFETCH:
    case ZYDIS_MNEMONIC_PREFETCHNTA:
    case ZYDIS_MNEMONIC_PREFETCHT0:
    case ZYDIS_MNEMONIC_PREFETCHT1:
    case ZYDIS_MNEMONIC_PREFETCHT2:
    case ZYDIS_MNEMONIC_PREFETCHW:
    case ZYDIS_MNEMONIC_INVLPG:
    case ZYDIS_MNEMONIC_CLFLUSH:
      return true;
    default:
      return false;
  }
}

bool is_bit_test(ZydisMnemonic mnemonic) {
  return mnemonic == ZYDIS_MNEMONIC_BT || mnemonic == ZYDIS_MNEMONIC_BTC || mnemonic == ZYDIS_MNEMONIC_BTR ||
         mnemonic == ZYDIS_MNEMONIC_BTS;
}

// What enters or leaves the kernel takes flags from somewhere else than its operands.
bool changes_flags(const ZydisDecodedInstruction& instruction) {
  switch (instruction.meta.category) {
    case ZYDIS_CATEGORY_INTERRUPT:
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_SYSRET:
    case ZYDIS_CATEGORY_SYSTEM:
      return true;
    case ZYDIS_CATEGORY_RET:
      if (instruction.mnemonic != ZYDIS_MNEMONIC_RET) return true;
      break;
    default:
      break;
  }
  const ZydisAccessedFlags* const flags = instruction.cpu_flags;
  return flags != nullptr && (flags->modified | flags->set_0 | flags->set_1 | flags->undefined) != 0;
}

MemoryOperand memory_operand(const ZydisDecodedInstruction& instruction, const ZydisDecodedOperand* operands,
                             const ZydisDecodedOperand& operand) {
  MemoryOperand made;
  made.read = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0;
  made.write = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
  made.size = static_cast<uint16_t>(operand.size / 8);
  const bool implicit = operand.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN;
  if (implicit && is_stack_pointer(operand.mem.base)) {
    made.where = made.write ? MemoryOperand::Where::pushed : MemoryOperand::Where::popped;
    made.segment = emu::kSs;
    return made;
  }
  made.segment = segment_of(operand.mem.segment);
  made.base = number_of(operand.mem.base);
  made.index = number_of(operand.mem.index);
  made.scale = operand.mem.index == ZYDIS_REGISTER_NONE ? 0 : operand.mem.scale;
  made.address_bits = instruction.address_width;
  made.displacement = operand.mem.disp.has_displacement ? operand.mem.disp.value : 0;
  if (made.base == MemoryOperand::kInstructionPointer) made.displacement += instruction.length;
  if (instruction.mnemonic == ZYDIS_MNEMONIC_XLAT) {
    made.index = emu::kRax;
    made.scale = 1;
    made.index_bits = 8;
  }
  // POP to memory: its address is computed with the stack pointer of afterwards.
  if (instruction.mnemonic == ZYDIS_MNEMONIC_POP && is_stack_pointer(operand.mem.base)) made.displacement += made.size;
  if (is_bit_test(instruction.mnemonic) && operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
    made.bit_index = number_of(operands[1].reg.value);
  return made;
}

}  // namespace

struct InstructionDecoder::Mode {
  ZydisDecoder zydis{};
  csh capstone = 0;
  cs_insn* instruction = nullptr;

  Mode(ZydisMachineMode machine, ZydisStackWidth stack, cs_mode mode) {
    ZydisDecoderInit(&zydis, machine, stack);
    if (cs_open(CS_ARCH_X86, mode, &capstone) != CS_ERR_OK) throw std::runtime_error("Capstone has no x86");
    instruction = cs_malloc(capstone);
  }
  ~Mode() {
    if (instruction != nullptr) cs_free(instruction, 1);
    cs_close(&capstone);
  }
  Mode(const Mode&) = delete;
  Mode& operator=(const Mode&) = delete;
};

InstructionDecoder::InstructionDecoder()
    : modes_{std::make_unique<Mode>(ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16, CS_MODE_16),
             std::make_unique<Mode>(ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32, CS_MODE_32),
             std::make_unique<Mode>(ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64, CS_MODE_64)} {}

InstructionDecoder::~InstructionDecoder() = default;

DecodedInstruction InstructionDecoder::decode(const emu::EngineCpu& cpu, uint64_t ip, std::span<const uint8_t> bytes) {
  Mode& mode = *modes_[cpu.hflags & emu::hflags::kCs64 ? 2 : cpu.hflags & emu::hflags::kCs32 ? 1 : 0];
  DecodedInstruction made;
  bytes = bytes.first(std::min(bytes.size(), made.bytes.size()));
  ZydisDecodedInstruction instruction{};
  std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands{};
  const bool good =
      ZYAN_SUCCESS(ZydisDecoderDecodeFull(&mode.zydis, bytes.data(), bytes.size(), &instruction, operands.data()));
  made.length = good ? instruction.length : static_cast<uint8_t>(std::min<size_t>(bytes.size(), 1));
  std::copy_n(bytes.begin(), made.length, made.bytes.begin());
  const uint8_t* code = bytes.data();
  size_t left = bytes.size();
  uint64_t address = ip;
  made.text = "(bad)";
  if (mode.instruction != nullptr && cs_disasm_iter(mode.capstone, &code, &left, &address, mode.instruction)) {
    made.text = mode.instruction->mnemonic;
    if (mode.instruction->op_str[0] != '\0') made.text += std::string(" ") + mode.instruction->op_str;
  }
  if (!good) return made;
  made.operand_bits = instruction.operand_width;
  made.address_bits = instruction.address_width;
  made.changes_flags = changes_flags(instruction);
  made.uses_fpu = instruction.meta.isa_ext != ZYDIS_ISA_EXT_BASE && instruction.meta.isa_ext != ZYDIS_ISA_EXT_LONGMODE;
  constexpr auto kRepeats = ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE;
  made.repeats = (instruction.attributes & kRepeats) != 0;
  made.is_iret = instruction.mnemonic == ZYDIS_MNEMONIC_IRET || instruction.mnemonic == ZYDIS_MNEMONIC_IRETD ||
                 instruction.mnemonic == ZYDIS_MNEMONIC_IRETQ;
  if (accesses_nothing(instruction.mnemonic)) return made;
  for (unsigned i = 0; i < instruction.operand_count; ++i) {
    const ZydisDecodedOperand& operand = operands[i];
    if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || operand.mem.type != ZYDIS_MEMOP_TYPE_MEM) continue;
    if (made.memory_count < made.memory.size())
      made.memory[made.memory_count++] = memory_operand(instruction, operands.data(), operand);
  }
  return made;
}

}  // namespace understudy::tools
