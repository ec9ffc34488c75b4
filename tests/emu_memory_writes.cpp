#include <Zydis/Zydis.h>
#include <doctest/doctest.h>

#include <array>
#include <vector>

#include "emu/memory_writes.h"

using understudy::emu::certainly_writes_nothing;

namespace {

struct Mode {
  ZydisMachineMode machine;
  ZydisStackWidth stack;
};

// Whether the full decoder, told of every hidden operand, knows of a store.
bool stores(const ZydisDecoder& decoder, const ZydisDecoderContext& context, const ZydisDecodedInstruction& i) {
  std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands;
  REQUIRE(ZYAN_SUCCESS(ZydisDecoderDecodeOperands(&decoder, &context, &i, operands.data(), i.operand_count)));
  for (unsigned n = 0; n < i.operand_count; ++n) {
    if (operands[n].type != ZYDIS_OPERAND_TYPE_MEMORY) continue;
    if (operands[n].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("memory_writes: no instruction said to write nothing has an operand that is stored") {
  for (const Mode& mode : {Mode{ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
                           Mode{ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
                           Mode{ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64}}) {
    ZydisDecoder decoder;
    REQUIRE(ZYAN_SUCCESS(ZydisDecoderInit(&decoder, mode.machine, mode.stack)));
    unsigned harmless = 0;
    for (unsigned map = 0; map < 2; ++map) {
      for (unsigned opcode = 0; opcode < 256; ++opcode) {
        for (unsigned modrm = 0; modrm < 256; ++modrm) {
          std::vector<uint8_t> bytes;
          if (map == 1) bytes.push_back(0x0f);
          bytes.push_back(static_cast<uint8_t>(opcode));
          bytes.push_back(static_cast<uint8_t>(modrm));
          bytes.resize(15);
          ZydisDecodedInstruction i;
          ZydisDecoderContext context;
          if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, &context, bytes.data(), bytes.size(), &i)))
            continue;
          // A prefix is no opcode of its own.
          if (i.opcode != opcode || i.opcode_map != map) continue;
          const bool memory = (i.attributes & ZYDIS_ATTRIB_HAS_MODRM) && i.raw.modrm.mod != 3;
          if (!certainly_writes_nothing(static_cast<uint8_t>(map), i.opcode, i.raw.modrm.reg, memory)) continue;
          ++harmless;
          INFO("map ", map, ", opcode ", opcode, ", ModRM ", modrm);
          CHECK_FALSE(stores(decoder, context, i));
        }
      }
    }
    CHECK(harmless > 10'000);
  }
}

TEST_CASE("memory_writes: hidden stores count as writing") {
  CHECK_FALSE(certainly_writes_nothing(0, 0x50, 0, false));  // PUSH
  CHECK_FALSE(certainly_writes_nothing(0, 0xe8, 0, false));  // CALL
  CHECK_FALSE(certainly_writes_nothing(0, 0xaa, 0, false));  // STOS
  CHECK_FALSE(certainly_writes_nothing(0, 0x8e, 3, false));  // MOV to a segment: the descriptor's accessed bit
  CHECK_FALSE(certainly_writes_nothing(0, 0xc8, 0, false));  // ENTER
  CHECK_FALSE(certainly_writes_nothing(0, 0xff, 2, false));  // CALL register
  CHECK(certainly_writes_nothing(0, 0x39, 0, true));         // CMP
}
