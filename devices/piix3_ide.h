// The PIIX3's IDE controller, function 01.1: two channels at the legacy ports 1F0/3F6 (ISA interrupt 14) and 170/376
// (ISA interrupt 15), and the bus master registers of both behind BAR 4 (82371SB datasheet, 290550, section 2.3
// and 2.7). The legacy ports answer whether or not IDETIM's decode enable is set, so a guest without firmware finds
// them too; IDETIM and SIDETIM (timing) are storage. BARs 0..3 do not exist: the chip has no native mode.
#pragma once

#include <array>
#include <string>

#include "devices/ide_channel.h"
#include "devices/pci_device.h"

namespace understudy::devices {

class Piix3Ide : public PciDevice {
 public:
  Piix3Ide(PciBus& bus, const emu::Clock& clock, emu::EventQueue& events, emu::DmaMemory& dma, emu::IrqLine irq14,
           emu::IrqLine irq15);

  // Claims the legacy ports; the bus master block follows BAR 4.
  void attach(emu::PortBus& ports);
  // `channel` 0 or 1, `unit` 0 (master) or 1 (slave). The image outlives the controller and has at least one sector.
  // `serial` is what IDENTIFY shows: at most 20 ASCII characters.
  void attach_disk(unsigned channel, unsigned unit, BlockBackend& image, std::string serial);
  // No disc (null) is an empty drive.
  void attach_cdrom(unsigned channel, unsigned unit, BlockBackend* disc, std::string serial);
  // How long every operation takes, in virtual time: configuration, to be set before the machine runs.
  void set_delay_ns(uint64_t delay_ns);

  std::string_view name() const override { return "piix3_ide"; }
  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;
  void state_loaded() override;

 protected:
  uint64_t window_read(unsigned index, uint64_t offset, unsigned size) override;
  void window_write(unsigned index, uint64_t offset, unsigned size, uint64_t value) override;

 private:
  std::array<IdeChannel, 2> channels_;
};

}  // namespace understudy::devices
