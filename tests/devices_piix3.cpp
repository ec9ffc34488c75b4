#include <doctest/doctest.h>

#include "devices/piix3.h"
#include "tests/pci_rig.h"

using namespace understudy;
using understudy::tests::PciRig;

namespace {
class Card : public devices::PciDevice {
 public:
  Card(devices::PciBus& bus, uint8_t devfn)
      : PciDevice(bus, devfn,
                  {.vendor = 1, .device = 2, .class_code = 0, .revision = 0, .header_type = 0, .interrupt_pin = 1}) {}
  std::string_view name() const override { return "card"; }
  using PciDevice::set_intx;
};

struct Rig : PciRig {
  devices::Piix3 bridge{pci, lines()};
  Card slot3{pci, 0x18};  // PIRQC
  Card slot4{pci, 0x20};  // PIRQD

  std::array<emu::IrqLine, 16> lines() {
    std::array<emu::IrqLine, 16> all;
    for (unsigned n = 0; n < 16; ++n) all[n] = {&irqs, n};
    return all;
  }
};
}  // namespace

TEST_CASE("piix3: identity and reset values") {
  Rig rig;
  CHECK(rig.config_read(8, 0, 4) == 0x70008086);
  CHECK(rig.config_read(8, 0x0a, 2) == 0x0601);
  CHECK(rig.config_read(8, 0x0e, 1) == 0x80);
  CHECK(rig.config_read(8, 0x04, 2) == 0x0007);
  CHECK(rig.config_read(8, 0x60, 4) == 0x80808080);
  CHECK(rig.config_read(8, 0x4c, 4) == 0x0003004d);
}

TEST_CASE("piix3: PIRQs go where they are routed, as levels") {
  Rig rig;
  rig.slot3.set_intx(true);
  CHECK(rig.irqs.edges.empty());
  rig.config_write(8, 0x62, 1, 11);
  CHECK(rig.irqs.levels[11]);
  rig.config_write(8, 0x62, 1, 10);  // a new route moves the level
  CHECK_FALSE(rig.irqs.levels[11]);
  CHECK(rig.irqs.levels[10]);
  rig.config_write(8, 0x63, 1, 10);
  rig.slot4.set_intx(true);
  rig.slot3.set_intx(false);
  CHECK(rig.irqs.levels[10]);
  CHECK(rig.irqs.edges[10] == 1);
  rig.slot4.set_intx(false);
  CHECK_FALSE(rig.irqs.levels[10]);
  // Interrupts of the motherboard cannot be chosen.
  rig.slot3.set_intx(true);
  for (const unsigned irq : {0u, 1u, 2u, 8u, 13u}) {
    rig.config_write(8, 0x62, 1, irq);
    CHECK_FALSE(rig.irqs.levels[irq]);
  }
  rig.config_write(8, 0x62, 1, 0x85);
  CHECK_FALSE(rig.irqs.levels[5]);
}

TEST_CASE("piix3: an ISA device shares its interrupt with PCI") {
  Rig rig;
  rig.config_write(8, 0x62, 1, 9);
  const emu::IrqLine sci = rig.bridge.isa_line(9);
  sci.set(true);
  rig.slot3.set_intx(true);
  sci.set(false);
  CHECK(rig.irqs.levels[9]);
  rig.slot3.set_intx(false);
  CHECK_FALSE(rig.irqs.levels[9]);
  CHECK(rig.irqs.edges[9] == 1);
  rig.bridge.isa_line(4).pulse();
  CHECK(rig.irqs.edges[4] == 1);
  rig.bridge.set_irq(16, true);  // no such line
}

TEST_CASE("piix3: reset takes the routes away; state survives a restore") {
  Rig rig;
  rig.config_write(8, 0x62, 1, 5);
  rig.slot3.set_intx(true);
  rig.bridge.set_irq(7, true);
  tests::StateDump dump, card;
  rig.bridge.visit_state(dump);
  rig.slot3.visit_state(card);

  Rig other;
  tests::StateLoad load(dump.fields), load_card(card.fields);
  other.bridge.visit_state(load);
  other.bridge.state_loaded();
  other.slot3.visit_state(load_card);
  other.slot3.state_loaded();
  CHECK(other.irqs.levels.empty());  // a load raises no lines
  other.slot3.set_intx(false);
  CHECK(other.irqs.levels.count(7) == 0);
  CHECK(other.irqs.levels.count(5) == 1);
  CHECK_FALSE(other.irqs.levels[5]);

  rig.bridge.reset();
  CHECK_FALSE(rig.irqs.levels[5]);
  CHECK(rig.irqs.levels[7]);
}
