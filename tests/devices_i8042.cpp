#include <doctest/doctest.h>

#include <string>

#include "devices/i8042.h"
#include "devices/keymap.h"
#include "tests/fake_board.h"

namespace understudy::devices {
namespace {

using Bytes = std::vector<uint8_t>;

struct Fixture {
  tests::FakeBoard board;
  std::vector<bool> a20;
  unsigned resets = 0;
  I8042 i8042{board.clock, board.events, board.world,
              I8042::Wiring{.keyboard_irq = {&board.irqs, 1},
                            .mouse_irq = {&board.irqs, 12},
                            .a20 = [this](bool on) { a20.push_back(on); },
                            .reset = [this] { ++resets; }}};
  Fixture() {
    i8042.attach(board.ports);
    i8042.reset();
  }
  void command(uint8_t value) { board.ports.write(0x64, 1, value); }
  void data(uint8_t value) { board.ports.write(0x60, 1, value); }
  uint8_t status() { return static_cast<uint8_t>(board.ports.read(0x64, 1)); }
  uint8_t read() { return static_cast<uint8_t>(board.ports.read(0x60, 1)); }
  // Everything that comes without further ado.
  Bytes drain() {
    Bytes all;
    while ((status() & 1) != 0 && all.size() < 10'000) all.push_back(read());
    return all;
  }
  // ... and what comes with time.
  Bytes drain_keys() {
    Bytes all;
    do {
      for (const uint8_t byte : drain()) all.push_back(byte);
      board.advance(I8042::kKeyGapNs);
    } while ((status() & 1) != 0);
    return all;
  }
  void press(const Bytes& set2) { board.world.deliver({board.world.channel("keyboard"), set2}); }
  void set_command_byte(uint8_t value) {
    command(0x60);
    data(value);
  }
  uint8_t command_byte() {
    command(0x20);
    return read();
  }
  Bytes keyboard(uint8_t byte) {
    data(byte);
    return drain();
  }
  Bytes mouse(uint8_t byte) {
    command(0xd4);
    data(byte);
    Bytes all;
    while ((status() & 0x21) == 0x21) all.push_back(read());
    return all;
  }
  bool irq1() { return board.irqs.levels[1]; }
  bool irq12() { return board.irqs.levels[12]; }
};

TEST_CASE_FIXTURE(Fixture, "i8042: after reset it is as a BIOS leaves it") {
  CHECK(status() == 0x14);
  CHECK(command_byte() == 0x65);
  CHECK_FALSE(irq1());
  CHECK_FALSE(irq12());
  CHECK(a20.empty());
}

TEST_CASE_FIXTURE(Fixture, "i8042: controller commands and their replies") {
  const std::pair<uint8_t, uint8_t> replies[] = {{0xaa, 0x55}, {0xab, 0x00}, {0xa9, 0x00},
                                                 {0xa4, 0xf1}, {0xc0, 0x80}, {0xe0, 0x00}};
  for (const auto& [request, answer] : replies) {
    CAPTURE(request);
    command(request);
    CHECK((status() & 0x29) == 0x09);
    CHECK(read() == answer);
    CHECK((status() & 0x01) == 0);
    CHECK(read() == answer);  // the buffer keeps its last byte
  }
}

TEST_CASE_FIXTURE(Fixture, "i8042: command byte, RAM, ports on and off") {
  set_command_byte(0x00);
  CHECK(command_byte() == 0x00);
  CHECK((status() & 0x04) == 0);
  command(0xaa);
  CHECK(read() == 0x55);
  CHECK(command_byte() == 0x04);  // the self test sets the system flag
  command(0xad);
  command(0xa7);
  CHECK(command_byte() == 0x34);
  command(0xae);
  command(0xa8);
  CHECK(command_byte() == 0x04);
  command(0x7f);
  data(0x99);
  command(0x3f);
  CHECK(read() == 0x99);
  command(0x60);
  command(0xab);  // a command in between takes back the first
  CHECK(read() == 0x00);
  CHECK(keyboard(0xee) == Bytes{0xee});
  CHECK(command_byte() == 0x04);
}

TEST_CASE_FIXTURE(Fixture, "i8042: status tells command from data") {
  command(0xa7);
  CHECK((status() & 0x08) != 0);
  data(0xee);
  CHECK((status() & 0x08) == 0);
}

TEST_CASE_FIXTURE(Fixture, "i8042: A20 and reset by the output port") {
  command(0xd0);
  CHECK(read() == 0xcf);
  command(0xd1);
  data(0xdd);
  command(0xd1);
  data(0xdf);
  CHECK(a20 == std::vector<bool>{false, true});
  command(0xdd);
  command(0xd0);
  CHECK(read() == 0xcd);
  command(0xdf);
  CHECK(a20 == std::vector<bool>{false, true, false, true});
  CHECK(resets == 0);
  command(0xd1);
  data(0x02);
  CHECK(resets == 1);
  command(0xfe);
  CHECK(resets == 2);
  command(0xff);
  command(0xfd);
  CHECK(resets == 2);
}

TEST_CASE_FIXTURE(Fixture, "i8042: interrupts follow the output buffer") {
  SUBCASE("keyboard") {
    data(0xf2);
    CHECK(irq1());
    CHECK(board.irqs.edges[1] == 1);
    read();
    CHECK(board.irqs.edges[1] == 2);  // one edge a byte
    read();
    read();
    CHECK(board.irqs.edges[1] == 3);
    CHECK_FALSE(irq1());
  }
  SUBCASE("switched off and on in the command byte") {
    set_command_byte(0x44);
    data(0xee);
    CHECK_FALSE(irq1());
    set_command_byte(0x45);
    CHECK(irq1());
  }
  SUBCASE("mouse loop, as a driver tests IRQ 12") {
    set_command_byte(0x47);
    command(0xd3);
    data(0x5a);
    CHECK((status() & 0x21) == 0x21);
    CHECK(irq12());
    CHECK_FALSE(irq1());
    CHECK(read() == 0x5a);
    CHECK_FALSE(irq12());
  }
  SUBCASE("keyboard loop, not translated") {
    command(0xd2);
    data(0x1c);
    CHECK((status() & 0x21) == 0x01);
    CHECK(irq1());
    CHECK(read() == 0x1c);
  }
}

TEST_CASE_FIXTURE(Fixture, "i8042: keyboard commands") {
  set_command_byte(0x04);  // no translation
  CHECK(keyboard(0xff) == Bytes{0xfa, 0xaa});
  CHECK(keyboard(0xf2) == Bytes{0xfa, 0xab, 0x83});
  CHECK(keyboard(0xee) == Bytes{0xee});
  CHECK(keyboard(0xf3) == Bytes{0xfa});
  CHECK(keyboard(0x00) == Bytes{0xfa});
  CHECK(keyboard(0xed) == Bytes{0xfa});
  CHECK(keyboard(0x05) == Bytes{0xfa});
  CHECK(i8042.leds() == 5);
  CHECK(keyboard(0xf6) == Bytes{0xfa});
  CHECK(keyboard(0xfa) == Bytes{0xfa});
  CHECK(keyboard(0xfc) == Bytes{0xfa});
  CHECK(keyboard(0x1c) == Bytes{0xfa});
  CHECK(keyboard(0x00) == Bytes{0xfe});
  CHECK(keyboard(0xef) == Bytes{0xfe});
  CHECK(keyboard(0xfe) == Bytes{0xfe});  // once more what came last
  CHECK(keyboard(0xed) == Bytes{0xfa});
  CHECK(keyboard(0xf4) == Bytes{0xfa});  // a command instead of the parameter
  CHECK(i8042.leds() == 5);
  CHECK(keyboard(0xff) == Bytes{0xfa, 0xaa});
  CHECK(i8042.leds() == 0);
}

TEST_CASE_FIXTURE(Fixture, "i8042: scan code sets") {
  set_command_byte(0x04);
  const Bytes a = {0x1c, 0xf0, 0x1c};
  CHECK(keyboard(0xf0) == Bytes{0xfa});
  CHECK(keyboard(0x00) == Bytes{0xfa, 0x02});
  press(a);
  CHECK(drain_keys() == a);
  keyboard(0xf0);
  CHECK(keyboard(0x01) == Bytes{0xfa});
  keyboard(0xf0);
  CHECK(keyboard(0x00) == Bytes{0xfa, 0x01});
  press(a);
  CHECK(drain_keys() == Bytes{0x1e, 0x9e});
  keyboard(0xf0);
  CHECK(keyboard(0x03) == Bytes{0xfe});
  keyboard(0xf0);
  CHECK(keyboard(0x02) == Bytes{0xfa});
  press(a);
  CHECK(drain_keys() == a);
}

TEST_CASE_FIXTURE(Fixture, "i8042: translation to set 1") {
  press({0x1c, 0xf0, 0x1c, 0xe0, 0x75, 0xe0, 0xf0, 0x75, 0x83, 0xf0, 0x83, 0x84});
  CHECK(drain_keys() == Bytes{0x1e, 0x9e, 0xe0, 0x48, 0xe0, 0xc8, 0x41, 0xc1, 0x54});
  CHECK(keyboard(0xf2) == Bytes{0xfa, 0xab, 0x41});  // replies are translated too
}

TEST_CASE_FIXTURE(Fixture, "i8042: keys come one at a time, replies at once") {
  press({0x1c, 0xf0, 0x1c, 0x1b});
  CHECK(drain() == Bytes{0x1e});  // a driver that drains the buffer sees its end
  CHECK_FALSE(irq1());
  data(0xee);
  CHECK(drain() == Bytes{0xee});
  board.advance(I8042::kKeyGapNs - 1);
  CHECK((status() & 1) == 0);
  board.advance(1);
  CHECK(irq1());
  CHECK(drain() == Bytes{0x9e});
  board.advance(I8042::kKeyGapNs);
  CHECK(drain() == Bytes{0x1f});
  board.advance(10 * I8042::kKeyGapNs);
  press({0x1c});
  CHECK(drain() == Bytes{0x1e});  // long after the last one there is nothing to wait for
}

TEST_CASE_FIXTURE(Fixture, "i8042: a disabled keyboard port holds keys, a disabled keyboard ignores them") {
  command(0xad);
  press({0x1c});
  board.advance(I8042::kKeyGapNs);
  CHECK((status() & 1) == 0);
  command(0xae);
  CHECK(drain() == Bytes{0x1e});
  CHECK(keyboard(0xf5) == Bytes{0xfa});
  press({0x1b});
  board.advance(I8042::kKeyGapNs);
  CHECK((status() & 1) == 0);
  CHECK(keyboard(0xf4) == Bytes{0xfa});
  press({0x1b});
  board.advance(I8042::kKeyGapNs);
  CHECK(drain() == Bytes{0x1f});
  command(0xad);
  CHECK(keyboard(0xee) == Bytes{0xee});  // talking to it switches the port on
  CHECK((command_byte() & 0x10) == 0);
}

TEST_CASE_FIXTURE(Fixture, "i8042: the keyboard's queue is bounded and takes whole events only") {
  press(Bytes(Ps2Keyboard::kKeyBytes - 1, 0x1c));  // one goes to the output buffer
  press({0xf0, 0x1c, 0x1b});
  press({0xf0, 0x1b});
  const Bytes all = drain_keys();
  REQUIRE(all.size() == Ps2Keyboard::kKeyBytes - 1 + 1);
  CHECK(all[all.size() - 2] == 0x1e);
  CHECK(all.back() == 0x9f);
}

TEST_CASE_FIXTURE(Fixture, "i8042: mouse commands") {
  set_command_byte(0x47);
  CHECK(mouse(0xff) == Bytes{0xfa, 0xaa, 0x00});
  CHECK(mouse(0xf2) == Bytes{0xfa, 0x00});
  CHECK(mouse(0xe9) == Bytes{0xfa, 0x00, 0x02, 100});
  CHECK(mouse(0xe7) == Bytes{0xfa});
  CHECK(mouse(0xf4) == Bytes{0xfa});
  CHECK(mouse(0xf0) == Bytes{0xfa});
  CHECK(mouse(0xe8) == Bytes{0xfa});
  CHECK(mouse(0x03) == Bytes{0xfa});
  CHECK(mouse(0xf3) == Bytes{0xfa});
  CHECK(mouse(200) == Bytes{0xfa});
  CHECK(mouse(0xe9) == Bytes{0xfa, 0x70, 0x03, 200});
  CHECK(mouse(0xeb) == Bytes{0xfa, 0x08, 0x00, 0x00});
  CHECK(mouse(0xe8) == Bytes{0xfa});
  CHECK(mouse(0x04) == Bytes{0xfe});
  CHECK(mouse(0xfe) == Bytes{0xfe});
  CHECK(mouse(0x12) == Bytes{0xfe});
  for (const uint8_t rate : {200, 100, 80}) {  // no wheel appears
    mouse(0xf3);
    CHECK(mouse(rate) == Bytes{0xfa});
  }
  CHECK(mouse(0xf2) == Bytes{0xfa, 0x00});
  CHECK(mouse(0xea) == Bytes{0xfa});
  CHECK(mouse(0xf5) == Bytes{0xfa});
  CHECK(mouse(0xe6) == Bytes{0xfa});
  CHECK(mouse(0xe9) == Bytes{0xfa, 0x00, 0x03, 80});
  CHECK(mouse(0xf6) == Bytes{0xfa});
  CHECK(mouse(0xe9) == Bytes{0xfa, 0x00, 0x02, 100});
  CHECK(mouse(0xee) == Bytes{0xfa});
  CHECK(mouse(0xe9) == Bytes{0xe9});  // wrap mode
  CHECK(mouse(0xec) == Bytes{0xfa});
  CHECK(mouse(0xee) == Bytes{0xfa});
  CHECK(mouse(0xff) == Bytes{0xfa, 0xaa, 0x00});
}

TEST_CASE_FIXTURE(Fixture, "i8042: mouse port off holds replies, IRQ 12 follows them") {
  set_command_byte(0x47);
  command(0xd4);
  data(0xf2);
  CHECK(irq12());
  command(0xa7);
  CHECK(read() == 0xfa);
  CHECK_FALSE(irq12());
  CHECK((status() & 1) == 0);
  command(0xa8);
  CHECK(irq12());
  CHECK((status() & 0x21) == 0x21);
  CHECK(read() == 0x00);
  command(0xa7);
  CHECK(mouse(0xe6) == Bytes{0xfa});  // talking to it switches the port on
  CHECK((command_byte() & 0x20) == 0);
}

TEST_CASE_FIXTURE(Fixture, "i8042: any write is survived and queues stay bounded") {
  for (unsigned first = 0; first < 256; ++first)
    for (unsigned second = 0; second < 256; ++second) {
      command(static_cast<uint8_t>(first));
      data(static_cast<uint8_t>(second));
      data(static_cast<uint8_t>(second));
    }
  CHECK(drain().size() <= 1 + 1 + Ps2Keyboard::kReplyBytes + Ps2Mouse::kReplyBytes);
  i8042.reset();
  CHECK(status() == 0x14);
  CHECK(keyboard(0xee) == Bytes{0xee});
}

TEST_CASE_FIXTURE(Fixture, "i8042: save and restore between the bytes of a key") {
  keyboard(0xed);
  keyboard(0x02);
  keyboard(0xf3);  // its parameter is still to come
  press({0xe0, 0x75, 0xe0, 0xf0, 0x75});
  CHECK(drain() == Bytes{0xe0});
  command(0xd1);
  tests::StateDump saved, saved_events;
  i8042.visit_state(saved);
  board.events.visit_state(saved_events);

  Fixture other;
  tests::StateLoad load(saved.fields), load_events(saved_events.fields);
  other.i8042.visit_state(load);
  other.board.events.visit_state(load_events);
  tests::StateDump again;
  other.i8042.visit_state(again);
  CHECK(again.fields == saved.fields);
  for (Fixture* f : {static_cast<Fixture*>(this), &other}) {
    f->data(0xdd);
    CHECK(f->a20 == std::vector<bool>{false});
    CHECK(f->keyboard(0x20) == Bytes{0xfa});
    CHECK(f->i8042.leds() == 2);
    f->board.advance(I8042::kKeyGapNs);
    CHECK(f->drain_keys() == Bytes{0x48, 0xe0, 0xc8});
  }
}

TEST_CASE("keymap: characters") {
  CHECK(scancodes_for_char('a') == Bytes{0x1c, 0xf0, 0x1c});
  CHECK(scancodes_for_char('A') == Bytes{0x12, 0x1c, 0xf0, 0x1c, 0xf0, 0x12});
  CHECK(scancodes_for_char('\n') == Bytes{0x5a, 0xf0, 0x5a});
  CHECK(scancodes_for_char('\r') == Bytes{0x5a, 0xf0, 0x5a});
  CHECK(scancodes_for_char('\t') == Bytes{0x0d, 0xf0, 0x0d});
  CHECK(scancodes_for_char('\x7f') == Bytes{0x66, 0xf0, 0x66});
  CHECK(scancodes_for_char('\b') == Bytes{0x66, 0xf0, 0x66});
  CHECK(scancodes_for_char('\x1b') == Bytes{0x76, 0xf0, 0x76});
  CHECK(scancodes_for_char(' ') == Bytes{0x29, 0xf0, 0x29});
  CHECK(scancodes_for_char('\x03') == Bytes{0x14, 0x21, 0xf0, 0x21, 0xf0, 0x14});
  CHECK(scancodes_for_char('\x1e') == Bytes{0x14, 0x12, 0x36, 0xf0, 0x36, 0xf0, 0x12, 0xf0, 0x14});
  CHECK(scancodes_for_char('\0').empty());
  CHECK(scancodes_for_char('\xe9').empty());
}

TEST_CASE("keymap: text with escape sequences") {
  CHECK(scancodes_for_text("\x1b[A") == Bytes{0xe0, 0x75, 0xe0, 0xf0, 0x75});
  CHECK(scancodes_for_text("\x1b[15~x") == Bytes{0x03, 0xf0, 0x03, 0x22, 0xf0, 0x22});
  CHECK(scancodes_for_text("\x1b") == Bytes{0x76, 0xf0, 0x76});
  CHECK(scancodes_for_text("\x1b[") == Bytes{0x76, 0xf0, 0x76, 0x54, 0xf0, 0x54});
  CHECK(scancodes_for_text("").empty());
}

// The other way round: what a guest with a US layout makes of the set 1 codes.
TEST_CASE_FIXTURE(Fixture, "keymap: every printable character reaches a US guest through the controller") {
  // Indexed by code; what stands for Ctrl, Shift and Alt does not matter.
  const std::string plain = ".\0331234567890-=\b\tqwertyuiop[]\n_asdfghjkl;'`_\\zxcvbnm,./_*_ ";
  const std::string shifted = ".\033!@#$%^&*()_+\b\tQWERTYUIOP{}\n_ASDFGHJKL:\"~_|ZXCVBNM<>?_*_ ";
  for (char c = ' '; c < 0x7f; ++c) {
    CAPTURE(c);
    press(scancodes_for_char(c));
    bool shift = false;
    std::string seen;
    for (const uint8_t code : drain_keys()) {
      if ((code & 0x7f) == 0x2a)
        shift = code < 0x80;
      else if (code < 0x80)
        seen.push_back((shift ? shifted : plain).at(code));
    }
    CHECK(seen == std::string(1, c));
    CHECK_FALSE(shift);
  }
}

}  // namespace
}  // namespace understudy::devices
