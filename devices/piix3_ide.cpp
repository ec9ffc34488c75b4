#include "devices/piix3_ide.h"

namespace understudy::devices {

Piix3Ide::Piix3Ide(PciBus& pci, const emu::Clock& clock, emu::EventQueue& events, emu::DmaMemory& dma,
                   emu::IrqLine irq14, emu::IrqLine irq15)
    : PciDevice(pci, 0x09,
                {.vendor = 0x8086,
                 .device = 0x7010,
                 .class_code = 0x010180,
                 .revision = 0,
                 .header_type = 0,
                 .interrupt_pin = 0}),
      channels_{IdeChannel("ide0", 0x1f0, clock, events, dma, irq14),
                IdeChannel("ide1", 0x170, clock, events, dma, irq15)} {
  define32(0x40, 0, 0xffffffff);  // IDETIM
  define8(0x44, 0, 0xff);         // SIDETIM
  add_io_bar(4, 16, 4);
}

void Piix3Ide::attach(emu::PortBus& ports) {
  for (IdeChannel& channel : channels_) channel.attach(ports);
}

void Piix3Ide::attach_disk(unsigned channel, unsigned unit, BlockBackend& image, std::string serial) {
  channels_.at(channel).attach_disk(unit, image, std::move(serial));
}

void Piix3Ide::attach_cdrom(unsigned channel, unsigned unit, BlockBackend* disc, std::string serial) {
  channels_.at(channel).attach_cdrom(unit, disc, std::move(serial));
}

void Piix3Ide::set_delay_ns(uint64_t delay_ns) {
  for (IdeChannel& channel : channels_) channel.set_delay_ns(delay_ns);
}

void Piix3Ide::reset() {
  PciDevice::reset();
  for (IdeChannel& channel : channels_) channel.reset();
}

void Piix3Ide::visit_state(emu::StateVisitor& visitor) {
  PciDevice::visit_state(visitor);
  for (IdeChannel& channel : channels_) channel.visit_state(visitor);
}

void Piix3Ide::state_loaded() {
  PciDevice::state_loaded();
  for (IdeChannel& channel : channels_) channel.state_loaded();
}

uint64_t Piix3Ide::window_read(unsigned, uint64_t offset, unsigned size) {
  uint64_t value = 0;
  for (unsigned i = 0; i < size; ++i) {
    const auto at = static_cast<unsigned>(offset) + i;
    value |= static_cast<uint64_t>(channels_[at / 8 & 1].bus_master_read(at % 8)) << (8 * i);
  }
  return value;
}

void Piix3Ide::window_write(unsigned, uint64_t offset, unsigned size, uint64_t value) {
  for (unsigned i = 0; i < size; ++i) {
    const auto at = static_cast<unsigned>(offset) + i;
    channels_[at / 8 & 1].bus_master_write(at % 8, static_cast<uint8_t>(value >> (8 * i)));
  }
}

}  // namespace understudy::devices
