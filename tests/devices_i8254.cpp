#include <doctest/doctest.h>

#include "devices/i8254.h"
#include "tests/fake_board.h"

using understudy::devices::I8254;
using understudy::devices::pit_tick_ns;
using understudy::devices::pit_ticks;
using understudy::tests::FakeBoard;
using understudy::tests::StateDump;
using understudy::tests::StateLoad;

namespace emu = understudy::emu;

namespace {
constexpr uint64_t kBase = 100000;  // the tick at which a test begins

struct Fixture : FakeBoard {
  I8254 pit{clock, events, emu::IrqLine(&irqs, 0)};
  explicit Fixture(uint64_t first_tick = kBase) : origin(first_tick) {
    pit.attach(ports);
    pit.reset();
    irqs.edges.clear();
    at(0);
  }
  // Moves to tick `t` of the test.
  void at(uint64_t t) { advance_to(pit_tick_ns(origin + t)); }
  void out(uint16_t port, uint8_t value) { ports.write(port, 1, value); }
  uint8_t in(uint16_t port) { return static_cast<uint8_t>(ports.read(port, 1)); }
  // Low and high byte at once; the count is loaded one tick later.
  void program(unsigned channel, unsigned mode, uint16_t count, bool bcd = false) {
    out(0x43, static_cast<uint8_t>(channel << 6 | 0x30 | mode << 1 | bcd));
    write_count(channel, count);
  }
  void write_count(unsigned channel, uint16_t count) {
    out(static_cast<uint16_t>(0x40 + channel), static_cast<uint8_t>(count));
    out(static_cast<uint16_t>(0x40 + channel), static_cast<uint8_t>(count >> 8));
  }
  uint16_t latched(unsigned channel) {
    out(0x43, static_cast<uint8_t>(channel << 6));
    return both(channel);
  }
  uint16_t both(unsigned channel) {
    const auto port = static_cast<uint16_t>(0x40 + channel);
    const unsigned low = in(port);
    return static_cast<uint16_t>(low | in(port) << 8);
  }
  uint8_t status(unsigned channel) {
    out(0x43, static_cast<uint8_t>(0xe0 | 2u << channel));
    return in(static_cast<uint16_t>(0x40 + channel));
  }
  unsigned edges() { return irqs.edges[0]; }
  uint64_t origin;
};
// The data sheet's mode descriptions taken literally: one channel, one clock at a time, binary.
struct ClockedChannel {
  unsigned mode = 0;
  unsigned reload = 0;
  unsigned element = 0;
  bool out = true, gate = true, programmed = false, counting = false, load_next = false, armed = false;
  bool odd = false;

  void control(unsigned new_mode) {
    mode = new_mode;
    programmed = counting = load_next = false;
    out = mode != 0;
  }
  void write(unsigned count) {
    reload = count == 0 ? 65536 : count;
    programmed = true;
    if (mode == 0) out = false;
    if (mode == 0 || mode == 4) load_next = true;
    if ((mode == 2 || mode == 3) && (!counting || !gate)) load_next = true;
  }
  void set_gate(bool level) {
    if (level && !gate && programmed && mode != 0 && mode != 4) load_next = true;
    if (!level && (mode == 2 || mode == 3)) out = true;
    gate = level;
  }
  void clock() {
    if (load_next) {
      load_next = false;
      counting = armed = true;
      element = mode == 3 ? reload & ~1u : reload;
      odd = reload & 1;
      if (mode == 1) out = false;
      if (mode > 1) out = true;
      return;
    }
    if (!counting || (!gate && mode != 1 && mode != 5)) return;
    if (mode == 2) {
      element = element == 1 ? reload : element - 1;
      out = element != 1;
    } else if (mode == 3) {
      const bool one_more = out && odd;  // an odd count's high half is a clock longer
      if (element == 0 || (element == 2 && !one_more)) {
        out = !out;
        element = reload & ~1u;
        odd = reload & 1;
      } else {
        element -= 2;
      }
    } else {
      element = (element - 1) & 0xffff;
      const bool terminal = element == 0 && armed;
      if (element == 0) armed = false;
      if (mode >= 4)
        out = !terminal;
      else if (terminal)
        out = true;
    }
  }
};
}  // namespace

TEST_CASE("8254: ticks and nanoseconds invert each other, far from power-on too") {
  for (uint64_t tick : {uint64_t{0}, uint64_t{1}, uint64_t{1193181}, uint64_t{1193182}, uint64_t{1193183},
                        uint64_t{123456789}, uint64_t{1} << 40, uint64_t{1} << 53}) {
    CHECK(pit_ticks(pit_tick_ns(tick)) == tick);
    if (tick > 0) CHECK(pit_ticks(pit_tick_ns(tick) - 1) == tick - 1);
  }
  CHECK(pit_ticks(~0ull) == emu::scale(~0ull, 1193182, 1000000000));
  CHECK(pit_tick_ns(1ull << 53) == emu::scale_up(1ull << 53, 1000000000, 1193182));
}

TEST_CASE("8254: after reset the counters move, outputs are high and nothing is scheduled") {
  Fixture f;
  CHECK(f.events.next_due() == emu::EventQueue::kNever);
  CHECK(f.status(0) == 0xb0);
  const uint16_t before = f.latched(0);
  f.at(10);
  CHECK(static_cast<uint16_t>(before - f.latched(0)) == 10);
  CHECK(f.irqs.levels[0]);
  CHECK(f.pit.output(2));
}

TEST_CASE("8254 mode 0: one rise after the count, then the counter wraps silently") {
  Fixture f;
  f.program(0, 0, 1000);
  CHECK_FALSE(f.irqs.levels[0]);
  CHECK(f.status(0) == 0x70);  // null count: the load comes with the next clock
  f.at(1);
  CHECK(f.status(0) == 0x30);
  CHECK(f.latched(0) == 1000);
  f.at(1000);
  CHECK(f.latched(0) == 1);
  CHECK(f.edges() == 0);
  f.at(1001);
  CHECK(f.edges() == 1);
  CHECK(f.latched(0) == 0);
  CHECK(f.status(0) == 0xb0);
  f.at(1002);
  CHECK(f.latched(0) == 0xffff);
  CHECK(f.events.next_due() == emu::EventQueue::kNever);
  f.at(200000);
  CHECK(f.edges() == 1);

  // The first byte of a new count stops the counter and lowers the output.
  const uint16_t stopped = f.latched(0);
  f.out(0x40, 100);
  CHECK_FALSE(f.irqs.levels[0]);
  f.at(200050);
  CHECK(f.latched(0) == stopped);
  f.out(0x40, 0);
  f.at(200150);
  CHECK(f.edges() == 1);
  f.at(200151);
  CHECK(f.edges() == 2);
}

TEST_CASE("8254 mode 0: the gate pauses the count") {
  Fixture f;
  f.pit.set_gate(2, true);
  f.program(2, 0, 100);
  f.at(41);
  CHECK(f.latched(2) == 60);
  f.pit.set_gate(2, false);
  f.at(90);
  CHECK(f.latched(2) == 60);
  f.pit.set_gate(2, true);
  f.at(100);
  CHECK(f.latched(2) == 50);
  f.at(149);
  CHECK_FALSE(f.pit.output(2));
  f.at(150);
  CHECK(f.pit.output(2));
  // A count written while the gate is low waits whole.
  f.pit.set_gate(2, false);
  f.program(2, 0, 100);
  f.at(500);
  CHECK(f.latched(2) == 100);
  CHECK_FALSE(f.pit.output(2));
}

TEST_CASE("8254 mode 1: a retriggerable one-shot") {
  Fixture f;
  f.program(2, 1, 50);
  CHECK(f.pit.output(2));
  CHECK(f.status(2) == 0xf2);
  f.at(10);
  f.pit.set_gate(2, true);
  CHECK(f.pit.output(2));
  f.at(11);
  CHECK_FALSE(f.pit.output(2));
  CHECK(f.latched(2) == 50);
  f.pit.set_gate(2, false);  // only the rise matters
  f.write_count(2, 20);      // for the next trigger
  f.at(40);
  CHECK(f.latched(2) == 21);
  CHECK(f.status(2) == 0x72);
  f.at(60);
  CHECK_FALSE(f.pit.output(2));
  f.at(61);
  CHECK(f.pit.output(2));
  f.at(100);
  f.pit.set_gate(2, true);
  f.at(110);
  CHECK(f.latched(2) == 11);
  f.pit.set_gate(2, false);
  f.pit.set_gate(2, true);  // again, before the end
  CHECK_FALSE(f.pit.output(2));
  f.at(130);
  CHECK_FALSE(f.pit.output(2));
  f.at(131);
  CHECK(f.pit.output(2));
}

TEST_CASE("8254 mode 2: one event a period, without drift") {
  Fixture f;
  f.program(0, 2, 11932);  // 100 Hz
  CHECK(f.edges() == 0);
  f.at(1);
  CHECK(f.latched(0) == 11932);
  f.at(11931);
  CHECK(f.latched(0) == 2);
  CHECK(f.status(0) == 0xb4);
  f.at(11932);
  CHECK(f.latched(0) == 1);
  CHECK(f.status(0) == 0x34);  // low for the last clock
  CHECK(f.edges() == 0);
  f.at(11933);
  CHECK(f.latched(0) == 11932);
  CHECK(f.edges() == 1);
  CHECK(f.status(0) == 0xb4);
  CHECK(f.events.next_due() == pit_tick_ns(kBase + 1 + 2 * 11932));
  f.at(11932 * 100000ull);
  CHECK(f.edges() == 99999);
  f.at(11932 * 100000ull + 1);
  CHECK(f.edges() == 100000);
}

TEST_CASE("8254 mode 2: a new count waits for the end of the cycle") {
  Fixture f;
  f.program(0, 2, 1000);
  f.at(501);
  f.write_count(0, 300);
  CHECK((f.status(0) & 0x40) != 0);
  CHECK(f.latched(0) == 500);
  f.write_count(0, 200);
  f.at(1001);
  CHECK(f.edges() == 1);
  CHECK(f.latched(0) == 200);
  CHECK((f.status(0) & 0x40) == 0);
  f.at(1201);
  CHECK(f.edges() == 2);
}

TEST_CASE("8254 mode 2: the gate stops the counter high, its rise reloads") {
  Fixture f;
  f.pit.set_gate(2, true);
  f.program(2, 2, 100);
  f.at(100);
  CHECK_FALSE(f.pit.output(2));
  f.pit.set_gate(2, false);
  CHECK(f.pit.output(2));
  f.at(150);
  CHECK(f.latched(2) == 1);
  f.pit.set_gate(2, true);
  f.at(151);
  CHECK(f.latched(2) == 100);
  f.pit.set_gate(2, false);
  f.write_count(2, 70);
  CHECK(f.latched(2) == 70);
  f.pit.set_gate(2, true);
  f.at(162);
  CHECK(f.latched(2) == 60);
}

TEST_CASE("8254 mode 3: square wave, even and odd") {
  Fixture f;
  SUBCASE("even") {
    f.program(0, 3, 10);
    const uint16_t counts[] = {10, 8, 6, 4, 2};
    for (unsigned t = 0; t < 40; ++t) {
      f.at(1 + t);
      CHECK(f.latched(0) == counts[t % 5]);
      CHECK(f.pit.output(0) == (t % 10 < 5));
      CHECK(f.edges() == t / 10);
    }
  }
  SUBCASE("odd") {
    f.program(0, 3, 7);
    const uint16_t counts[] = {6, 4, 2, 0, 6, 4, 2};
    for (unsigned t = 0; t < 28; ++t) {
      f.at(1 + t);
      CHECK(f.latched(0) == counts[t % 7]);
      CHECK(f.pit.output(0) == (t % 7 < 4));
      CHECK(f.edges() == t / 7);
    }
  }
  SUBCASE("a new count waits for the half cycle") {
    f.program(0, 3, 100);
    f.at(1 + 20);
    f.write_count(0, 40);
    f.at(1 + 49);
    CHECK(f.pit.output(0));
    CHECK(f.events.next_due() == pit_tick_ns(kBase + 1 + 70));
    f.at(1 + 50);
    CHECK_FALSE(f.pit.output(0));
    CHECK(f.latched(0) == 40);
    f.at(1 + 69);
    CHECK_FALSE(f.pit.output(0));
    CHECK(f.edges() == 0);
    f.at(1 + 70);
    CHECK(f.pit.output(0));
    CHECK(f.edges() == 1);
    f.at(1 + 95);  // in the low half
    f.write_count(0, 10);
    f.at(1 + 110);
    CHECK(f.edges() == 2);
    f.at(1 + 120);
    CHECK(f.edges() == 3);
  }
  SUBCASE("the greatest count") {
    f.program(0, 3, 0);
    f.at(1 + 65535);
    CHECK(f.edges() == 0);
    f.at(1 + 65536);
    CHECK(f.edges() == 1);
  }
  SUBCASE("a count of 1 is not allowed and counts as 2") {
    f.program(0, 3, 1);
    f.at(1 + 20);
    CHECK(f.edges() == 10);
  }
}

TEST_CASE("8254 mode 4: a strobe, re-armed by each count") {
  Fixture f;
  f.program(0, 4, 500);
  CHECK(f.irqs.levels[0]);
  f.at(501);
  CHECK(f.status(0) == 0x38);
  CHECK(f.edges() == 0);
  f.at(502);
  CHECK(f.status(0) == 0xb8);
  CHECK(f.edges() == 1);
  f.at(100000);
  CHECK(f.edges() == 1);
  f.write_count(0, 300);  // as one-shot clock events do
  f.at(100100);
  f.write_count(0, 300);
  f.at(100401);
  CHECK(f.edges() == 1);
  f.at(100402);
  CHECK(f.edges() == 2);
}

TEST_CASE("8254 mode 5: a strobe after a trigger") {
  Fixture f;
  f.program(2, 5, 30);
  f.at(200);
  CHECK(f.pit.output(2));
  f.pit.set_gate(2, true);
  f.at(230);
  CHECK(f.pit.output(2));
  f.at(231);
  CHECK_FALSE(f.pit.output(2));
  f.at(232);
  CHECK(f.pit.output(2));
  f.program(0, 5, 30);  // channel 0's gate never rises
  f.at(1000);
  CHECK(f.edges() == 0);
}

TEST_CASE("8254: BCD counts") {
  Fixture f;
  f.program(0, 2, 0x1000, true);
  f.at(2);
  CHECK(f.latched(0) == 0x0999);
  CHECK(f.status(0) == 0xb5);
  f.at(1001);
  CHECK(f.edges() == 1);
  f.program(0, 0, 0, true);  // 10000
  f.at(1002);
  CHECK(f.latched(0) == 0);
  f.at(1003);
  CHECK(f.latched(0) == 0x9999);
  f.at(11002);
  CHECK(f.edges() == 2);
  f.program(0, 0, 0xffff, true);  // no decimal digits: something sane
  f.at(11010);
  f.latched(0);
}

TEST_CASE("8254: low-byte, high-byte and unlatched word access") {
  Fixture f;
  f.pit.set_gate(2, true);
  f.out(0x43, 0x94);  // channel 2, low byte, mode 2
  f.out(0x42, 0x50);
  f.at(11);
  CHECK(f.in(0x42) == 0x46);
  CHECK(f.in(0x42) == 0x46);
  f.out(0x43, 0x80);
  CHECK(f.in(0x42) == 0x46);
  f.out(0x43, 0xa4);  // high byte
  f.out(0x42, 0x12);
  f.at(12);
  CHECK(f.in(0x42) == 0x12);
  f.at(13);
  CHECK(f.in(0x42) == 0x11);
  f.program(2, 2, 0x1234);
  f.at(14);
  CHECK(f.both(2) == 0x1234);
  CHECK(f.in(0x42) == 0x34);  // low, high in turn
  CHECK(f.in(0x42) == 0x12);
}

TEST_CASE("8254: latches hold until they are read, status before count") {
  Fixture f;
  f.program(0, 2, 0x8000);
  f.at(1);
  f.out(0x43, 0x00);
  f.at(1000);
  f.out(0x43, 0x00);  // ignored: the first is unread
  CHECK(f.both(0) == 0x8000);
  CHECK(f.both(0) == 0x8000 - 999);
  f.out(0x43, 0xc2);  // status and count of channel 0
  f.at(2000);
  f.out(0x43, 0xd2);
  f.out(0x43, 0xe2);
  CHECK(f.in(0x40) == 0xb4);
  CHECK(f.both(0) == 0x8000 - 999);
  CHECK(f.both(0) == 0x8000 - 1999);
  f.out(0x43, 0xde);  // counts of all three at once
  f.at(3000);
  CHECK(f.both(0) == 0x8000 - 1999);
  CHECK(f.both(1) == static_cast<uint16_t>(0 - kBase - 2000));
  CHECK(f.in(0x43) == 0);
  f.out(0x43, 0x34);  // a control word forgets them: status first in line is gone
  f.out(0x43, 0xe2);
  f.out(0x43, 0x34);
  f.write_count(0, 0x4000);
  f.at(3001);
  CHECK(f.both(0) == 0x4000);
}

TEST_CASE("8254: a mode whose output starts high ends a low one with an edge, never otherwise") {
  Fixture f;
  f.program(0, 0, 1000);
  f.at(10);
  f.out(0x43, 0x34);
  CHECK(f.edges() == 1);
  f.write_count(0, 1000);
  f.at(20);
  f.program(0, 3, 1000);
  CHECK(f.edges() == 1);
  f.at(21 + 600);  // in the low half, of which the wire has not heard
  f.program(0, 2, 1000);
  CHECK(f.edges() == 2);
}

TEST_CASE("8254: a rise that is due survives the write that comes before its event") {
  Fixture f;
  f.program(0, 2, 1000);
  f.clock.now = pit_tick_ns(kBase + 1001) + 5;  // the event has not run yet
  f.program(0, 2, 2000);
  CHECK(f.edges() == 1);
  f.at(1001 + 2001);
  CHECK(f.edges() == 2);
}

TEST_CASE("8254: a jump of time is one edge, and the grid holds") {
  Fixture f;
  f.program(0, 2, 2);
  f.clock.now = pit_tick_ns(kBase + 1 + 20000001);
  f.events.run_due(f.clock.now);
  CHECK(f.edges() == 1);
  CHECK(f.events.next_due() == pit_tick_ns(kBase + 1 + 20000002));
}

TEST_CASE("8254: what is derived is what a clocked chip counts") {
  uint32_t seed = 99;
  const auto random = [&](unsigned below) {
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % below;
  };
  for (unsigned mode = 0; mode < 6; ++mode) {
    CAPTURE(mode);
    Fixture f;
    ClockedChannel chip;
    f.pit.set_gate(2, true);
    f.out(0x43, static_cast<uint8_t>(0xb0 | mode << 1));
    chip.control(mode);
    bool counted = false;
    for (uint64_t t = 1; t < 20000; ++t) {
      const unsigned what = random(40);
      if (what == 0 || (what == 1 && random(8) == 0)) {
        const unsigned count = 2 + random(what == 0 ? 40 : 300);
        f.write_count(2, static_cast<uint16_t>(count));
        chip.write(count);
      } else if (what == 2) {
        const bool level = random(3) != 0;
        f.pit.set_gate(2, level);
        chip.set_gate(level);
      } else if (what == 3) {
        f.pit.set_gate(2, false);
        f.pit.set_gate(2, true);
        chip.set_gate(false);
        chip.set_gate(true);
      } else if (what == 4 && random(20) == 0) {
        f.out(0x43, static_cast<uint8_t>(0xb0 | mode << 1));
        chip.control(mode);
      }
      CAPTURE(t);
      // A count written during a strobe ends it at once, not at the load: a clock early.
      if (mode < 4 || !chip.load_next) REQUIRE(f.pit.output(2) == chip.out);
      f.at(t);
      chip.clock();
      counted |= chip.counting;
      REQUIRE(f.pit.output(2) == chip.out);
      if (counted) REQUIRE(f.latched(2) == static_cast<uint16_t>(chip.element));
    }
  }
}

TEST_CASE("8254: save and restore in the middle of everything") {
  Fixture f(5000000);
  f.pit.set_gate(2, true);
  f.program(0, 3, 1001);
  f.program(1, 2, 18);
  f.program(2, 0, 30000);
  f.at(300);
  f.write_count(0, 600);
  f.out(0x43, 0xdc);
  f.out(0x43, 0xe8);
  f.pit.set_gate(2, false);
  f.out(0x42, 0x12);
  f.in(0x40);
  StateDump saved, saved_events;
  f.pit.visit_state(saved);
  f.events.visit_state(saved_events);

  Fixture g(5000000);
  g.at(300);
  StateLoad load(saved.fields), load_events(saved_events.fields);
  g.pit.visit_state(load);
  g.events.visit_state(load_events);
  CHECK(g.pit.state() == f.pit.state());
  StateDump again;
  g.pit.visit_state(again);
  CHECK(again.fields == saved.fields);
  g.irqs = f.irqs;
  for (Fixture* x : {&f, &g}) {
    x->at(501 + 301);
    CHECK(x->edges() == 1);
    CHECK(x->in(0x40) == 2);  // the high byte of the unlatched count
    x->out(0x42, 0x34);
    x->pit.set_gate(2, true);
    x->at(10000);
  }
  CHECK(f.irqs.edges == g.irqs.edges);
  CHECK(f.latched(2) == g.latched(2));
  CHECK(g.pit.state() == f.pit.state());
}

TEST_CASE("8254: any bytes in any order") {
  Fixture f;
  uint32_t seed = 777;
  for (int i = 0; i < 20000; ++i) {
    seed = seed * 1664525 + 1013904223;
    const auto port = static_cast<uint16_t>(0x40 + (seed >> 8) % 4);
    if (seed >> 31)
      f.out(port, static_cast<uint8_t>(seed >> 16));
    else
      f.in(port);
    if ((seed >> 29 & 3) == 0) f.pit.set_gate(2, seed >> 28 & 1);
    f.advance(seed >> 20);
    REQUIRE(f.events.next_due() > f.clock.now);
  }
}
