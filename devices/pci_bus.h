// PCI bus 0 as the CPU sees it: configuration mechanism #1 at ports CF8 (address) and CFC..CFF (data), PCI Local Bus
// Specification 2.2, section 3.2.2.3.2, and the PIIX3's reset control register at CF9 (82371SB datasheet, 2.5.2), which
// shares those ports. Absent functions and other buses read as ones. The bus also decides where windows sit: in order
// of devfn and window, each is mapped when the ports or addresses it asks for are free, else quietly not at all, so a
// guest that piles windows onto each other or onto fixed ports gets a dead device and never a dead machine.
#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include "devices/pci_device.h"
#include "emu/bus.h"
#include "emu/device.h"

namespace understudy::devices {

class PciBus : public emu::Device, public emu::PortDevice {
 public:
  // Windows are mapped onto these buses. `on_reset` is called from within the guest's write to CF9: it must only ask
  // for a reset, which then happens between instructions; `hard` tells a system reset from a CPU reset.
  PciBus(emu::PortBus& ports, emu::MmioBus& mmio, std::function<void(bool hard)> on_reset);

  // Claims CF8..CFF.
  void attach();
  // Called after any change of an INTx# pin; the listener asks asserted_pirqs().
  void on_intx_changed(std::function<void()> callback) { on_intx_changed_ = std::move(callback); }
  // Bits 0..3: PIRQA..D, the four board traces, each the OR of the pins wired to it. Slots rotate over the traces as on
  // the boards that go with the i440FX in virtual machines: trace = (slot - 1 + pin - 1) mod 4.
  uint8_t asserted_pirqs() const;

  std::string_view name() const override { return "pci"; }
  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;

  uint32_t port_read(uint16_t port, unsigned size) override;
  void port_write(uint16_t port, unsigned size, uint32_t value) override;

 private:
  friend class PciDevice;
  void add(PciDevice& device);
  void remove(PciDevice& device);
  void update_windows();
  void intx_changed();
  PciDevice* addressed() const;
  void write_reset_control(uint8_t value);

  struct State {
    uint32_t address = 0;
    uint8_t reset_control = 0;
  };
  State state_;
  emu::PortBus& ports_;
  emu::MmioBus& mmio_;
  std::function<void(bool)> on_reset_;
  std::function<void()> on_intx_changed_;
  std::map<uint8_t, PciDevice*> devices_;  // by devfn
};

}  // namespace understudy::devices
