#include <doctest/doctest.h>

#include <random>
#include <stdexcept>

#include "devices/pci_bus.h"
#include "tests/pci_rig.h"

using namespace understudy;
using understudy::tests::PciRig;

namespace {

// A function with one I/O BAR, one memory BAR and an interrupt; it remembers the last access to its windows.
class Gadget : public devices::PciDevice {
 public:
  Gadget(devices::PciBus& bus, uint8_t devfn, uint8_t pin = 1)
      : PciDevice(bus, devfn,
                  {.vendor = 0x1234,
                   .device = 0x5678,
                   .class_code = 0x020000,
                   .revision = 3,
                   .header_type = 0,
                   .interrupt_pin = pin}) {
    add_io_bar(0, 32, 4);
    add_memory_bar(1, 4096);
  }
  std::string_view name() const override { return "gadget"; }
  using PciDevice::set_intx;

  unsigned window = 99;
  uint64_t offset = 0;
  unsigned size = 0;
  uint64_t written = 0;

 protected:
  uint64_t window_read(unsigned index, uint64_t at, unsigned n) override {
    window = index;
    offset = at;
    size = n;
    return 0x1122334455667788;
  }
  void window_write(unsigned index, uint64_t at, unsigned n, uint64_t value) override {
    window = index;
    offset = at;
    size = n;
    written = value;
  }
};

class Occupant : public emu::PortDevice {
 public:
  uint32_t port_read(uint16_t, unsigned) override { return 0x5a; }
  void port_write(uint16_t, unsigned, uint32_t) override {}
};

}  // namespace

TEST_CASE("pci: configuration mechanism 1 addresses bytes, words and dwords") {
  PciRig rig;
  Gadget gadget(rig.pci, 0x18);
  CHECK(rig.config_read(0x18, 0, 4) == 0x56781234);
  CHECK(rig.ports.read(0xcf8, 4) == 0x80001800);
  CHECK(rig.config_read(0x18, 2, 2) == 0x5678);
  CHECK(rig.config_read(0x18, 3, 1) == 0x56);
  CHECK(rig.config_read(0x18, 1, 2) == 0x7812);  // straddles within the dword
  CHECK(rig.config_read(0x18, 8, 4) == 0x02000003);
  CHECK(rig.config_read(0x18, 0x2c, 4) == 0x11001af4);
  // A partial write touches only its bytes.
  rig.config_write(0x18, 0x3c, 1, 0x0b);
  CHECK(rig.config_read(0x18, 0x3c, 4) == 0x0000010b);
  // An access beyond CFF gets nothing for the bytes outside.
  rig.select(0x18, 0);
  CHECK(rig.ports.read(0xcff, 2) == 0xff56);
}

TEST_CASE("pci: absent functions, other buses and a cleared enable bit read as ones") {
  PciRig rig;
  Gadget gadget(rig.pci, 0x18);
  CHECK(rig.config_read(0x19, 0, 4) == 0xffffffff);
  rig.select(0x18, 0, 1);
  CHECK(rig.ports.read(0xcfc, 4) == 0xffffffff);
  rig.ports.write(0xcf8, 4, 0x00001800);
  CHECK(rig.ports.read(0xcfc, 2) == 0xffff);
  rig.ports.write(0xcfc, 4, 0);  // goes nowhere
  CHECK(rig.config_read(0x18, 0, 4) == 0x56781234);
  CHECK_THROWS_AS(Gadget(rig.pci, 0x18), std::logic_error);
}

TEST_CASE("pci: CF8 is a dword register; CF9 is the reset control register") {
  PciRig rig;
  rig.ports.write(0xcf8, 4, 0xffffffff);
  CHECK(rig.ports.read(0xcf8, 4) == 0x80fffffc);
  rig.ports.write(0xcf8, 1, 0x00);
  rig.ports.write(0xcf8, 2, 0x0000);
  CHECK(rig.ports.read(0xcf8, 4) == 0x80fffffc);
  CHECK(rig.ports.read(0xcf8, 1) == 0xff);
  rig.ports.write(0xcf9, 1, 0x02);
  CHECK(rig.hard_resets + rig.soft_resets == 0);
  CHECK(rig.ports.read(0xcf9, 1) == 0x02);
  rig.ports.write(0xcf9, 1, 0x06);
  CHECK(rig.hard_resets == 1);
  CHECK(rig.ports.read(0xcf9, 1) == 0x02);
  rig.ports.write(0xcf9, 1, 0x04);
  CHECK(rig.soft_resets == 1);
  rig.pci.reset();
  CHECK(rig.ports.read(0xcf9, 1) == 0);
  CHECK(rig.ports.read(0xcf8, 4) == 0);
}

TEST_CASE("pci: read-only registers keep their values and unimplemented BARs are zero") {
  PciRig rig;
  Gadget gadget(rig.pci, 0x18);
  for (unsigned offset = 0; offset < 0x40; offset += 4) rig.config_write(0x18, offset, 4, 0xffffffff);
  CHECK(rig.config_read(0x18, 0x00, 4) == 0x56781234);
  CHECK(rig.config_read(0x18, 0x04, 2) == 0x0547);
  CHECK(rig.config_read(0x18, 0x08, 4) == 0x02000003);
  CHECK(rig.config_read(0x18, 0x10, 4) == 0xffffffe1);
  CHECK(rig.config_read(0x18, 0x14, 4) == 0xfffff000);
  for (unsigned bar = 2; bar < 6; ++bar) CHECK(rig.config_read(0x18, 0x10 + 4 * bar, 4) == 0);
  CHECK(rig.config_read(0x18, 0x30, 4) == 0);
  CHECK(rig.config_read(0x18, 0x3d, 1) == 1);
}

TEST_CASE("pci: windows follow the BARs and the command register") {
  PciRig rig;
  Gadget gadget(rig.pci, 0x18);
  rig.config_write(0x18, 0x10, 4, 0xc000);
  CHECK(rig.ports.is_free(0xc000, 0xc01f));
  rig.config_write(0x18, 4, 2, 1);
  CHECK_FALSE(rig.ports.is_free(0xc000, 0xc000));
  CHECK(rig.ports.read(0xc004, 4) == 0x55667788);
  CHECK(gadget.window == 0);
  CHECK(gadget.offset == 4);
  CHECK(gadget.size == 4);
  rig.ports.write(0xc006, 2, 0xbeef);
  CHECK(gadget.written == 0xbeef);
  // An access over the window's end: only the bytes inside arrive.
  CHECK(rig.ports.read(0xc01e, 4) == 0xffff8888);
  CHECK(gadget.offset == 31);

  rig.config_write(0x18, 0x10, 4, 0xd000);
  CHECK(rig.ports.is_free(0xc000, 0xc01f));
  CHECK_FALSE(rig.ports.is_free(0xd000, 0xd01f));
  rig.config_write(0x18, 4, 1, 0);
  CHECK(rig.ports.is_free(0xd000, 0xd01f));

  rig.config_write(0x18, 0x14, 4, 0xe0000000);
  CHECK(rig.mmio.read(0xe0000000, 4) == ~0ull);
  rig.config_write(0x18, 4, 1, 2);
  CHECK(rig.mmio.read(0xe0000010, 8) == 0x1122334455667788);
  CHECK(gadget.window == 1);
  CHECK(gadget.offset == 0x10);
  gadget.reset();
  CHECK(rig.mmio.is_free(0xe0000000, 4096));
}

TEST_CASE("pci: a window that collides is refused quietly and appears when its place becomes free") {
  PciRig rig;
  Occupant occupant;
  rig.ports.attach(0x60, 0x60, occupant);
  Gadget first(rig.pci, 0x18);
  Gadget second(rig.pci, 0x20);
  rig.config_write(0x18, 4, 1, 3);
  rig.config_write(0x20, 4, 1, 3);
  rig.config_write(0x18, 0x10, 4, 0x60);
  CHECK(rig.ports.read(0x60, 1) == 0x5a);
  CHECK(rig.ports.is_free(0x61, 0x7f));
  // Two functions at one place: the lower devfn has it.
  rig.config_write(0x20, 0x10, 4, 0xc000);
  rig.config_write(0x18, 0x10, 4, 0xc000);
  rig.ports.read(0xc000, 1);
  CHECK(first.window == 0);
  CHECK(second.window == 99);
  rig.config_write(0x18, 0x10, 4, 0xc100);
  rig.ports.read(0xc000, 1);
  CHECK(second.window == 0);
  // Memory likewise; bases that do not fit in 64 Ki ports are nowhere.
  rig.config_write(0x18, 0x14, 4, 0xe0000000);
  rig.config_write(0x20, 0x14, 4, 0xe0000000);
  rig.config_write(0x20, 0x10, 4, 0xfffffff0);
  rig.config_write(0x20, 0x14, 4, 0xfffff000);
  CHECK_FALSE(rig.mmio.is_free(0xfffff000, 4096));
  // The configuration ports themselves cannot be covered.
  rig.config_write(0x18, 0x10, 4, 0xce0);
  CHECK(rig.config_read(0x18, 0, 2) == 0x1234);
}

TEST_CASE("pci: interrupt pins rotate over the traces, are shared and can be disabled") {
  PciRig rig;
  unsigned changes = 0;
  rig.pci.on_intx_changed([&] { ++changes; });
  Gadget slot3(rig.pci, 0x18);     // INTA# of slot 3: PIRQC
  Gadget slot4(rig.pci, 0x20, 4);  // INTD# of slot 4: PIRQC too
  slot3.set_intx(true);
  CHECK(rig.pci.asserted_pirqs() == 4);
  CHECK((rig.config_read(0x18, 6, 1) & 8) == 8);
  slot4.set_intx(true);
  slot3.set_intx(false);
  CHECK(rig.pci.asserted_pirqs() == 4);
  rig.config_write(0x20, 4, 2, 0x400);
  CHECK(rig.pci.asserted_pirqs() == 0);
  CHECK((rig.config_read(0x20, 6, 1) & 8) == 8);  // still pending
  rig.config_write(0x20, 4, 2, 0);
  CHECK(rig.pci.asserted_pirqs() == 4);
  slot4.reset();
  CHECK(rig.pci.asserted_pirqs() == 0);
  CHECK(changes >= 5);
}

TEST_CASE("pci: state survives a save and restore, windows included") {
  PciRig rig;
  Gadget first(rig.pci, 0x18), second(rig.pci, 0x20);
  rig.config_write(0x18, 0x10, 4, 0xc000);
  rig.config_write(0x18, 4, 1, 1);
  rig.config_write(0x20, 0x10, 4, 0xc000);
  rig.config_write(0x20, 4, 1, 1);
  second.set_intx(true);
  tests::StateDump bus_dump, first_dump, second_dump;
  rig.pci.visit_state(bus_dump);
  first.visit_state(first_dump);
  second.visit_state(second_dump);

  PciRig other;
  Gadget first2(other.pci, 0x18), second2(other.pci, 0x20);
  tests::StateLoad a(bus_dump.fields), b(first_dump.fields), c(second_dump.fields);
  other.pci.visit_state(a);
  second2.visit_state(c);
  second2.state_loaded();  // in any order
  first2.visit_state(b);
  first2.state_loaded();
  other.ports.read(0xc000, 1);
  CHECK(first2.window == 0);
  CHECK(second2.window == 99);
  CHECK(other.ports.read(0xcf8, 4) == rig.ports.read(0xcf8, 4));
  CHECK(other.pci.asserted_pirqs() == rig.pci.asserted_pirqs());
  tests::StateDump again;
  second2.visit_state(again);
  CHECK(again.fields == second_dump.fields);
}

TEST_CASE("pci: random configuration cycles never harm the machine") {
  PciRig rig;
  Occupant occupant;
  rig.ports.attach(0x3f0, 0x3ff, occupant);
  Gadget first(rig.pci, 0x18), second(rig.pci, 0x20);
  std::mt19937 random(1);
  const uint8_t functions[] = {0x18, 0x20, 0x21};
  for (int i = 0; i < 20000; ++i) {
    const unsigned size = 1u << (random() % 3);
    rig.config_write(functions[random() % 3], random() % 256, size, static_cast<uint32_t>(random()));
    rig.ports.write(static_cast<uint16_t>(0xcf8 + random() % 8), size, static_cast<uint32_t>(random()));
    rig.ports.read(static_cast<uint16_t>(random()), size);
    rig.mmio.read(random(), size);
  }
  CHECK(rig.config_read(0x18, 0, 4) == 0x56781234);
  CHECK(rig.ports.read(0x3f0, 1) == 0x5a);
}
