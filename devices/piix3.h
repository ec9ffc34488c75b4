// The PIIX3's PCI-to-ISA bridge, function 01.0: its part here is interrupt steering. PIRQRC[A:D] (60h..63h) send each
// PCI interrupt trace to one of the 16 ISA interrupts, level-triggered and shared (82371SB datasheet, 290550, section
// 2.2.11). Each of the 16 outputs is the OR of the traces routed to it and of an ISA device's own line (this class is
// the sink for those), and belongs on both the 8259 pair and the I/O APIC pin of the same number (with IRQ0 on pin 2),
// so a routed PCI interrupt arrives at the I/O APIC as the ISA interrupt that firmware chose.
#pragma once

#include <array>
#include <cstdint>

#include "devices/pci_device.h"
#include "emu/irq_line.h"

namespace understudy::devices {

class Piix3 : public PciDevice, public emu::IrqSink {
 public:
  // `outputs[n]` drives ISA interrupt n.
  Piix3(PciBus& bus, const std::array<emu::IrqLine, 16>& outputs);

  // The line for an ISA device on interrupt `irq`; shares its output with whatever PCI is routed there.
  emu::IrqLine isa_line(unsigned irq) { return {this, irq}; }
  void set_irq(unsigned irq, bool level) override;

  std::string_view name() const override { return "piix3"; }
  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;

 protected:
  void config_written(unsigned offset, unsigned size) override;

 private:
  void update();
  struct State {
    uint16_t isa_levels = 0;  // as ISA devices drive them
    uint16_t outputs = 0;     // as the controllers saw them last
  };
  State state_;
  std::array<emu::IrqLine, 16> outputs_;
};

}  // namespace understudy::devices
