#include "devices/piix3.h"

#include "devices/pci_bus.h"

namespace understudy::devices {

namespace {
constexpr uint8_t kPirqRoute = 0x60;
constexpr uint8_t kPirqDisabled = 0x80;
// Interrupts 0, 1, 2, 8 and 13 cannot be chosen: they belong to devices on the motherboard.
constexpr uint16_t kRoutable = 0xdef8;

struct Register {
  uint8_t offset;
  uint8_t value;
};
// Power-on values, datasheet section 2.2: I/O recovery, X-bus chip selects, top of memory, motherboard IRQ, DMA, SMI.
constexpr Register kRegisters[] = {{0x4c, 0x4d}, {0x4e, 0x03}, {0x4f, 0x00}, {0x60, 0x80}, {0x61, 0x80}, {0x62, 0x80},
                                   {0x63, 0x80}, {0x69, 0x02}, {0x6a, 0x00}, {0x6b, 0x00}, {0x70, 0x80}, {0x76, 0x0c},
                                   {0x77, 0x0c}, {0x78, 0x02}, {0x79, 0x00}, {0x80, 0x00}, {0x82, 0x00}, {0xa0, 0x08},
                                   {0xa2, 0x00}, {0xa3, 0x00}, {0xa4, 0x00}, {0xa5, 0x00}, {0xa6, 0x00}, {0xa7, 0x00},
                                   {0xa8, 0x0f}, {0xaa, 0x00}, {0xab, 0x00}, {0xac, 0x00}, {0xae, 0x00}};
}  // namespace

Piix3::Piix3(PciBus& bus, const std::array<emu::IrqLine, 16>& outputs)
    : PciDevice(bus, 0x08,
                {.vendor = 0x8086,
                 .device = 0x7000,
                 .class_code = 0x060100,
                 .revision = 0,
                 .header_type = 0x80,
                 .interrupt_pin = 0}),
      outputs_(outputs) {
  for (const Register& r : kRegisters) define8(r.offset, r.value, 0xff);
  // An ISA bridge is always bus master and decodes I/O and memory.
  define8(0x04, 0x07, 0x00);
  define8(0x05, 0x00, 0x01);
  bus.on_intx_changed([this] { update(); });
}

void Piix3::set_irq(unsigned irq, bool level) {
  if (irq >= outputs_.size()) return;
  const auto bit = static_cast<uint16_t>(1u << irq);
  state_.isa_levels = static_cast<uint16_t>(level ? state_.isa_levels | bit : state_.isa_levels & ~bit);
  update();
}

void Piix3::update() {
  uint16_t levels = state_.isa_levels;
  const uint8_t pirqs = bus().asserted_pirqs();
  for (unsigned pirq = 0; pirq < 4; ++pirq) {
    const uint8_t route = config8(static_cast<uint8_t>(kPirqRoute + pirq));
    if ((pirqs >> pirq & 1) == 0 || (route & kPirqDisabled) != 0) continue;
    levels |= static_cast<uint16_t>(1u << (route & 15)) & kRoutable;
  }
  const uint16_t changed = levels ^ state_.outputs;
  state_.outputs = levels;
  for (unsigned irq = 0; irq < outputs_.size(); ++irq)
    if ((changed >> irq & 1) != 0) outputs_[irq].set((levels >> irq & 1) != 0);
}

void Piix3::config_written(unsigned offset, unsigned size) {
  if (offset < kPirqRoute + 4u && offset + size > kPirqRoute) update();
}

// A reset takes the routes away; the ISA devices drive their own lines and let go of them in their own resets.
void Piix3::reset() {
  PciDevice::reset();
  update();
}

void Piix3::visit_state(emu::StateVisitor& visitor) {
  PciDevice::visit_state(visitor);
  visitor.value("isa_levels", state_.isa_levels);
  visitor.value("outputs", state_.outputs);
}

}  // namespace understudy::devices
