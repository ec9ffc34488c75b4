// The registers that a debugger sees, for each width of the CPU, in the order of their numbers in GDB's protocol: those
// that GDB knows by name (general, x87, SSE, segment bases), then the system's (descriptor tables, control and debug
// registers, MSRs), and the run's own (instruction count, virtual time). A debugger wants one number for where the CPU
// is and compares it with addresses of breakpoints: so rip, eip is the linear address of the next instruction, CS's
// base added, and `ip` is the offset in CS that the CPU holds. Outside of flat segments the two differ.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "emu/machine.h"

namespace understudy::tools {

enum class GdbWidth : uint8_t { bits16, bits32, bits64 };

// That of the mode the CPU is in: 64 in long mode with its compatibility submode, 32 in protected mode, 16 in real
// mode and V86.
GdbWidth width_of(const emu::EngineCpu& cpu);
// As GDB names it (`set architecture`).
const char* architecture_name(GdbWidth width);

// What registers are read from.
struct CpuView {
  const emu::EngineCpu& cpu;
  uint32_t eflags = 0;
  uint64_t icount = 0, virtual_ns = 0;
};

// CS's base and the offset in it, wrapped as the mode does.
uint64_t linear_pc(const emu::EngineCpu& cpu);

struct GdbRegister {
  enum class Feature : uint8_t { core, sse, segments, system };
  static constexpr unsigned kMaxBytes = 16;

  std::string name;
  unsigned bits;
  const char* type;   // in a target description
  const char* group;  // or null: GDB's own idea
  Feature feature;
  // Little-endian, bits / 8 bytes.
  std::function<void(const CpuView&, std::span<uint8_t>)> read;
  // Absent for what a debugger may only look at.
  std::function<void(emu::Machine&, std::span<const uint8_t>)> write;

  unsigned bytes() const { return bits / 8; }
};

// A register's number is its index.
const std::vector<GdbRegister>& registers_of(GdbWidth width);

}  // namespace understudy::tools
