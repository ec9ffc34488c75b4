#include "emu/page_walk.h"

#include <array>
#include <span>

#include "emu/cpuid.h"

namespace understudy::emu {

namespace {

constexpr uint64_t kPresent = 1, kWritable = 2, kUser = 4, kAccessed = 0x20, kDirty = 0x40, kLargePage = 0x80;
constexpr uint64_t kNoExecute = 1ull << 63;
constexpr uint64_t kAddressBits = ((1ull << kPhysicalAddressBits) - 1) & kPageMask;
// Bits of a long entry that must be zero: those between the physical address and bit 52.
constexpr uint64_t kReservedHigh = ((1ull << 52) - 1) & ~((1ull << kPhysicalAddressBits) - 1);
constexpr uint64_t kIgnoredHigh = 0x7ff0000000000000;

struct Walk {
  const EngineCpu& cpu;
  PhysicalMemory& memory;
  uint64_t a20_mask;
  Access access;
  bool user;
  AccessedBits bits;

  uint32_t error(uint32_t cause) const {
    uint32_t code = cause;
    if (access == Access::write) code |= kPfWrite;
    if (user) code |= kPfUser;
    if (access == Access::fetch && (cpu.efer & efer::kNxe) && (cpu.cr[4] & cr4::kPae)) code |= kPfFetch;
    return code;
  }
  Translation refuse(uint32_t cause) const { return {false, false, false, error(cause), 0, 0, {}}; }

  template <typename Entry>
  void mark(uint64_t address, Entry old_value, uint64_t set_bits) const {
    if (bits == AccessedBits::leave || (old_value & set_bits) == set_bits) return;
    const Entry marked = old_value | static_cast<Entry>(set_bits);
    memory.store(address, {reinterpret_cast<const uint8_t*>(&marked), sizeof marked});
  }

  // What the entries on the way allow together, for this access; error_code 0 means it may pass.
  struct Rights {
    bool writable = true, user = true, executable = true;
  };
  bool permits(const Rights& rights) const {
    if (user && !rights.user) return false;
    if (access == Access::fetch) return rights.executable;
    if (access == Access::write) return may_write(rights);
    return true;
  }
  bool may_write(const Rights& rights) const { return rights.writable || (!user && !(cpu.cr[0] & cr0::kWp)); }
  Translation allow(const Rights& rights, uint64_t physical, bool dirty, std::span<const uint64_t> entries) const {
    Translation t{true, may_write(rights) && dirty, rights.executable, 0, physical, 0, {}};
    for (const uint64_t entry : entries) t.entries[t.entry_count++] = entry;
    return t;
  }
  // The leaf's new bits, and whether it is dirty afterwards.
  uint64_t leaf_bits() const { return kAccessed | (access == Access::write ? kDirty : 0); }

  Translation short_walk(uint32_t linear) const {  // 32-bit paging, SDM 4.3
    const uint64_t directory_address = ((cpu.cr[3] & 0xfffff000) + (linear >> 22) * 4) & a20_mask;
    const uint32_t directory = memory.load32(directory_address);
    if (!(directory & kPresent)) return refuse(0);
    Rights rights{(directory & kWritable) != 0, (directory & kUser) != 0, true};
    if ((directory & kLargePage) && (cpu.cr[4] & cr4::kPse)) {
      // PSE-36: bits 13..16 of the entry are bits 32..35 of the address; bit 21 is reserved.
      if (directory & 0x200000) return refuse(kPfPresent | kPfReserved);
      if (!permits(rights)) return refuse(kPfPresent);
      mark(directory_address, directory, leaf_bits());
      const uint64_t high = static_cast<uint64_t>(directory >> 13 & 0xf) << 32;
      return allow(rights, high | (directory & 0xffc00000) | (linear & 0x3fffff),
                   ((directory | leaf_bits()) & kDirty) != 0, std::array{directory_address});
    }
    const uint64_t table_address = ((directory & 0xfffff000) + (linear >> 12 & 0x3ff) * 4) & a20_mask;
    const uint32_t entry = memory.load32(table_address);
    if (!(entry & kPresent)) return refuse(0);
    rights.writable &= (entry & kWritable) != 0;
    rights.user &= (entry & kUser) != 0;
    if (!permits(rights)) return refuse(kPfPresent);
    mark(directory_address, directory, kAccessed);
    mark(table_address, entry, leaf_bits());
    return allow(rights, (entry & 0xfffff000) | (linear & 0xfff), ((entry | leaf_bits()) & kDirty) != 0,
                 std::array{directory_address, table_address});
  }

  Translation long_walk(uint64_t linear) const {  // PAE and 4-level paging, SDM 4.4 and 4.5
    const bool long_mode = (cpu.efer & efer::kLma) != 0;
    // Bits 52 to 62 are ignored in 4-level paging and reserved in PAE paging.
    const uint64_t reserved = kReservedHigh | (long_mode ? 0 : kIgnoredHigh) | (cpu.efer & efer::kNxe ? 0 : kNoExecute);
    std::array<uint64_t, Translation::kMaxEntries> used{};
    unsigned depth = 0;
    uint64_t table;
    unsigned level;  // 4: PML4 ... 1: page table
    if (long_mode) {
      const auto top = static_cast<int64_t>(linear) >> 47;
      if (top != 0 && top != -1) return refuse(0);
      table = cpu.cr[3] & kAddressBits;
      level = 4;
    } else {
      linear = static_cast<uint32_t>(linear);
      used[depth] = ((cpu.cr[3] & ~0x1full & 0xffffffff) + (linear >> 30) * 8) & a20_mask;
      const uint64_t pdpte = memory.load64(used[depth++]);
      if (!(pdpte & kPresent)) return refuse(0);
      constexpr uint64_t kPdpteReserved = 0x1e6;
      if (pdpte & (kReservedHigh | kPdpteReserved | kNoExecute)) return refuse(kPfPresent | kPfReserved);
      table = pdpte & kAddressBits;
      level = 2;
    }
    Rights rights;
    struct Step {
      uint64_t address, entry;
    } steps[3];
    unsigned step_count = 0;
    for (;; --level) {
      const unsigned shift = 12 + 9 * (level - 1);
      const uint64_t address = (table + (linear >> shift & 0x1ff) * 8) & a20_mask;
      const uint64_t entry = memory.load64(address);
      used[depth++] = address;
      if (!(entry & kPresent)) return refuse(0);
      if (entry & reserved) return refuse(kPfPresent | kPfReserved);
      rights.writable &= (entry & kWritable) != 0;
      rights.user &= (entry & kUser) != 0;
      rights.executable &= !(entry & kNoExecute);
      const bool large = level > 1 && (entry & kLargePage);
      // No 1 GiB pages, and PS is reserved in a PML4E.
      if (large && level > 2) return refuse(kPfPresent | kPfReserved);
      if (!large && level > 1) {
        steps[step_count++] = {address, entry};
        table = entry & kAddressBits;
        continue;
      }
      const uint64_t offset_mask = (1ull << shift) - 1;
      // Bit 12 of a large page is its PAT bit; the others below its address are reserved.
      if (large && (entry & offset_mask & ~0x1fffull)) return refuse(kPfPresent | kPfReserved);
      if (!permits(rights)) return refuse(kPfPresent);
      for (unsigned i = 0; i < step_count; ++i) mark(steps[i].address, steps[i].entry, kAccessed);
      mark(address, entry, leaf_bits());
      return allow(rights, (entry & kAddressBits & ~offset_mask) | (linear & offset_mask),
                   ((entry | leaf_bits()) & kDirty) != 0, std::span(used).first(depth));
    }
  }
};

}  // namespace

Translation walk_pages(const EngineCpu& cpu, PhysicalMemory& memory, uint64_t a20_mask, uint64_t linear, Access access,
                       bool user, AccessedBits bits) {
  if (!(cpu.cr[0] & cr0::kPg)) return {true, true, true, 0, static_cast<uint32_t>(linear), 0, {}};
  const Walk walk{cpu, memory, a20_mask, access, user, bits};
  return cpu.cr[4] & cr4::kPae ? walk.long_walk(linear) : walk.short_walk(static_cast<uint32_t>(linear));
}

}  // namespace understudy::emu
