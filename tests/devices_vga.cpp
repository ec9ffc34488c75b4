#include <doctest/doctest.h>

#include <stdexcept>

#include "devices/vga.h"
#include "tests/fake_board.h"

using namespace understudy;
using devices::Vga;

namespace {
struct Bench {
  tests::FakeBoard board;
  std::vector<uint8_t> memory = std::vector<uint8_t>(Vga::kMemorySize);
  Vga vga{board.clock, memory};
  Bench() { vga.attach(board.ports); }
  void out(uint16_t port, uint32_t value, unsigned size = 1) { board.ports.write(port, size, value); }
  uint32_t in(uint16_t port, unsigned size = 1) { return board.ports.read(port, size); }
  void crtc(uint8_t index, uint8_t value) { out(0x3d4, index | value << 8, 2); }
  uint8_t crtc(uint8_t index) {
    out(0x3d4, index);
    return static_cast<uint8_t>(in(0x3d5));
  }
  void put(size_t cell, std::string_view text, uint8_t attribute = 0x07, size_t base = 0x18000) {
    for (char c : text) {
      memory[base + cell * 2] = static_cast<uint8_t>(c);
      memory[base + cell * 2 + 1] = attribute;
      ++cell;
    }
  }
};
}  // namespace

TEST_CASE("VGA: out of reset there is an 80 x 25 colour screen at B8000") {
  Bench b;
  b.put(0, "Hello");
  b.put(81, "world", 0x1e);
  b.put(24 * 80 + 79, "!");
  const devices::TextScreen s = b.vga.screen();
  CHECK(s.columns == 80);
  CHECK(s.rows == 25);
  CHECK(s.cells.size() == 2000);
  CHECK(s.at(1, 1) == devices::TextCell{'w', 0x1e});
  CHECK(s.at(79, 24).character == '!');
  CHECK(s.blink);
  CHECK(s.cursor_visible);
  CHECK(s.cursor_row == 0);
  CHECK(s.cursor_column == 0);
  CHECK_FALSE(b.vga.graphics_mode());
  CHECK(b.vga.to_text().substr(0, 13) == "Hello\n world\n");
  CHECK_THROWS_AS(Vga(b.board.clock, std::span(b.memory).first(4096)), std::logic_error);
}

TEST_CASE("VGA: start address, offset and cursor") {
  Bench b;
  b.put(80, "second line is now the first");
  b.crtc(0x0c, 0);
  b.crtc(0x0d, 80);
  b.crtc(0x0e, (80 * 3 + 7) >> 8);
  b.crtc(0x0f, (80 * 3 + 7) & 0xff);
  devices::TextScreen s = b.vga.screen();
  CHECK(s.at(0, 0).character == 's');
  CHECK(s.cursor_visible);
  CHECK(s.cursor_row == 2);
  CHECK(s.cursor_column == 7);
  b.crtc(0x0a, 0x2d);  // off
  CHECK_FALSE(b.vga.screen().cursor_visible);
  b.crtc(0x0a, 0x0f);  // starts below its end
  CHECK_FALSE(b.vga.screen().cursor_visible);
  b.crtc(0x0a, 0x0d);
  CHECK(b.vga.screen().cursor_visible);
  b.crtc(0x0f, 10);  // above the screen
  b.crtc(0x0e, 0);
  CHECK_FALSE(b.vga.screen().cursor_visible);

  b.crtc(0x0d, 0);
  b.crtc(0x13, 0x32);  // 100 cells a row
  b.put(100, "wide");
  CHECK(b.vga.screen().at(0, 1).character == 'w');
  // The window repeats after 16 Ki cells.
  b.crtc(0x0c, 0x40);
  CHECK(b.vga.screen().at(0, 1).character == 'w');
}

TEST_CASE("VGA: other sizes") {
  Bench b;
  b.crtc(0x09, 0x47);  // 8 lines a row
  CHECK(b.vga.screen().rows == 50);
  b.crtc(0x11, 0x0e);  // unprotect
  b.crtc(0x01, 39);
  CHECK(b.vga.screen().columns == 40);
  b.crtc(0x09, 0xc7);  // double scan
  CHECK(b.vga.screen().rows == 25);
  b.crtc(0x09, 0x00);
  b.crtc(0x12, 0xff);
  b.crtc(0x07, 0x42);
  CHECK(b.vga.screen().rows == Vga::kMaxRows);
  b.crtc(0x01, 0xff);
  CHECK(b.vga.screen().columns == Vga::kMaxColumns);
}

TEST_CASE("VGA: the monochrome window and its ports") {
  Bench b;
  b.put(0, "colour");
  b.put(0, "mono", 0x07, 0x10000);
  CHECK(b.in(0x3b4) == 0xff);
  b.out(0x3c2, 0x66);
  b.out(0x3ce, 0x0a06, 2);
  CHECK(b.vga.screen().at(0, 0).character == 'm');
  CHECK(b.in(0x3d4) == 0xff);
  CHECK(b.in(0x3da) == 0xff);
  b.out(0x3b4, 0x0e);
  b.out(0x3b5, 0x01);
  b.out(0x3d5, 0x55);  // nobody there
  CHECK(b.in(0x3b5) == 0x01);
  CHECK(b.in(0x3ba) != 0xff);
  CHECK(b.board.ports.is_free(0x3bc, 0x3bf));
}

TEST_CASE("VGA: indexed registers keep their bits, in one access of two bytes or in two") {
  Bench b;
  b.out(0x3c4, 0xff04, 2);
  CHECK(b.in(0x3c4, 2) == 0x0e04);
  b.out(0x3c4, 0x07);
  b.out(0x3c5, 0xff);
  CHECK(b.in(0x3c5) == 0);
  b.out(0x3ce, 0xff05, 2);
  CHECK(b.in(0x3cf) == 0x7b);
  b.out(0x3ce, 0xff0f, 2);
  CHECK(b.in(0x3cf) == 0);
  b.out(0x3c2, 0xff);
  CHECK(b.in(0x3cc) == 0xef);
  b.out(0x3da, 0xff);
  CHECK(b.in(0x3ca) == 0x0b);
  b.out(0x3c3, 0xfe);
  CHECK(b.in(0x3c3) == 0);
  CHECK(b.in(0x3c2) == 0x10);
  CHECK(b.in(0x3cd) == 0xff);
  b.crtc(0x1f, 0x12);
  CHECK(b.crtc(0x1f) == 0);
}

TEST_CASE("VGA: CRTC write protection") {
  Bench b;
  b.crtc(0x00, 0x11);
  CHECK(b.crtc(0x00) == 0x5f);
  b.crtc(0x07, 0x00);
  CHECK(b.crtc(0x07) == 0x0f);  // only the line compare bit went
  b.crtc(0x11, 0x0e);
  b.crtc(0x00, 0x11);
  b.crtc(0x07, 0x02);
  CHECK(b.crtc(0x00) == 0x11);
  CHECK(b.crtc(0x07) == 0x02);
}

TEST_CASE("VGA: the attribute controller's flip-flop") {
  Bench b;
  b.in(0x3da);
  b.out(0x3c0, 0x10);
  b.out(0x3c0, 0x04);
  b.out(0x3c0, 0x31);
  CHECK(b.in(0x3c0) == 0x00);  // between index and data
  b.in(0x3da);
  CHECK(b.in(0x3c0) == 0x31);
  b.out(0x3c0, 0x10);
  CHECK(b.in(0x3c1) == 0x04);
  CHECK_FALSE(b.vga.screen().blink);
  b.in(0x3da);
  b.out(0x3c0, 0x02);
  b.out(0x3c0, 0xff);
  b.out(0x3c0, 0x22);
  CHECK(b.in(0x3c1) == 0x3f);
}

TEST_CASE("VGA: the DAC") {
  Bench b;
  b.out(0x3c8, 0xff);
  for (uint8_t v : {0x41, 0x02, 0x03, 0x04, 0x05, 0x06}) b.out(0x3c9, v);
  CHECK(b.in(0x3c8) == 1);
  CHECK(b.in(0x3c7) == 0);
  b.out(0x3c7, 0xff);
  CHECK(b.in(0x3c7) == 3);
  for (uint32_t v : {0x01, 0x02, 0x03, 0x04, 0x05, 0x06}) CHECK(b.in(0x3c9) == v);
  b.out(0x3c6, 0x0f);
  CHECK(b.in(0x3c6) == 0x0f);
  // The EGA's brown: two thirds red, one third green.
  b.out(0x3c7, 0x14);
  CHECK(b.in(0x3c9) == 42);
  CHECK(b.in(0x3c9) == 21);
  CHECK(b.in(0x3c9) == 0);
}

TEST_CASE("VGA: retrace follows virtual time") {
  Bench b;
  const uint64_t line = 31'778;
  const auto status = [&](uint64_t ns) {
    b.board.clock.now = ns;
    return b.in(0x3da);
  };
  CHECK(status(0) == 0x00);
  CHECK(status(line - 1) == 0x01);  // horizontal blanking
  CHECK(status(line) == 0x00);
  CHECK(status(400 * line) == 0x01);
  CHECK(status(412 * line - 1) == 0x01);
  CHECK(status(412 * line) == 0x09);
  CHECK(status(414 * line - 1) == 0x09);
  CHECK(status(414 * line) == 0x01);
  CHECK(status(449 * line) == 0x00);
  CHECK(status(1000 * 449 * line + 412 * line) == 0x09);
}

TEST_CASE("VGA: no Bochs display interface") {
  Bench b;
  b.out(0x1ce, 0x0000, 2);
  b.out(0x1cf, 0xb0c0, 2);
  CHECK(b.in(0x1cf, 2) == 0xffff);
  CHECK(b.in(0x1ce, 2) == 0x0000);
  b.out(0x1ce, 0x0305, 2);
  CHECK(b.in(0x1ce, 2) == 0x0305);
}

TEST_CASE("VGA: a graphics mode is noticed, a font load is not one") {
  Bench b;
  b.put(0, "text");
  b.out(0x3ce, 0x0406, 2);  // the A0000 window, odd/even off, as font loaders do
  CHECK_FALSE(b.vga.graphics_mode());
  CHECK(b.vga.to_text() == "text\n");
  b.in(0x3da);
  b.out(0x3c0, 0x30);
  b.out(0x3c0, 0x01);
  CHECK_FALSE(b.vga.graphics_mode());
  b.out(0x3ce, 0x0506, 2);
  CHECK(b.vga.graphics_mode());
  b.vga.reset();
  CHECK_FALSE(b.vga.graphics_mode());
}

TEST_CASE("VGA: any byte to any port is harmless") {
  Bench b;
  uint32_t x = 3;
  for (int i = 0; i < 40000; ++i) {
    x = x * 1664525u + 1013904223u;
    const auto port = static_cast<uint16_t>(x >> 30 == 0 ? 0x1ce + (x >> 8) % 2 : 0x3b0 + (x >> 8) % 0x30);
    b.out(port, x >> 12, 1u << (x >> 26) % 3);
    b.in(port, 1u << (x >> 24) % 3);
    if (i % 200 == 0) {
      const auto s = b.vga.screen();
      CHECK(s.cells.size() == size_t{s.columns} * s.rows);
      CHECK((!s.cursor_visible || (s.cursor_column < s.columns && s.cursor_row < s.rows)));
    }
  }
}

TEST_CASE("VGA: saved between index and data, it goes on elsewhere") {
  Bench a;
  a.crtc(0x0f, 5);
  a.in(0x3da);
  a.out(0x3c0, 0x10);
  a.out(0x3c8, 7);
  a.out(0x3c9, 1);
  a.out(0x1ce, 4, 2);
  tests::StateDump dump;
  a.vga.visit_state(dump);
  Bench b;
  tests::StateLoad load(dump.fields);
  b.vga.visit_state(load);
  b.vga.state_loaded();
  tests::StateDump again;
  b.vga.visit_state(again);
  CHECK(again.fields == dump.fields);
  b.out(0x3c0, 0x04);
  CHECK_FALSE(b.vga.screen().blink);
  CHECK(b.vga.screen().cursor_column == 5);
  b.out(0x3c9, 2);
  b.out(0x3c7, 7);
  CHECK(b.in(0x3c9) == 1);
  CHECK(b.in(0x3c9) == 2);

  dump.fields["dac_component"] = {0xff};
  dump.fields["dac_read_index"] = {0xff};
  tests::StateLoad hostile(dump.fields);
  b.vga.visit_state(hostile);
  b.vga.state_loaded();
  b.in(0x3c9);
}
