// What a boot protocol asks of the machine, as plain data: bytes at physical addresses and the CPU's first registers.
// The emu/boot_* planners produce it from an image, the machine carries it out; neither knows the other. RAM is zero at
// power-on, so a plan lists only bytes that matter; chunks of a plan never overlap. Addresses are bytes.
#pragma once

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::emu {

// A file that cannot be booted. what() is one line: which file, what is wrong, and what to do.
class BootError : public std::runtime_error {
 public:
  BootError(std::string_view file, std::string_view problem);
};

struct Chunk {
  uint64_t address = 0;
  std::vector<uint8_t> bytes;
};

// A segment register with its hidden part. `access` holds the access rights where a descriptor's second doubleword has
// them (bits 8..15 type, S, DPL, P; 20..23 AVL, L, D/B, G; everything else 0); `limit` is in bytes, already scaled by
// G.
struct SegmentRegister {
  uint16_t selector = 0;
  uint64_t base = 0;
  uint32_t limit = 0xffff;
  uint32_t access = 0x9300;
};

struct TableRegister {
  uint64_t base = 0;
  uint16_t limit = 0xffff;
};

// The architectural registers at the first instruction. The defaults are RESET's (Intel SDM vol. 3, table 9-1), except
// that EDX, which holds the CPU's signature, is left to the machine when a plan starts at the reset vector.
struct InitialCpu {
  enum General { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15 };
  std::array<uint64_t, 16> general{};  // indexed by General
  uint64_t rip = 0xfff0;               // an offset in CS
  uint64_t rflags = 2;
  uint64_t cr0 = 0x60000010;
  uint64_t cr3 = 0;
  uint64_t cr4 = 0;
  uint64_t efer = 0;
  SegmentRegister cs{0xf000, 0xffff0000, 0xffff, 0x9b00};
  SegmentRegister ss, ds, es, fs, gs;
  SegmentRegister ldtr{0, 0, 0xffff, 0x8200};
  SegmentRegister tr{0, 0, 0xffff, 0x8b00};
  TableRegister gdtr, idtr;
};

struct BootPlan {
  std::vector<Chunk> chunks;  // copied into RAM
  std::vector<Chunk> roms;    // mapped read-only; always ends at 4 GiB, start and length multiples of 4 KiB
  InitialCpu cpu;
  // False: the CPU starts in firmware that finds everything by itself. True: no firmware runs, so the board does what
  // firmware would have done (PCI interrupt routing, PM base, tables in memory).
  bool bypasses_firmware = false;
};

}  // namespace understudy::emu
