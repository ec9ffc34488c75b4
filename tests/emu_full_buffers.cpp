// Guests with more code than fits into our table of blocks, or into the engine's buffer of translated code.
#include <doctest/doctest.h>

#include <array>
#include <vector>

#include "emu/machine.h"
#include "tests/code_rig.h"

namespace {

using namespace understudy::emu;
using understudy::tests::CodeRig;
using Mode = CodeRig::Mode;

TEST_CASE("a full table of blocks and a full buffer of translated code change nothing") {
  CodeRig rig(Mode::flat32);
  constexpr uint32_t kFirst = 0x100000, kBlocks = 530000, kAgain = 5000;
  // kBlocks jumps to what follows; then dec ecx; jz +5; jmp to the last kAgain of them; hlt
  std::vector<uint8_t> code;
  for (uint32_t i = 0; i < kBlocks; ++i) {
    code.push_back(0xeb);
    code.push_back(0x00);
  }
  const auto back = static_cast<uint32_t>(-static_cast<int32_t>(2 * kAgain + 8));
  for (const uint8_t byte : {uint8_t{0x49}, uint8_t{0x74}, uint8_t{0x05}, uint8_t{0xe9}}) code.push_back(byte);
  for (unsigned shift = 0; shift < 32; shift += 8) code.push_back(static_cast<uint8_t>(back >> shift));
  code.push_back(0xf4);
  rig.machine.memory().store(kFirst, code);
  rig.start(kFirst);
  rig.machine.cpu().engine().cpu().regs[kRcx] = 2;
  CHECK(rig.run(10'000'000) == MachineStop::halted);
  CHECK(rig.reg(kRcx) == 0);
  CHECK(rig.icount() == kBlocks + 2 + 1 + kAgain + 2 + 1);
  CHECK(rig.machine.cpu().blocks().blocks_translated() > kBlocks);
  CHECK(rig.machine.cpu().blocks().engine_notes() == 1);
}

TEST_CASE("a full buffer of translated code, of few but large blocks, changes nothing") {
  constexpr uint32_t kFirst = 0x100000, kBlocks = 3500, kAdds = 128, kWords = 32, kPasses = 3, kAddend = 0x80000001;
  CodeRig rig(Mode::flat32);
  // kBlocks times: kAdds of adc [ebx + n], ecx; jmp to what follows. Then dec esi; jnz to the first; hlt
  std::vector<uint8_t> code;
  for (uint32_t block = 0; block < kBlocks; ++block) {
    for (uint32_t i = 0; i < kAdds; ++i)
      for (const uint8_t byte : {uint8_t{0x11}, uint8_t{0x4b}, static_cast<uint8_t>(4 * (i % kWords))})
        code.push_back(byte);
    for (const uint8_t byte : {0xeb, 0x00}) code.push_back(byte);
  }
  const auto back = static_cast<uint32_t>(-static_cast<int32_t>(code.size() + 7));
  for (const uint8_t byte : {0x4e, 0x0f, 0x85}) code.push_back(byte);
  for (unsigned shift = 0; shift < 32; shift += 8) code.push_back(static_cast<uint8_t>(back >> shift));
  code.push_back(0xf4);
  rig.machine.memory().store(kFirst, code);
  rig.start(kFirst);
  auto& cpu = rig.machine.cpu().engine().cpu();
  cpu.regs[kRbx] = CodeRig::kData;
  cpu.regs[kRcx] = kAddend;
  cpu.regs[kRsi] = kPasses;
  const uint64_t generation = rig.machine.cpu().blocks().generation();
  CHECK(rig.run(10'000'000) == MachineStop::halted);
  CHECK(rig.icount() == kPasses * (kBlocks * (kAdds + 1) + 2) + 1);
  std::array<uint32_t, kWords> words{};
  uint64_t carry = 0;
  for (uint32_t i = 0; i < kPasses * kBlocks * kAdds; ++i) {
    const uint64_t sum = carry + words[i % kWords] + kAddend;
    words[i % kWords] = static_cast<uint32_t>(sum);
    carry = sum >> 32;
  }
  for (uint32_t i = 0; i < kWords; ++i) CHECK(rig.get<uint32_t>(CodeRig::kData + 4 * i) == words[i]);
  // All were translated at each pass, and it was not our own table that was full.
  CHECK(rig.machine.cpu().blocks().blocks_translated() > kPasses * kBlocks);
  CHECK(rig.machine.cpu().blocks().generation() == generation);
}

}  // namespace
