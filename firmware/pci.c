#include "pci.h"

enum { kAddress = 0xcf8, kData = 0xcfc };

uint32_t pci_read(struct PciFunction at, uint32_t reg) {
  outl(kAddress, 0x80000000u | at.slot << 11 | at.function << 8 | reg);
  return inl(kData);
}

void pci_write(struct PciFunction at, uint32_t reg, uint32_t value) {
  outl(kAddress, 0x80000000u | at.slot << 11 | at.function << 8 | reg);
  outl(kData, value);
}

bool pci_find(uint16_t vendor, uint16_t device, struct PciFunction* found) {
  for (found->slot = 0; found->slot < 32; ++found->slot)
    for (found->function = 0; found->function < 8; ++found->function)
      if (pci_read(*found, 0) == ((uint32_t)device << 16 | vendor)) return true;
  return false;
}

uint16_t pci_io_window(struct PciFunction at) {
  const uint32_t bar = pci_read(at, kPciBar0);
  return bar & 1 ? (uint16_t)(bar & ~3u) : 0;
}

int pci_irq(struct PciFunction at) { return (int)(pci_read(at, kPciInterruptLine) & 0xff); }
