// What every target over a real machine shares: registers and memory as they are, and whether they may be written.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "emu/machine.h"
#include "tools/gdb_target.h"

namespace understudy::tools {

class GdbMachineTarget : public GdbTarget {
 public:
  explicit GdbMachineTarget(emu::Machine& machine) : machine_(machine) {}

  CpuView cpu() override;
  void write_register(const GdbRegister& reg, std::span<const uint8_t> value) override;
  size_t read_memory(uint64_t linear, std::span<uint8_t> to) override;
  void write_memory(uint64_t linear, std::span<const uint8_t> from) override;
  void insert(const GdbBreakpoint& breakpoint) override { breakpoints_.push_back(breakpoint); }
  void remove(const GdbBreakpoint& breakpoint) override { std::erase(breakpoints_, breakpoint); }

  emu::Machine& machine() { return machine_; }

 protected:
  // Before something of the machine is changed. Throws GdbRefusal if it may not be.
  virtual void about_to_write() = 0;
  const std::vector<GdbBreakpoint>& breakpoints() const { return breakpoints_; }
  uint64_t pc() { return linear_pc(machine_.cpu().engine().cpu()); }

 private:
  emu::Machine& machine_;
  std::vector<GdbBreakpoint> breakpoints_;
};

}  // namespace understudy::tools
