// The two buses a device can sit on: 64 Ki I/O ports, and memory-mapped I/O in the guest's physical address space.
// A bus owns nothing; devices outlive their attachments. Reads of nothing return all ones, as on a PC.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace understudy::emu {

// A device's face on the port bus. `port` is the absolute port number; `size` is 1, 2 or 4 and never more than the
// `max_width` given at attach(): wider accesses are split, low bytes first.
class PortDevice {
 public:
  virtual ~PortDevice() = default;
  virtual uint32_t port_read(uint16_t port, unsigned size) = 0;
  virtual void port_write(uint16_t port, unsigned size, uint32_t value) = 0;
};

class PortBus {
 public:
  PortBus();
  // Claims ports first..last (inclusive). Throws std::logic_error when a port is taken: two devices on a port is a
  // wiring bug, not a guest's doing.
  void attach(uint16_t first, uint16_t last, PortDevice& device, unsigned max_width = 1);
  // Gives up every port of first..last that `device` holds (a PCI BAR that moves).
  void detach(uint16_t first, uint16_t last, PortDevice& device);
  bool is_free(uint16_t first, uint16_t last) const;

  uint32_t read(uint16_t port, unsigned size);
  void write(uint16_t port, unsigned size, uint32_t value);

 private:
  struct Slot {
    PortDevice* device = nullptr;
    uint8_t max_width = 1;
  };
  std::vector<Slot> slots_;  // one per port
};

// A device's face on the memory bus. `offset` is relative to the start of the attached region; `size` is 1, 2, 4 or 8.
class MmioDevice {
 public:
  virtual ~MmioDevice() = default;
  virtual uint64_t mmio_read(uint64_t offset, unsigned size) = 0;
  virtual void mmio_write(uint64_t offset, unsigned size, uint64_t value) = 0;
};

// Regions are few (local APIC, I/O APIC, PCI BARs), page-aligned in practice, and may move at run time.
class MmioBus {
 public:
  // Throws std::logic_error on an overlap or an empty region.
  void attach(uint64_t base, uint64_t length, MmioDevice& device);
  void detach(MmioDevice& device);
  bool is_free(uint64_t base, uint64_t length) const;

  uint64_t read(uint64_t address, unsigned size);
  void write(uint64_t address, unsigned size, uint64_t value);

 private:
  struct Region {
    uint64_t base;
    uint64_t length;
    MmioDevice* device;
  };
  const Region* find(uint64_t address, unsigned size) const;
  std::vector<Region> regions_;
};

}  // namespace understudy::emu
