#include <doctest/doctest.h>

#include "devices/i8259.h"
#include "tests/fake_board.h"

using understudy::devices::I8259;
using understudy::tests::FakeBoard;
using understudy::tests::StateDump;
using understudy::tests::StateLoad;

namespace emu = understudy::emu;

namespace {
constexpr unsigned kIntr = 99;

struct Fixture : FakeBoard {
  I8259 pic{emu::IrqLine(&irqs, kIntr)};
  Fixture() {
    pic.attach(ports);
    pic.reset();
  }
  void out(uint16_t port, uint8_t value) { ports.write(port, 1, value); }
  uint8_t in(uint16_t port) { return static_cast<uint8_t>(ports.read(port, 1)); }
  // As a BIOS does it: vectors 08 and 70, ICW4 as given, everything unmasked.
  void init(uint8_t master_icw4 = 1, uint8_t slave_icw4 = 1) {
    for (uint16_t base : {uint16_t{0x20}, uint16_t{0xa0}}) {
      out(base, 0x11);
      out(base + 1, base == 0x20 ? 0x08 : 0x70);
      out(base + 1, base == 0x20 ? 0x04 : 0x02);
      out(base + 1, base == 0x20 ? master_icw4 : slave_icw4);
    }
  }
  bool intr() { return irqs.levels[kIntr]; }
  void pulse(unsigned pin) {
    pic.set_irq(pin, true);
    pic.set_irq(pin, false);
  }
  uint8_t irr(uint16_t base) {
    out(base, 0x0a);
    return in(base);
  }
  uint8_t isr(uint16_t base) {
    out(base, 0x0b);
    return in(base);
  }
};
}  // namespace

TEST_CASE("8259: an uninitialised pair does not interrupt") {
  Fixture f;
  f.pic.set_irq(0, true);
  f.pic.set_irq(8, true);
  CHECK_FALSE(f.intr());
  CHECK(f.in(0x21) == 0xff);
  f.init();  // ICW1 forgets the edges
  CHECK_FALSE(f.intr());
  CHECK(f.in(0x21) == 0);
}

TEST_CASE("8259: the ICW sequence takes ICW3 and ICW4 only when ICW1 announced them") {
  Fixture f;
  SUBCASE("single, no ICW4") {
    f.out(0x20, 0x12);
    f.out(0x21, 0x47);  // the low three bits are not part of the vector
    f.out(0x21, 0xfe);  // already OCW1
    CHECK(f.in(0x21) == 0xfe);
  }
  SUBCASE("single, ICW4") {
    f.out(0x20, 0x13);
    f.out(0x21, 0x40);
    f.out(0x21, 0x01);
    f.out(0x21, 0xfe);
    CHECK(f.in(0x21) == 0xfe);
  }
  SUBCASE("cascade, no ICW4") {
    f.out(0x20, 0x10);
    f.out(0x21, 0x40);
    f.out(0x21, 0x04);
    f.out(0x21, 0xfe);
    CHECK(f.in(0x21) == 0xfe);
  }
  f.pic.set_irq(0, true);
  CHECK(f.pic.acknowledge() == 0x40);
}

TEST_CASE("8259: edge requests are latched, acknowledged and ended") {
  Fixture f;
  f.init();
  f.pic.set_irq(4, true);
  CHECK(f.intr());
  CHECK(f.irr(0x20) == 0x10);
  f.pic.set_irq(4, false);  // stays latched
  CHECK(f.intr());
  CHECK(f.pic.acknowledge() == 0x0c);
  CHECK_FALSE(f.intr());
  CHECK(f.irr(0x20) == 0);
  CHECK(f.isr(0x20) == 0x10);

  f.pic.set_irq(4, true);
  CHECK_FALSE(f.intr());   // the level is in service
  f.pic.set_irq(4, true);  // no edge
  f.out(0x20, 0x20);
  CHECK(f.isr(0x20) == 0);
  CHECK(f.intr());
  CHECK(f.pic.acknowledge() == 0x0c);
  f.out(0x20, 0x64);  // specific EOI
  CHECK(f.isr(0x20) == 0);
  CHECK_FALSE(f.intr());  // the line is still high, but made no new edge
}

TEST_CASE("8259: priorities are nested and the mask hides without forgetting") {
  Fixture f;
  f.init();
  f.out(0x21, 0x02);
  f.pulse(1);
  CHECK_FALSE(f.intr());
  f.pulse(5);
  CHECK(f.pic.acknowledge() == 0x0d);
  f.pulse(6);
  CHECK_FALSE(f.intr());  // lower than what is in service
  f.pulse(3);
  CHECK(f.intr());
  CHECK(f.pic.acknowledge() == 0x0b);
  CHECK(f.isr(0x20) == 0x28);
  f.out(0x20, 0x20);  // ends the highest, 3
  CHECK(f.isr(0x20) == 0x20);
  f.out(0x21, 0x00);
  CHECK(f.pic.acknowledge() == 0x09);
  f.out(0x20, 0x20);
  f.out(0x20, 0x20);
  CHECK(f.pic.acknowledge() == 0x0e);
}

TEST_CASE("8259: level pins follow their line; ELCR refuses the fixed edge pins") {
  Fixture f;
  f.init();
  f.out(0x4d0, 0xff);
  f.out(0x4d1, 0xff);
  CHECK(f.in(0x4d0) == 0xf8);
  CHECK(f.in(0x4d1) == 0xde);
  f.pic.set_irq(5, true);
  CHECK(f.intr());
  f.pic.set_irq(5, false);
  CHECK_FALSE(f.intr());
  f.pic.set_irq(5, true);
  CHECK(f.pic.acknowledge() == 0x0d);
  CHECK(f.irr(0x20) == 0x20);  // the line is still up
  CHECK_FALSE(f.intr());
  f.out(0x20, 0x20);
  CHECK(f.intr());    // and interrupts again
  f.out(0x20, 0x11);  // a level request survives ICW1
  CHECK(f.irr(0x20) == 0x20);
  f.out(0x4d0, 0);
  f.pic.set_irq(6, true);
  f.pic.set_irq(6, false);
  f.out(0x4d0, 0x40);  // an edge latched on a pin that turns level is gone with its line
  CHECK((f.irr(0x20) & 0x40) == 0);
}

TEST_CASE("8259: the slave's requests come through IR2") {
  Fixture f;
  f.init();
  f.pulse(14);
  CHECK(f.intr());
  CHECK(f.irr(0x20) == 0x04);
  CHECK(f.irr(0xa0) == 0x40);
  CHECK(f.pic.acknowledge() == 0x76);
  CHECK(f.isr(0x20) == 0x04);
  CHECK(f.isr(0xa0) == 0x40);
  f.pulse(8);  // more urgent on the slave, but the master has IR2 in service
  CHECK_FALSE(f.intr());
  f.pulse(3);
  CHECK_FALSE(f.intr());
  f.pulse(0);
  CHECK(f.pic.acknowledge() == 0x08);
  f.out(0x20, 0x20);
  f.out(0xa0, 0x20);
  f.out(0x20, 0x20);
  CHECK(f.pic.acknowledge() == 0x70);
  f.pic.set_irq(2, true);  // nobody but the slave drives the cascade
  CHECK((f.irr(0x20) & 0x04) == 0);
}

TEST_CASE("8259: masking the slave's only request withdraws the cascade's") {
  Fixture f;
  f.init();
  f.pulse(14);
  CHECK(f.intr());
  f.out(0xa1, 0x40);
  CHECK_FALSE(f.intr());
  CHECK(f.irr(0x20) == 0);
  f.out(0xa1, 0x00);
  CHECK(f.pic.acknowledge() == 0x76);
}

TEST_CASE("8259: an acknowledge without a request is spurious and leaves no level in service") {
  Fixture f;
  f.init();
  CHECK(f.pic.acknowledge() == 0x0f);
  CHECK(f.isr(0x20) == 0);
  f.out(0x4d1, 0x08);
  f.pic.set_irq(11, true);
  f.pic.set_irq(11, false);  // a level line that drops takes its request along
  CHECK(f.pic.acknowledge() == 0x0f);
  CHECK(f.isr(0xa0) == 0);
  CHECK(f.isr(0x20) == 0);
}

TEST_CASE("8259: rotation") {
  Fixture f;
  f.init();
  SUBCASE("set priority") {
    f.out(0x20, 0xc4);  // 4 becomes the lowest, 5 the highest
    f.pulse(0);
    f.pulse(4);
    f.pulse(5);
    CHECK(f.pic.acknowledge() == 0x0d);
    f.out(0x20, 0x20);
    CHECK(f.pic.acknowledge() == 0x08);
    f.out(0x20, 0x20);
    CHECK(f.pic.acknowledge() == 0x0c);
  }
  SUBCASE("on non-specific EOI") {
    f.pulse(3);
    f.pulse(4);
    CHECK(f.pic.acknowledge() == 0x0b);
    f.pulse(3);
    f.out(0x20, 0xa0);  // 3 goes to the end of the queue
    CHECK(f.pic.acknowledge() == 0x0c);
  }
  SUBCASE("on specific EOI") {
    f.pulse(3);
    CHECK(f.pic.acknowledge() == 0x0b);
    f.pulse(3);
    f.pulse(6);
    f.out(0x20, 0xe3);
    CHECK(f.isr(0x20) == 0);
    CHECK(f.pic.acknowledge() == 0x0e);
  }
  SUBCASE("a non-specific EOI with nothing in service does not rotate") {
    f.out(0x20, 0xa0);
    CHECK(f.pic.state().chips[0].top == 0);
  }
}

TEST_CASE("8259: automatic EOI, with and without rotation") {
  Fixture f;
  f.init(0x03, 0x03);
  f.pulse(3);
  f.pulse(4);
  CHECK(f.pic.acknowledge() == 0x0b);
  CHECK(f.isr(0x20) == 0);
  CHECK(f.intr());
  CHECK(f.pic.acknowledge() == 0x0c);
  f.out(0x20, 0x80);  // rotate in automatic EOI mode
  f.pulse(3);
  CHECK(f.pic.acknowledge() == 0x0b);
  f.pulse(3);
  f.pulse(7);
  CHECK(f.pic.acknowledge() == 0x0f);
  f.out(0x20, 0x00);  // and no more: 0 is the top now and stays it
  CHECK(f.pic.acknowledge() == 0x0b);
  CHECK(f.pic.state().chips[0].top == 0);
  // The slave's second request is not lost although its INT never fell.
  f.pulse(9);
  f.pulse(10);
  CHECK(f.pic.acknowledge() == 0x71);
  CHECK(f.pic.acknowledge() == 0x72);
  CHECK_FALSE(f.intr());
}

TEST_CASE("8259: special mask mode lets lower levels in and protects masked ones from a non-specific EOI") {
  Fixture f;
  f.init();
  f.pulse(3);
  CHECK(f.pic.acknowledge() == 0x0b);
  f.pulse(6);
  CHECK_FALSE(f.intr());
  f.out(0x20, 0x68);
  f.out(0x21, 0x08);
  CHECK(f.intr());
  CHECK(f.pic.acknowledge() == 0x0e);
  f.out(0x20, 0x20);
  CHECK(f.isr(0x20) == 0x08);
  f.out(0x20, 0x20);
  CHECK(f.isr(0x20) == 0x08);
  f.out(0x20, 0x48);  // off again
  f.pulse(6);
  CHECK_FALSE(f.intr());
  f.out(0x20, 0x20);
  CHECK(f.intr());
}

TEST_CASE("8259: special fully nested mode") {
  Fixture f;
  f.init(0x11, 0x01);
  f.pulse(12);
  CHECK(f.pic.acknowledge() == 0x74);
  f.pulse(15);
  f.pulse(3);
  CHECK_FALSE(f.intr());  // the slave holds 15 back, the master 3
  f.pulse(9);
  CHECK(f.intr());
  CHECK(f.pic.acknowledge() == 0x71);
  CHECK(f.isr(0xa0) == 0x12);
}

TEST_CASE("8259: poll") {
  Fixture f;
  f.init();
  f.out(0x20, 0x0c);
  CHECK(f.in(0x20) == 0);
  f.pulse(6);
  f.out(0x20, 0x0c);
  CHECK(f.in(0x20) == 0x86);
  CHECK_FALSE(f.intr());
  CHECK(f.isr(0x20) == 0x40);
  f.out(0x20, 0x20);
  f.pulse(10);
  f.out(0x20, 0x0c);
  CHECK(f.in(0x21) == 0x82);  // either address
  f.out(0xa0, 0x0c);
  CHECK(f.in(0xa0) == 0x82);
  CHECK(f.isr(0xa0) == 0x04);
  CHECK(f.in(0x21) == 0);  // the mask again
}

TEST_CASE("8259: save and restore between acknowledge and EOI") {
  Fixture f;
  f.init(0x11, 0x01);
  f.out(0x4d1, 0x08);
  f.out(0x20, 0xc6);
  f.pulse(14);
  f.pic.acknowledge();
  f.pic.set_irq(11, true);
  f.pulse(4);
  f.out(0xa0, 0x11);  // in the middle of an ICW sequence
  StateDump saved;
  f.pic.visit_state(saved);

  Fixture g;
  StateLoad load(saved.fields);
  g.pic.visit_state(load);
  StateDump again;
  g.pic.visit_state(again);
  CHECK(again.fields == saved.fields);
  CHECK(g.pic.state() == f.pic.state());
  for (Fixture* x : {&f, &g}) {
    x->out(0xa1, 0x70);
    x->out(0xa1, 0x02);
    x->out(0xa1, 0x01);
    x->out(0x20, 0x62);
    CHECK(x->pic.acknowledge() == 0x73);
    CHECK(x->pic.acknowledge() == 0x0f);
    x->out(0x20, 0x62);
    CHECK(x->isr(0x20) == 0);
  }
  g.pic.reset();
  CHECK(g.pic.state() == I8259::State{});
  CHECK_FALSE(g.intr());
}

TEST_CASE("8259: any bytes in any order leave INTR and its reason in step") {
  Fixture f;
  uint32_t seed = 12345;
  const uint16_t port[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1};
  for (int i = 0; i < 20000; ++i) {
    seed = seed * 1664525 + 1013904223;
    const auto value = static_cast<uint8_t>(seed >> 16);
    switch (seed >> 30) {
      case 0:
        f.pic.set_irq(value & 31, value & 0x80);
        break;
      case 1:
        f.out(port[(seed >> 8) % 6], value);
        break;
      case 2:
        f.in(port[(seed >> 8) % 6]);
        break;
      default:
        f.pic.acknowledge();
    }
    REQUIRE(f.intr() == f.pic.intr());
    REQUIRE(f.pic.state().chips[0].top < 8);
    if (f.intr()) REQUIRE((f.pic.state().chips[0].irr & ~f.pic.state().chips[0].imr) != 0);
  }
}
