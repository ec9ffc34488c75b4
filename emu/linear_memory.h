// Guest memory as the CPU addresses it: linear addresses through the current page tables, for everything our own code
// does on the CPU's behalf (pushing interrupt frames, reading descriptors and TSSs, fetching code bytes to look at).
#pragma once

#include <cstddef>
#include <cstdint>

namespace understudy::emu {

// An exception that the guest is to see. Thrown by code that acts for the CPU, caught where exceptions are delivered;
// it never crosses the engine's frames.
struct GuestFault {
  uint8_t vector;
  bool has_error_code;
  uint32_t error_code;
  uint64_t cr2;  // for vector 14
};

class LinearMemory {
 public:
  virtual ~LinearMemory() = default;
  // Accesses with supervisor privilege (SDM Vol. 3A 4.6: implicit accesses to descriptor tables and TSSs), setting
  // accessed and dirty bits. Throws GuestFault (#PF with its error code) where a page refuses. A write that faults on
  // its second page has written nothing.
  virtual void read(uint64_t linear, void* to, size_t size) = 0;
  virtual void write(uint64_t linear, const void* from, size_t size) = 0;
  // The page tables or the mode changed under the CPU (a task switch loaded CR3): forget cached translations.
  virtual void flush_translations() = 0;
};

}  // namespace understudy::emu
