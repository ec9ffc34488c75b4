#include "tools/cpu_text.h"

#include <capstone/capstone.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <span>

#include "emu/segment_load.h"

namespace understudy::tools {

namespace {

constexpr size_t kMaxInstruction = 15;

bool is_64bit(const emu::EngineCpu& cpu) { return (cpu.hflags & emu::hflags::kCs64) != 0; }

cs_mode mode_of(const emu::EngineCpu& cpu) {
  if (is_64bit(cpu)) return CS_MODE_64;
  return (cpu.hflags & emu::hflags::kCs32) != 0 ? CS_MODE_32 : CS_MODE_16;
}

}  // namespace

std::string registers_text(emu::Machine& machine, const std::string& indent) {
  static constexpr const char* kNames[16] = {"ax", "cx", "dx",  "bx",  "sp",  "bp",  "si",  "di",
                                             "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"};
  const emu::EngineCpu& cpu = machine.cpu().engine().cpu();
  const bool wide = is_64bit(cpu);
  const int digits = wide ? 16 : 8;
  const uint64_t mask = wide ? ~0ull : 0xffffffff;
  std::string text;
  for (unsigned i = 0; i < (wide ? 16u : 8u); ++i)
    text += fmt::format("{}{:>3} {:0{}x}{}", i % 4 == 0 ? indent : "  ",
                        i < 8 ? std::string(wide ? "r" : "e") + kNames[i] : kNames[i], cpu.regs[i] & mask, digits,
                        i % 4 == 3 ? "\n" : "");
  text += fmt::format("{}{}ip {:0{}x}  flags {:08x}", indent, wide ? "r" : "e", cpu.eip & mask, digits,
                      machine.cpu().engine().flags());
  static constexpr const char* kSegments[6] = {"es", "cs", "ss", "ds", "fs", "gs"};
  for (unsigned i = 0; i < 6; ++i) text += fmt::format("  {} {:04x}", kSegments[i], cpu.segs[i].selector & 0xffffu);
  return text + fmt::format("\n{}cr0 {:08x}  cr2 {:x}  cr3 {:x}  cr4 {:x}  efer {:x}{}\n", indent, cpu.cr[0], cpu.cr[2],
                            cpu.cr[3], cpu.cr[4], cpu.efer, machine.cpu().halted() ? "  halted" : "");
}

std::string disassembly_text(emu::Machine& machine, unsigned count, const std::string& indent) {
  const emu::EngineCpu& cpu = machine.cpu().engine().cpu();
  uint64_t linear = cpu.segs[emu::kCs].base + cpu.eip;
  if (!is_64bit(cpu)) linear &= 0xffffffff;
  std::array<uint8_t, 16 * kMaxInstruction> bytes{};
  const size_t wanted = std::min<size_t>(bytes.size(), count * kMaxInstruction);
  const size_t got = machine.cpu().mmu().peek(linear, std::span(bytes).first(wanted));
  csh handle = 0;
  if (cs_open(CS_ARCH_X86, mode_of(cpu), &handle) != CS_ERR_OK) return indent + "(no disassembler)\n";
  cs_insn* instructions = nullptr;
  const size_t found = cs_disasm(handle, bytes.data(), got, cpu.eip, count, &instructions);
  std::string text;
  for (size_t i = 0; i < found; ++i)
    text += fmt::format("{}{:04x}:{:08x}  {:<24}  {} {}\n", indent, cpu.segs[emu::kCs].selector & 0xffffu,
                        instructions[i].address,
                        fmt::format("{:02x}", fmt::join(std::span(instructions[i].bytes, instructions[i].size), " ")),
                        instructions[i].mnemonic, instructions[i].op_str);
  if (found == 0)
    text = fmt::format("{}{:04x}:{:08x}  (no instruction can be read here)\n", indent,
                       cpu.segs[emu::kCs].selector & 0xffffu, cpu.eip);
  if (found != 0) cs_free(instructions, found);
  cs_close(&handle);
  return text;
}

}  // namespace understudy::tools
