// PCI configuration by mechanism 1 (PCI Local Bus 2.1, section 3.7.4.1), bus 0 only: where this board has everything.
#pragma once
#include "runtime.h"

struct PciFunction {
  uint32_t slot, function;
};

enum { kPciCommand = 0x04, kPciBar0 = 0x10, kPciInterruptLine = 0x3c };
enum { kPciIo = 1, kPciMemory = 2, kPciMaster = 4 };

uint32_t pci_read(struct PciFunction at, uint32_t reg);
void pci_write(struct PciFunction at, uint32_t reg, uint32_t value);
bool pci_find(uint16_t vendor, uint16_t device, struct PciFunction* found);
uint16_t pci_io_window(struct PciFunction at);  // of BAR 0, as firmware has placed it; 0 if it is none
// The ISA interrupt that firmware has routed this function to.
int pci_irq(struct PciFunction at);
