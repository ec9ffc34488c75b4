#include "tools/gdb_machine_target.h"

#include <fmt/format.h>

#include "tools/guest_memory.h"

namespace understudy::tools {

CpuView GdbMachineTarget::cpu() {
  const emu::Engine& engine = machine_.cpu().engine();
  return {engine.cpu(), engine.flags(), machine_.icount(), machine_.now_ns()};
}

void GdbMachineTarget::write_register(const GdbRegister& reg, std::span<const uint8_t> value) {
  if (!reg.write) throw GdbRefusal(fmt::format("{} can be looked at, not set", reg.name));
  about_to_write();
  reg.write(machine_, value);
  machine_.cpu().state_changed();
}

size_t GdbMachineTarget::read_memory(uint64_t linear, std::span<uint8_t> to) {
  return GuestMemory(machine_).read(linear, to);
}

void GdbMachineTarget::write_memory(uint64_t linear, std::span<const uint8_t> from) {
  about_to_write();
  GuestMemory(machine_).write(linear, from);
}

}  // namespace understudy::tools
