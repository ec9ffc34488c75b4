#include <doctest/doctest.h>

#include "devices/port61.h"
#include "tests/fake_board.h"

using understudy::devices::I8254;
using understudy::devices::pit_tick_ns;
using understudy::devices::Port61;
using understudy::tests::FakeBoard;
using understudy::tests::StateDump;
using understudy::tests::StateLoad;

namespace emu = understudy::emu;

namespace {
struct Fixture : FakeBoard {
  I8254 pit{clock, events, emu::IrqLine(&irqs, 0)};
  Port61 port{clock, pit};
  Fixture() {
    pit.attach(ports);
    port.attach(ports);
    pit.reset();
    port.reset();
  }
  void at_tick(uint64_t tick) { advance_to(pit_tick_ns(tick)); }
  void out(uint16_t p, uint8_t value) { ports.write(p, 1, value); }
  uint8_t in() { return static_cast<uint8_t>(ports.read(0x61, 1)); }
};
}  // namespace

TEST_CASE("port 61: bits 0 to 3 read back, 6 and 7 are clear") {
  Fixture f;
  f.out(0x61, 0xff);
  CHECK((f.in() & 0xcf) == 0x0f);
  f.out(0x61, 0x0a);
  CHECK((f.in() & 0xcf) == 0x0a);
}

TEST_CASE("port 61: the refresh bit turns over every 18 ticks") {
  Fixture f;
  unsigned turns = 0;
  uint8_t last = f.in() & 0x10;
  for (uint64_t us = 1; us <= 15085; ++us) {
    f.advance_to(us * 1000);
    const uint8_t now = f.in() & 0x10;
    turns += now != last;
    last = now;
  }
  CHECK(turns == 999);  // 15.0857 us each
  f.at_tick(36 * 1000 + 17);
  CHECK((f.in() & 0x10) == 0);
  f.at_tick(36 * 1000 + 18);
  CHECK((f.in() & 0x10) == 0x10);
}

TEST_CASE("port 61: gate and output of timer 2, as a calibration loop uses them") {
  Fixture f;
  f.at_tick(1000);
  f.out(0x61, 0x01);
  f.out(0x43, 0xb0);
  f.out(0x42, 0x9b);
  f.out(0x42, 0x2e);  // 11931 ticks, about 10 ms
  CHECK((f.in() & 0x20) == 0);
  f.at_tick(1000 + 11931);
  CHECK((f.in() & 0x20) == 0);
  f.at_tick(1000 + 11932);
  CHECK((f.in() & 0x20) != 0);
  f.out(0x43, 0xb0);
  f.out(0x42, 100);
  f.out(0x42, 0);
  f.at_tick(1000 + 11932 + 51);
  f.out(0x61, 0x00);  // stop half way
  f.at_tick(100000);
  CHECK((f.in() & 0x20) == 0);
  f.out(0x61, 0x03);
  f.at_tick(100049);
  CHECK((f.in() & 0x20) == 0);
  f.at_tick(100050);
  CHECK((f.in() & 0x20) != 0);
}

TEST_CASE("port 61: save, restore, reset") {
  Fixture f;
  f.out(0x61, 0x0d);
  StateDump saved;
  f.port.visit_state(saved);
  Fixture g;
  StateLoad load(saved.fields);
  g.port.visit_state(load);
  CHECK(g.port.state() == f.port.state());
  CHECK((g.in() & 0x0f) == 0x0d);
  CHECK(f.pit.state().channels[2].gate);
  f.port.reset();
  CHECK_FALSE(f.pit.state().channels[2].gate);
  CHECK((f.in() & 0x0f) == 0);
}
