#include <doctest/doctest.h>

#include <random>

#include "devices/piix4_pm.h"
#include "tests/pci_rig.h"

using namespace understudy;
using understudy::tests::PciRig;

namespace {
constexpr unsigned kFn = 0x0b;
constexpr uint16_t kPm = 0x600;
// Bit 23 toggles for the n-th time n * 2^23 ticks after power-on.
uint64_t toggle_ns(uint64_t n) { return emu::scale_up(n << 23, 1000000000, 3579545); }

struct Rig : PciRig {
  unsigned power_offs = 0;
  devices::Piix4Pm pm{pci, clock, events, emu::IrqLine(&irqs, 9), [this] { ++power_offs; }};
  explicit Rig(bool enabled = true) {
    pm.attach(ports);
    pm.reset();
    if (!enabled) return;
    config_write(kFn, 0x40, 4, kPm | 1);
    config_write(kFn, 0x80, 1, 1);
  }
};
}  // namespace

TEST_CASE("piix4_pm: identity, and the PM block follows PMBA and its enable bit") {
  Rig rig(false);
  CHECK(rig.config_read(kFn, 0, 4) == 0x71138086);
  CHECK(rig.config_read(kFn, 0x0a, 2) == 0x0680);
  CHECK(rig.config_read(kFn, 0x3d, 1) == 1);
  CHECK(rig.config_read(kFn, 0x5b, 1) == 0x02);  // firmware must not wait for an SMI
  CHECK(rig.config_read(kFn, 0x40, 4) == 1);
  rig.config_write(kFn, 0x40, 4, 0xffffffff);
  CHECK(rig.config_read(kFn, 0x40, 4) == 0xffc1);
  rig.config_write(kFn, 0x40, 4, kPm);
  CHECK(rig.ports.is_free(kPm, kPm + 63));
  rig.config_write(kFn, 0x80, 1, 1);
  CHECK_FALSE(rig.ports.is_free(kPm, kPm));
  CHECK_FALSE(rig.ports.is_free(kPm + 63, kPm + 63));
  rig.config_write(kFn, 0x40, 4, 0xb000);
  CHECK(rig.ports.is_free(kPm, kPm + 63));
  CHECK_FALSE(rig.ports.is_free(0xb000, 0xb000));
}

TEST_CASE("piix4_pm: the timer counts 3.579545 MHz in 24 bits") {
  Rig rig;
  rig.advance_to(1000000000);
  CHECK(rig.ports.read(kPm + 8, 4) == 3579545);
  rig.advance_to(10000000000);
  CHECK(rig.ports.read(kPm + 8, 4) == (35795450 & 0xffffff));
  CHECK(rig.ports.read(kPm + 9, 1) == (35795450 >> 8 & 0xff));
  rig.ports.write(kPm + 8, 4, 0);  // read-only
  CHECK(rig.ports.read(kPm + 8, 4) == (35795450 & 0xffffff));
}

TEST_CASE("piix4_pm: TMR_STS rises at each toggle of bit 23 and clears by writing a one") {
  Rig rig;
  rig.advance_to(toggle_ns(1) - 1);
  CHECK((rig.ports.read(kPm, 2) & 1) == 0);
  rig.advance_to(toggle_ns(1));
  CHECK((rig.ports.read(kPm + 8, 4) & 0x800000) != 0);
  CHECK((rig.ports.read(kPm, 2) & 1) == 1);
  rig.ports.write(kPm, 2, 1);
  CHECK((rig.ports.read(kPm, 2) & 1) == 0);
  rig.advance_to(toggle_ns(2));
  CHECK((rig.ports.read(kPm, 2) & 1) == 1);
}

TEST_CASE("piix4_pm: the timer raises the SCI on time, without drift, once ACPI is on") {
  Rig rig;
  rig.ports.write(kPm + 2, 2, 1);
  rig.advance_to(toggle_ns(1) + 5);
  CHECK(rig.irqs.edges[9] == 0);  // SCI_EN is off
  rig.ports.write(0xb2, 1, 0xf1);
  CHECK(rig.ports.read(0xb2, 1) == 0xf1);
  CHECK((rig.ports.read(kPm + 4, 2) & 1) == 1);
  CHECK(rig.irqs.levels[9]);
  rig.ports.write(kPm, 2, 1);
  CHECK_FALSE(rig.irqs.levels[9]);
  for (uint64_t n = 2; n < 50; ++n) {
    REQUIRE(rig.events.next_due() == toggle_ns(n));
    rig.advance_to(toggle_ns(n));
    REQUIRE(rig.irqs.levels[9]);
    rig.ports.write(kPm, 1, 1);
    REQUIRE_FALSE(rig.irqs.levels[9]);
  }
  rig.ports.write(0xb2, 1, 0xf0);
  CHECK((rig.ports.read(kPm + 4, 2) & 1) == 0);
  CHECK(rig.events.next_due() == emu::EventQueue::kNever);
}

TEST_CASE("piix4_pm: the power button raises the SCI") {
  Rig rig;
  rig.ports.write(kPm + 2, 2, 0x100);
  rig.ports.write(kPm + 4, 2, 1);
  rig.pm.press_power_button();
  CHECK(rig.irqs.levels[9]);
  CHECK((rig.ports.read(kPm, 2) & 0x100) == 0x100);
  rig.ports.write(kPm + 1, 1, 0x01);
  CHECK_FALSE(rig.irqs.levels[9]);
}

TEST_CASE("piix4_pm: S5 powers off, other sleep states wake at once") {
  Rig rig;
  rig.ports.write(kPm + 4, 2, 0x0001);
  CHECK(rig.power_offs == 0);
  rig.ports.write(kPm + 4, 2, 0x2401);  // SLP_TYP 1
  CHECK(rig.power_offs == 0);
  CHECK((rig.ports.read(kPm, 2) & 0x8000) == 0x8000);
  CHECK(rig.ports.read(kPm + 4, 2) == 0x0401);  // SLP_EN reads as zero
  rig.ports.write(kPm + 4, 2, 0x2001);
  CHECK(rig.power_offs == 1);
}

TEST_CASE("piix4_pm: GPE block, SMI status and global control are there") {
  Rig rig;
  rig.ports.write(0xafe0, 2, 0xffff);
  CHECK(rig.ports.read(0xafe0, 2) == 0);
  rig.ports.write(0xafe2, 2, 0x1234);
  CHECK(rig.ports.read(0xafe2, 2) == 0x1234);
  rig.ports.write(0xb3, 1, 0x55);
  CHECK(rig.ports.read(0xb3, 1) == 0x55);
  rig.ports.write(kPm + 0x28, 4, 0xdeadbeef);
  CHECK(rig.ports.read(kPm + 0x28, 4) == 0xdeadbeef);
  CHECK(rig.ports.read(kPm + 0x0c, 4) == 0);
}

TEST_CASE("piix4_pm: the SMBus finds no device") {
  Rig rig;
  rig.config_write(kFn, 0x90, 4, 0x701);
  rig.config_write(kFn, 0xd2, 1, 0x09);
  CHECK(rig.ports.read(0x700, 1) == 0);
  rig.ports.write(0x704, 1, 0xa1);
  rig.ports.write(0x702, 1, 0x48);
  CHECK(rig.ports.read(0x700, 1) == 0x04);
  CHECK(rig.ports.read(0x702, 1) == 0x08);
  rig.ports.write(0x700, 1, 0x04);
  CHECK(rig.ports.read(0x700, 1) == 0);
}

TEST_CASE("piix4_pm: state survives a restore in the middle of a timer period") {
  Rig rig;
  rig.ports.write(kPm + 2, 2, 0x101);
  rig.ports.write(kPm + 4, 2, 1);
  rig.advance_to(toggle_ns(3) + 1000);
  rig.ports.write(kPm, 2, 1);
  tests::StateDump dump, events;
  rig.pm.visit_state(dump);
  rig.events.visit_state(events);

  Rig other(false);
  other.clock.now = rig.clock.now;
  tests::StateLoad load(dump.fields), load_events(events.fields);
  other.pm.visit_state(load);
  other.pm.state_loaded();
  other.events.visit_state(load_events);
  for (Rig* r : {&rig, &other}) {
    CHECK(r->ports.read(kPm, 2) == 0);
    r->advance_to(toggle_ns(4));
    CHECK(r->irqs.levels[9]);
    CHECK((r->ports.read(kPm, 2) & 1) == 1);
  }
}

TEST_CASE("piix4_pm: random register traffic is harmless") {
  Rig rig;
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    const unsigned size = 1u << (random() % 3);
    const auto port = static_cast<uint16_t>(kPm + random() % 64);
    if (random() % 2 == 0)
      rig.ports.write(port, size, static_cast<uint32_t>(random()));
    else
      rig.ports.read(port, size);
    rig.advance(random() % 100000000);
  }
  rig.pm.reset();
  CHECK(rig.ports.is_free(kPm, kPm + 63));
  CHECK_FALSE(rig.irqs.levels[9]);
}
