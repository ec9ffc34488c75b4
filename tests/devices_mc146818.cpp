#include <doctest/doctest.h>

#include <stdexcept>
#include <string>

#include "devices/mc146818.h"
#include "tests/fake_board.h"

using understudy::devices::Mc146818;
using understudy::tests::FakeBoard;
using understudy::tests::StateDump;
using understudy::tests::StateLoad;

namespace emu = understudy::emu;

namespace {
constexpr uint64_t kSec = 1000000000;
constexpr int64_t kStart = 951868799;  // 2000-02-29 23:59:59 UTC, a Tuesday
constexpr uint64_t kNever = emu::EventQueue::kNever;

struct Fixture : FakeBoard {
  Mc146818 rtc;
  explicit Fixture(int64_t start = kStart) : rtc(clock, events, emu::IrqLine(&irqs, 8), start) {
    rtc.attach(ports);
    rtc.reset();
  }
  uint8_t get(uint8_t index) {
    ports.write(0x70, 1, index);
    return static_cast<uint8_t>(ports.read(0x71, 1));
  }
  void set(uint8_t index, uint8_t value) {
    ports.write(0x70, 1, index);
    ports.write(0x71, 1, value);
  }
  // "CCYY-MM-DD w hh:mm:ss" in the registers' own hexadecimal.
  std::string time() {
    char text[64];
    std::snprintf(text, sizeof text, "%02x%02x-%02x-%02x %x %02x:%02x:%02x", get(0x32), get(9), get(8), get(7), get(6),
                  get(4), get(2), get(0));
    return text;
  }
  void set_time(uint8_t century, uint8_t year, uint8_t month, uint8_t day, uint8_t hour, uint8_t minute, uint8_t sec) {
    const uint8_t values[][2] = {{0x32, century}, {9, year}, {8, month}, {7, day}, {4, hour}, {2, minute}, {0, sec}};
    for (const auto& v : values) set(v[0], v[1]);
  }
  bool line() { return irqs.levels[8]; }
};
}  // namespace

TEST_CASE("RTC: time follows virtual time from the given start, over a leap day") {
  Fixture f;
  CHECK(f.time() == "2000-02-29 3 23:59:59");
  f.advance(kSec - 1);
  CHECK(f.time() == "2000-02-29 3 23:59:59");
  f.advance(1);
  CHECK(f.time() == "2000-03-01 4 00:00:00");
  f.advance(366ull * 86400 * kSec);
  CHECK(f.time() == "2001-03-02 6 00:00:00");
  CHECK(f.events.next_due() == kNever);
  CHECK(Fixture(0).time() == "1970-01-01 5 00:00:00");
  CHECK(Fixture(-1).time() == "1969-12-31 4 23:59:59");
  CHECK(Fixture(4102444800 - 1).time() == "2099-12-31 5 23:59:59");
  CHECK(Fixture(4107542400 - 1).time() == "2100-02-28 1 23:59:59");
  CHECK(Fixture(4107542400).time() == "2100-03-01 2 00:00:00");
}

TEST_CASE("RTC: binary and twelve-hour formats") {
  Fixture f;
  f.set(0x0b, 0x06);
  CHECK(f.time() == "1400-02-1d 3 17:3b:3b");
  f.set(0x0b, 0x04);
  CHECK(f.get(4) == 0x8b);
  f.set(0x0b, 0x00);
  CHECK(f.get(4) == 0x91);
  f.advance(kSec);
  CHECK(f.get(4) == 0x12);  // midnight
  f.advance(12 * 3600 * kSec);
  CHECK(f.get(4) == 0x92);  // noon
  f.advance(3600 * kSec);
  CHECK(f.get(4) == 0x81);
  f.set(4, 0x12);
  f.set(0x0b, 0x02);
  CHECK(f.get(4) == 0x00);
  f.set(0x0b, 0x00);
  f.set(4, 0x92);
  f.set(0x0b, 0x02);
  CHECK(f.get(4) == 0x12);
}

TEST_CASE("RTC: SET freezes the registers for writing and lets go on the second's grid") {
  Fixture f;
  f.advance(kSec * 10 + kSec / 4);
  f.set(0x0b, 0x82);
  CHECK(f.time() == "2000-03-01 4 00:00:09");
  f.advance(5 * kSec);
  CHECK(f.time() == "2000-03-01 4 00:00:09");
  f.set_time(0x20, 0x24, 0x12, 0x31, 0x23, 0x59, 0x58);
  f.set(6, 0x03);
  CHECK(f.time() == "2024-12-31 3 23:59:58");
  f.set(0x0b, 0x02);
  CHECK(f.time() == "2024-12-31 3 23:59:58");
  f.advance(kSec * 3 / 4);
  CHECK(f.time() == "2024-12-31 3 23:59:59");
  f.advance(kSec);
  CHECK(f.time() == "2025-01-01 4 00:00:00");
}

TEST_CASE("RTC: a time register written on the run moves the time at once") {
  Fixture f(1000000000);  // 2001-09-09 01:46:40
  f.advance(kSec / 2);
  f.set(4, 0x13);
  CHECK(f.time() == "2001-09-09 1 13:46:40");
  f.set(6, 5);  // the weekday counts by itself
  CHECK(f.time() == "2001-09-09 5 13:46:40");
  f.advance(86400 * kSec);
  CHECK(f.time() == "2001-09-10 6 13:46:40");
  f.set(0x32, 0x19);
  CHECK(f.time() == "1901-09-10 6 13:46:40");
  f.set(8, 0x00);  // no such month: something sane
  f.set(7, 0xff);
  f.set(0, 0xff);
  f.advance(kSec);
  f.time();
}

TEST_CASE("RTC: a divider that is reset stops time; let go, it updates after half a second") {
  Fixture f;
  f.advance(kSec / 10);
  f.set(0x0b, 0x82);
  f.set(0x0a, 0x76);
  f.get(0x0c);
  f.set_time(0x20, 0x10, 0x06, 0x15, 0x12, 0x00, 0x00);
  f.set(0x0b, 0x02);
  f.advance(7 * kSec);
  CHECK(f.get(0) == 0x00);
  CHECK(f.get(0x0a) == 0x76);
  CHECK((f.get(0x0c) & 0x70) == 0);
  f.set(0x0a, 0x26);
  f.advance(kSec / 2 - 1);
  CHECK(f.get(0) == 0x00);
  f.advance(1);
  CHECK(f.get(0) == 0x01);
  f.advance(kSec);
  CHECK(f.get(0) == 0x02);
  CHECK(f.get(4) == 0x12);
}

TEST_CASE("RTC: UIP announces an update 244 us ahead") {
  Fixture f;
  CHECK(f.get(0x0a) == 0x26);
  f.advance(kSec - 244141);
  CHECK(f.get(0x0a) == 0x26);
  f.advance(1);
  CHECK(f.get(0x0a) == 0xa6);
  f.advance(244139);
  CHECK(f.get(0x0a) == 0xa6);
  CHECK(f.get(0) == 0x59);
  f.advance(1);
  CHECK(f.get(0x0a) == 0x26);
  CHECK(f.get(0) == 0x00);
  f.advance(kSec - 1);
  f.set(0x0b, 0x82);
  CHECK(f.get(0x0a) == 0x26);  // no update comes
  f.set(0x0a, 0xa6);
  CHECK(f.get(0x0a) == 0x26);  // read-only
}

TEST_CASE("RTC: flags are right when polled, without events, and are cleared by the read") {
  Fixture f;
  f.set(1, 0x30);
  f.set(3, 0x00);
  f.set(5, 0x00);
  f.advance(976563);
  CHECK(f.get(0x0c) == 0x40);
  CHECK(f.get(0x0c) == 0x00);
  f.advance(kSec);
  CHECK(f.get(0x0c) == 0x50);
  f.set(0x0a, 0x20);  // no rate
  f.advance(kSec);
  CHECK(f.get(0x0c) == 0x10);
  f.advance(27 * kSec);
  CHECK(f.get(0) == 0x28);
  CHECK(f.get(0x0c) == 0x10);
  f.advance(100 * kSec);  // the alarm passed meanwhile
  CHECK(f.get(0x0c) == 0x30);
  CHECK(f.get(0x0c) == 0x00);
  CHECK(f.events.next_due() == kNever);
  CHECK(f.irqs.edges[8] == 0);
  f.set(0x0c, 0xff);
  f.set(0x0d, 0x00);
  CHECK(f.get(0x0c) == 0x00);
  CHECK(f.get(0x0d) == 0x80);
}

TEST_CASE("RTC: periodic interrupts come on the divider's grid, every rate") {
  const unsigned hertz[] = {0, 256, 128, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2};
  for (unsigned rate = 1; rate < 16; ++rate) {
    Fixture f;
    f.set(0x0a, static_cast<uint8_t>(0x20 | rate));
    f.set(0x0b, 0x42);
    unsigned interrupts = 0;
    uint64_t last = 0;
    while (f.events.next_due() <= 2 * kSec) {
      last = f.events.next_due();
      f.advance_to(last);
      REQUIRE(f.line());
      REQUIRE(f.events.next_due() == kNever);  // until it is acknowledged
      REQUIRE((f.get(0x0c) & 0xc0) == 0xc0);
      REQUIRE_FALSE(f.line());
      ++interrupts;
      REQUIRE(last == emu::scale_up(interrupts, kSec, hertz[rate]));
    }
    CHECK(interrupts == 2 * hertz[rate]);
    CHECK(last == 2 * kSec);
  }
}

TEST_CASE("RTC: an unacknowledged interrupt costs nothing and the grid holds") {
  Fixture f;
  f.set(0x0b, 0x42);
  f.advance(10 * kSec + 100);
  CHECK(f.irqs.edges[8] == 1);
  CHECK(f.get(0x0c) == 0xf0);  // updates and the alarm of 00:00:00 happened too
  CHECK(f.events.next_due() == 10 * kSec + 976563);
  f.set(0x0b, 0x02);
  CHECK(f.events.next_due() == kNever);
}

TEST_CASE("RTC: update-ended interrupt") {
  Fixture f;
  f.set(5, 0x01);  // keeps the alarm out of it
  f.advance(kSec / 3);
  f.set(0x0b, 0x12);
  CHECK(f.events.next_due() == kSec);
  f.advance_to(kSec);
  CHECK(f.line());
  CHECK(f.get(0) == 0x00);
  CHECK(f.get(0x0c) == 0xd0);
  CHECK_FALSE(f.line());
  f.advance(kSec);
  CHECK(f.irqs.edges[8] == 2);
  // SET stops the updates and takes UIE away.
  f.get(0x0c);
  f.set(0x0b, 0x92);
  CHECK(f.get(0x0b) == 0x82);
  CHECK(f.events.next_due() == kNever);
  // Enabling an interrupt whose flag is up already raises the line at once; disabling lowers it.
  f.set(0x0b, 0x02);
  f.advance(kSec);
  f.set(0x0b, 0x12);
  CHECK(f.line());
  f.set(0x0b, 0x02);
  CHECK_FALSE(f.line());
}

TEST_CASE("RTC: alarm") {
  Fixture f(1000000000);  // 01:46:40
  f.set(0x0a, 0x20);
  f.set(0x0b, 0x22);
  f.get(0x0c);
  SUBCASE("exact, the next day") {
    f.set(1, 0x40);
    f.set(3, 0x46);
    f.set(5, 0x01);
    CHECK(f.events.next_due() == 86400 * kSec);
    f.advance(86400 * kSec - 1);
    CHECK_FALSE(f.line());
    f.advance(1);
    CHECK(f.line());
    CHECK(f.get(0x0c) == 0xb0);
    CHECK(f.events.next_due() == 2 * 86400 * kSec);
  }
  SUBCASE("each minute") {
    f.set(1, 0x05);
    f.set(3, 0xc0);
    f.set(5, 0xff);
    CHECK(f.events.next_due() == 25 * kSec);
    f.advance(25 * kSec);
    CHECK(f.get(0x0c) == 0xb0);
    CHECK(f.events.next_due() == 85 * kSec);
  }
  SUBCASE("each second") {
    f.set(1, 0xff);
    f.set(3, 0xff);
    f.set(5, 0xff);
    CHECK(f.events.next_due() == 1 * kSec);
  }
  SUBCASE("each second of one minute") {
    f.set(1, 0xff);
    f.set(3, 0x46);
    f.set(5, 0xff);
    CHECK(f.events.next_due() == 1 * kSec);
    f.advance(19 * kSec);
    f.get(0x0c);
    CHECK(f.events.next_due() == (20 + 59 * 60) * kSec);
  }
  SUBCASE("each hour of the day, by the minute") {
    f.set(1, 0x00);
    f.set(3, 0x00);
    f.set(5, 0xff);
    CHECK(f.events.next_due() == (20 + 13 * 60) * kSec);
  }
  SUBCASE("never") {
    f.set(1, 0x60);
    f.set(3, 0xff);
    f.set(5, 0xff);
    CHECK(f.events.next_due() == kNever);
    f.set(1, 0x0a);  // no decimal digit: 10 is written 10h
    CHECK(f.events.next_due() == kNever);
    f.advance(3 * 86400 * kSec);
    CHECK(f.get(0x0c) == 0x10);
  }
  SUBCASE("afternoon in twelve hours, binary") {
    f.set(0x0b, 0x24);
    f.set(1, 0);
    f.set(3, 0);
    f.set(5, 0x81);
    CHECK(f.events.next_due() == (20 + 13 * 60 + 11 * 3600) * kSec);
  }
  SUBCASE("the time set across it") {
    f.set(1, 0x00);
    f.set(3, 0x00);
    f.set(5, 0x12);
    f.set(4, 0x11);
    CHECK(f.events.next_due() == (20 + 13 * 60) * kSec);
  }
}

TEST_CASE("RTC: CMOS RAM") {
  Fixture f;
  f.rtc.set_cmos(0x35, 0x7f);
  CHECK(f.get(0x35) == 0x7f);
  CHECK(f.get(0xb5) == 0x7f);  // the NMI mask is not part of the index
  f.set(0x0f, 0x0a);
  f.set(0x7f, 0x55);
  CHECK(f.get(0x7f) == 0x55);
  CHECK(f.ports.read(0x70, 1) == 0xff);
  CHECK_THROWS_AS(f.rtc.set_cmos(0x0a, 0), std::logic_error);
  CHECK_THROWS_AS(f.rtc.set_cmos(0x32, 0), std::logic_error);
  CHECK_THROWS_AS(f.rtc.set_cmos(0x80, 0), std::logic_error);
  // The battery outlives a reset; enables and flags do not.
  f.set(0x0b, 0x7e);
  f.advance(3 * kSec / 2);
  CHECK(f.line());
  f.rtc.reset();
  CHECK_FALSE(f.line());
  CHECK(f.get(0x0b) == 0x06);
  CHECK(f.get(0x0c) == 0x00);
  CHECK(f.get(0x0f) == 0x0a);
  CHECK(f.get(0) == 0x00);
  CHECK(f.events.next_due() == kNever);
}

TEST_CASE("RTC: save and restore in the middle of everything") {
  Fixture f;
  f.set(0x0b, 0x82);
  f.set(0x0a, 0x60);
  f.set_time(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x00);
  f.advance(kSec / 7);
  f.set(0x0a, 0x2d);
  f.set(0x0b, 0x22);
  f.set(1, 0x03);
  f.set(3, 0xff);
  f.set(5, 0xff);
  f.set(6, 2);
  f.advance(kSec * 2);
  StateDump saved, saved_events;
  f.rtc.visit_state(saved);
  f.events.visit_state(saved_events);

  Fixture g(0);
  g.clock.now = f.clock.now;
  StateLoad load(saved.fields), load_events(saved_events.fields);
  g.rtc.visit_state(load);
  g.events.visit_state(load_events);
  CHECK(g.rtc.state() == f.rtc.state());
  StateDump again;
  g.rtc.visit_state(again);
  CHECK(again.fields == saved.fields);
  for (Fixture* x : {&f, &g}) {
    CHECK(x->time() == "1999-12-31 2 23:59:02");
    CHECK_FALSE(x->line());
    x->advance(kSec / 2);
    CHECK(x->line());
    CHECK(x->get(0x0c) == 0xf0);
    x->advance(57 * kSec);
    CHECK(x->time() == "2000-01-01 3 00:00:00");
  }
  CHECK(g.rtc.state() == f.rtc.state());
}

TEST_CASE("RTC: any bytes in any order") {
  Fixture f;
  uint32_t seed = 4711;
  for (int i = 0; i < 20000; ++i) {
    seed = seed * 1664525 + 1013904223;
    const auto index = static_cast<uint8_t>(seed >> 8 & (seed & 0x80 ? 0x0f : 0xff));
    if (seed >> 31)
      f.set(index, static_cast<uint8_t>(seed >> 16));
    else
      f.get(index);
    f.advance(static_cast<uint64_t>(seed >> 12) * 2000);
    REQUIRE(f.events.next_due() > f.clock.now);
    REQUIRE(f.line() == ((f.rtc.state().cmos[0x0c] & 0x80) != 0));
  }
}
