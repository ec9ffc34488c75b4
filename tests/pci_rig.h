// Configuration cycles as a guest makes them.
#pragma once

#include <cstdint>

#include "devices/pci_bus.h"
#include "tests/fake_board.h"

namespace understudy::tests {

struct PciRig : FakeBoard {
  unsigned hard_resets = 0;
  unsigned soft_resets = 0;
  devices::PciBus pci{ports, mmio, [this](bool hard) { ++(hard ? hard_resets : soft_resets); }};

  PciRig() { pci.attach(); }

  void select(unsigned devfn, unsigned offset, unsigned bus = 0) {
    ports.write(0xcf8, 4, 0x80000000u | bus << 16 | devfn << 8 | (offset & 0xfc));
  }
  uint32_t config_read(unsigned devfn, unsigned offset, unsigned size) {
    select(devfn, offset);
    return ports.read(static_cast<uint16_t>(0xcfc + (offset & 3)), size);
  }
  void config_write(unsigned devfn, unsigned offset, unsigned size, uint32_t value) {
    select(devfn, offset);
    ports.write(static_cast<uint16_t>(0xcfc + (offset & 3)), size, value);
  }
};

}  // namespace understudy::tests
