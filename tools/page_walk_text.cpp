#include "tools/page_walk_text.h"

#include <fmt/format.h>

#include "emu/page_walk.h"
#include "emu/segment_load.h"

namespace understudy::tools {

namespace {

constexpr uint64_t kPresent = 1, kLarge = 0x80, kNoExecute = 1ull << 63;

struct Level {
  const char* name;
  unsigned shift;
};
// From the top. In PAE paging the walk begins at the second.
constexpr Level kLongLevels[] = {{"PML4E", 39}, {"PDPTE", 30}, {"PDE", 21}, {"PTE", 12}};
constexpr Level kShortLevels[] = {{"PDE", 22}, {"PTE", 12}};

uint64_t a20_mask(emu::Machine& machine) { return machine.cpu().mmu().a20() ? ~0ull : ~(1ull << 20); }

std::string bits_text(uint64_t entry, bool leaf) {
  if (!(entry & kPresent)) return "not present";
  std::string text = entry & 2 ? "writable" : "read-only";
  text += entry & 4 ? ", user" : ", supervisor";
  if (entry & 8) text += ", write-through";
  if (entry & 0x10) text += ", no cache";
  text += entry & 0x20 ? ", accessed" : ", not accessed";
  if (leaf) text += entry & 0x40 ? ", dirty" : ", clean";
  if (leaf && (entry & 0x100)) text += ", global";
  if (entry & kNoExecute) text += ", no execute";
  return text;
}

std::string entry_line(const Level& level, unsigned index, uint64_t at, uint64_t entry, bool leaf, bool wide) {
  return fmt::format("{:<5} {:>4}  at {:#x}: {:0{}x}  {}{}\n", level.name, index, at, entry, wide ? 16 : 8,
                     bits_text(entry, leaf), leaf && level.shift > 12 ? fmt::format(", a large page") : "");
}

std::string walk_lines(emu::Machine& machine, uint64_t linear) {
  const emu::EngineCpu& cpu = machine.cpu().engine().cpu();
  const uint64_t mask = a20_mask(machine);
  const bool pae = cpu.cr[4] & emu::cr4::kPae, long_mode = emu::in_long_mode(cpu);
  std::string text;
  if (!pae) {
    uint64_t table = cpu.cr[3] & 0xfffff000;
    for (const Level& level : kShortLevels) {
      const auto index = static_cast<unsigned>(linear >> level.shift & 0x3ff);
      const uint64_t at = (table + index * 4) & mask;
      const uint32_t entry = machine.memory().load32(at);
      const bool large = level.shift > 12 && (entry & kLarge) && (cpu.cr[4] & emu::cr4::kPse);
      text += entry_line(level, index, at, entry, level.shift == 12 || large, false);
      if (large || !(entry & kPresent)) break;
      table = entry & 0xfffff000;
    }
    return text;
  }
  constexpr uint64_t kAddress = 0x000ffffffffff000;
  uint64_t table = long_mode ? cpu.cr[3] & kAddress : cpu.cr[3] & 0xffffffe0;
  for (const Level& level : kLongLevels) {
    if (level.shift == 39 && !long_mode) continue;
    const bool pdpt_of_pae = level.shift == 30 && !long_mode;
    const auto index = static_cast<unsigned>(linear >> level.shift & (pdpt_of_pae ? 3 : 0x1ff));
    const uint64_t at = (table + index * 8) & mask;
    const uint64_t entry = machine.memory().load64(at);
    const bool leaf = level.shift == 12 || (level.shift == 21 && (entry & kLarge));
    if (pdpt_of_pae)
      text += fmt::format("{:<5} {:>4}  at {:#x}: {:016x}  {}\n", level.name, index, at, entry,
                          entry & kPresent ? "present" : "not present");
    else
      text += entry_line(level, index, at, entry, leaf, true);
    if (leaf || !(entry & kPresent)) break;
    table = entry & kAddress;
  }
  return text;
}

std::string refusal_text(uint32_t error) {
  if (error & emu::kPfReserved) return "a reserved bit is set";
  return error & emu::kPfPresent ? "not permitted" : "not present";
}

}  // namespace

std::string paging_mode_text(emu::Machine& machine) {
  const emu::EngineCpu& cpu = machine.cpu().engine().cpu();
  const char* mode = emu::in_real_mode(cpu) ? "real mode"
                     : emu::in_long_mode(cpu)
                         ? emu::in_64bit_code(cpu) ? "long mode, 64-bit code" : "long mode, compatibility submode"
                     : emu::in_v86(cpu) ? "virtual 8086 mode"
                                        : "protected mode";
  const char* paging = !(cpu.cr[0] & emu::cr0::kPg) ? "none: linear addresses are physical"
                       : emu::in_long_mode(cpu)     ? "4-level"
                       : cpu.cr[4] & emu::cr4::kPae ? "PAE"
                       : cpu.cr[4] & emu::cr4::kPse ? "32-bit, with large pages"
                                                    : "32-bit";
  const auto is_on = [](uint64_t bit) { return bit ? "on" : "off"; };
  return fmt::format(
      "mode {}, privilege level {}\npaging {}\ncr3 {:#x}\nwrite protection of supervisor stores (WP) {}, no-execute "
      "(NXE) "
      "{}, global pages (PGE) {}, A20 {}\n",
      mode, emu::current_privilege(cpu), paging, cpu.cr[3], is_on(cpu.cr[0] & emu::cr0::kWp),
      is_on(cpu.efer & emu::efer::kNxe), is_on(cpu.cr[4] & emu::cr4::kPge), is_on(machine.cpu().mmu().a20()));
}

std::string page_walk_text(emu::Machine& machine, uint64_t linear) {
  const emu::EngineCpu& cpu = machine.cpu().engine().cpu();
  linear = emu::wrap_linear(cpu, linear);
  std::string text = fmt::format("linear {:#x}\n", linear);
  const uint64_t mask = a20_mask(machine);
  if (!(cpu.cr[0] & emu::cr0::kPg)) return text + fmt::format("physical {:#x}: there is no paging\n", linear & mask);
  if (emu::in_long_mode(cpu) && !emu::is_canonical(linear)) return text + "not canonical: accesses are #GP\n";
  text += walk_lines(machine, linear);
  const auto walk = [&](emu::Access access, bool user) {
    return emu::walk_pages(cpu, machine.memory(), mask, linear, access, user, emu::AccessedBits::leave);
  };
  const emu::Translation found = walk(emu::Access::read, false);
  if (!found.ok) return text + fmt::format("no translation: {}\n", refusal_text(found.error_code));
  text += fmt::format("physical {:#x}", found.physical & mask);
  for (const bool user : {false, true}) {
    std::string rights;
    if (walk(emu::Access::read, user).ok) rights += 'r';
    if (walk(emu::Access::write, user).ok) rights += 'w';
    if (walk(emu::Access::fetch, user).ok) rights += 'x';
    text += fmt::format("{} {}", user ? ", user" : ": supervisor", rights.empty() ? "nothing" : rights);
  }
  return text + '\n';
}

}  // namespace understudy::tools
