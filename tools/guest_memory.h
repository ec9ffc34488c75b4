// The guest's memory as a debugger looks at it: through the page tables as they are now, or physical. No accessed bit
// is set and no device is read, so the guest cannot tell; what cannot be looked at that way is refused with a reason.
#pragma once

#include <cstdint>
#include <span>

#include "emu/machine.h"
#include "tools/gdb_target.h"

namespace understudy::tools {

class GuestMemory {
 public:
  explicit GuestMemory(emu::Machine& machine) : machine_(machine) {}

  // Where a linear address is, as the CPU's own supervisor accesses see it; A20 applied. Throws GdbRefusal.
  uint64_t physical(uint64_t linear) const;

  // How many bytes from the first on can be read, at least one. Throw GdbRefusal.
  size_t read(uint64_t linear, std::span<uint8_t> to) const;
  size_t read_physical(uint64_t physical, std::span<uint8_t> to) const;

  // RAM only, all of it or nothing, whatever the page tables permit. The CPU forgets code it knew there. Throws
  // GdbRefusal.
  void write(uint64_t linear, std::span<const uint8_t> from);

 private:
  uint64_t wrap(uint64_t linear) const;
  uint64_t a20_mask() const;
  const uint8_t* bytes_at(uint64_t physical) const;
  emu::Machine& machine_;
};

}  // namespace understudy::tools
