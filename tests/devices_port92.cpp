#include <doctest/doctest.h>

#include "devices/a20_gate.h"
#include "devices/port92.h"
#include "tests/fake_board.h"

using understudy::devices::A20Gate;
using understudy::devices::Port92;
using understudy::tests::FakeBoard;
using understudy::tests::StateDump;
using understudy::tests::StateLoad;

namespace {
struct Fixture : FakeBoard {
  unsigned changes = 0;
  unsigned resets = 0;
  bool a20 = false;
  A20Gate gate{[this](bool enabled) {
    a20 = enabled;
    ++changes;
  }};
  Port92 port{[this](bool enabled) { gate.set_from_port92(enabled); }, [this] { ++resets; }};
  Fixture() {
    port.attach(ports);
    gate.reset();
    port.reset();
    changes = 0;
  }
  void out(uint8_t value) { ports.write(0x92, 1, value); }
  uint8_t in() { return static_cast<uint8_t>(ports.read(0x92, 1)); }
};
}  // namespace

TEST_CASE("port 92: what was written reads back, and bit 1 drives A20") {
  Fixture f;
  CHECK(f.a20);
  CHECK(f.in() == 0);
  f.out(0x02);
  CHECK(f.changes == 0);  // it was open
  CHECK(f.in() == 0x02);
  f.out(0x00);
  CHECK_FALSE(f.a20);
  f.out(0xfe);
  CHECK(f.a20);
  CHECK(f.in() == 0xfe);
  CHECK(f.resets == 0);
}

TEST_CASE("port 92: a rise of bit 0 resets, its level does not") {
  Fixture f;
  f.out(0x03);
  CHECK(f.resets == 1);
  f.out(0x03);
  CHECK(f.resets == 1);
  f.out(0x02);
  f.out(0x03);
  CHECK(f.resets == 2);
}

TEST_CASE("A20: the last of the two drivers decides, a reset opens the gate") {
  Fixture f;
  f.out(0x02);
  f.gate.set_from_keyboard(false);
  CHECK_FALSE(f.a20);
  CHECK(f.in() == 0x02);
  f.out(0x02);
  CHECK(f.a20);
  f.out(0x00);
  f.gate.set_from_keyboard(true);
  CHECK(f.a20);
  f.gate.set_from_keyboard(true);
  CHECK(f.changes == 4);  // only changes are reported
  f.gate.set_from_keyboard(false);
  f.gate.reset();
  CHECK(f.a20);
  CHECK(f.gate.enabled());
}

TEST_CASE("A20 and port 92: a load tells the memory system") {
  Fixture f;
  f.out(0x02);
  f.gate.set_from_keyboard(false);
  StateDump saved_port, saved_gate;
  f.port.visit_state(saved_port);
  f.gate.visit_state(saved_gate);
  Fixture g;
  StateLoad load_port(saved_port.fields), load_gate(saved_gate.fields);
  g.port.visit_state(load_port);
  g.gate.visit_state(load_gate);
  g.gate.state_loaded();
  CHECK_FALSE(g.a20);
  CHECK(g.changes == 1);
  CHECK(g.in() == 0x02);
  CHECK(g.port.state() == f.port.state());
}
