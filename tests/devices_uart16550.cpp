#include <doctest/doctest.h>

#include <string>

#include "devices/uart16550.h"
#include "tests/fake_board.h"

namespace understudy::devices {
namespace {

constexpr uint16_t kBase = 0x3f8;
enum Register : uint16_t { kData, kIer, kIirFcr, kLcr, kMcr, kLsr, kMsr, kScratch };

struct Fixture {
  tests::FakeBoard board;
  Uart16550 uart{"uart0", kBase, "serial0", board.clock, board.events, {&board.irqs, 4}, board.world};
  std::string sent;

  Fixture() {
    uart.attach(board.ports);
    uart.reset();
    board.world.connect(board.world.channel("serial0"),
                        [this](std::span<const uint8_t> bytes) { sent.append(bytes.begin(), bytes.end()); });
  }
  uint8_t in(uint16_t reg) { return static_cast<uint8_t>(board.ports.read(kBase + reg, 1)); }
  void out(uint16_t reg, unsigned value) { board.ports.write(kBase + reg, 1, value); }
  void type(const std::string& text) {
    board.world.deliver({board.world.channel("serial0"), {text.begin(), text.end()}});
  }
  void set_line(unsigned divisor, unsigned lcr) {
    out(kLcr, 0x80);
    out(kData, divisor & 0xff);
    out(kIer, divisor >> 8);
    out(kLcr, lcr);
  }
  std::string read_all() {
    std::string text;
    while ((in(kLsr)&1) != 0) text.push_back(static_cast<char>(in(kData)));
    return text;
  }
  bool irq() { return board.irqs.levels[4]; }
};

TEST_CASE_FIXTURE(Fixture, "uart: registers after reset") {
  CHECK(in(kIer) == 0);
  CHECK(in(kIirFcr) == 0x01);
  CHECK(in(kLcr) == 0);
  CHECK(in(kMcr) == 0);
  CHECK(in(kLsr) == 0x60);
  CHECK(in(kMsr) == 0xb0);
  CHECK(in(kScratch) == 0);
  CHECK_FALSE(irq());
}

TEST_CASE_FIXTURE(Fixture, "uart: registers keep what is writable, as a probing driver checks") {
  out(kIer, 0xff);
  CHECK(in(kIer) == 0x0f);
  out(kIer, 0);
  CHECK(in(kIer) == 0);
  out(kMcr, 0xef);
  CHECK(in(kMcr) == 0x0f);
  out(kScratch, 0xa5);
  CHECK(in(kScratch) == 0xa5);
  out(kLcr, 0x1b);
  CHECK(in(kLcr) == 0x1b);
  out(kLsr, 0xff);
  out(kMsr, 0xff);
  CHECK(in(kLsr) == 0x60);
  CHECK(in(kMsr) == 0xb0);
  out(kIirFcr, 0x01);
  CHECK(in(kIirFcr) == 0xc1);
  out(kIirFcr, 0xc0);  // without bit 0 nothing else counts
  CHECK(in(kIirFcr) == 0x01);
}

TEST_CASE_FIXTURE(Fixture, "uart: the divisor latch hides data and interrupt enable") {
  out(kIer, 0x05);
  set_line(0x1234, 0x83);
  CHECK(in(kData) == 0x34);
  CHECK(in(kIer) == 0x12);
  CHECK(sent.empty());
  out(kLcr, 0x03);
  CHECK(in(kIer) == 0x05);
}

TEST_CASE_FIXTURE(Fixture, "uart: bytes leave at once and the transmitter is empty again") {
  out(kData, 'h');
  CHECK(in(kLsr) == 0x60);
  out(kData, 'i');
  CHECK(sent == "hi");
  CHECK_FALSE(irq());
}

TEST_CASE_FIXTURE(Fixture, "uart: the transmit interrupt") {
  out(kIer, 0x02);
  CHECK(irq());
  CHECK(in(kLsr) == 0x60);
  CHECK(irq());  // reading LSR does not clear it
  CHECK(in(kIirFcr) == 0x02);
  CHECK_FALSE(irq());
  CHECK(in(kIirFcr) == 0x01);
  out(kData, 'x');
  CHECK(irq());
  const unsigned edges = board.irqs.edges[4];
  out(kData, 'y');  // an edge for each byte, even when the last one was not looked at
  CHECK(board.irqs.edges[4] == edges + 1);
  out(kIer, 0x00);
  CHECK_FALSE(irq());
  out(kIer, 0x02);  // enabling raises it again
  CHECK(in(kIirFcr) == 0x02);
  out(kIer, 0x02);  // but only the change does
  CHECK(in(kIirFcr) == 0x01);
}

TEST_CASE_FIXTURE(Fixture, "uart: receiving without FIFOs") {
  out(kIer, 0x01);
  type("abc");
  CHECK(irq());
  CHECK(in(kIirFcr) == 0x04);
  CHECK(in(kLsr) == 0x61);
  CHECK(in(kData) == 'a');
  CHECK(irq());
  CHECK(in(kData) == 'b');
  CHECK(in(kData) == 'c');
  CHECK_FALSE(irq());
  CHECK(in(kLsr) == 0x60);
  CHECK(in(kData) == 'c');  // an empty receiver repeats itself
}

TEST_CASE_FIXTURE(Fixture, "uart: FIFO trigger levels and the character timeout") {
  set_line(12, 0x03);  // 9600 8N1
  const std::pair<unsigned, unsigned> levels[] = {{0x01, 1}, {0x41, 4}, {0x81, 8}, {0xc1, 14}};
  out(kIer, 0x01);
  for (const auto& [fcr, level] : levels) {
    CAPTURE(level);
    out(kIirFcr, fcr);
    type(std::string(level - 1, 'x'));
    CHECK_FALSE(irq());
    type("y");
    CHECK(irq());
    CHECK(in(kIirFcr) == 0xc4);
    CHECK(in(kData) == (level == 1 ? 'y' : 'x'));
    CHECK_FALSE(irq());
    if (level == 1) continue;
    // 4 characters of 10 bits at 9600 baud.
    board.advance(4'166'666);
    CHECK_FALSE(irq());
    board.advance(1);
    CHECK(irq());
    CHECK(in(kIirFcr) == 0xcc);
    CHECK(in(kData) == (level == 2 ? 'y' : 'x'));
    CHECK_FALSE(irq());
    CHECK(read_all().size() == level - 2);
    board.advance(10'000'000);
    CHECK_FALSE(irq());
  }
}

TEST_CASE_FIXTURE(Fixture, "uart: the timeout starts again with each byte and counts the whole character") {
  set_line(1, 0x1f);  // 115200 8E2: 12 bits
  out(kIirFcr, 0xc1);
  type("a");
  CHECK(board.events.next_due() == 416'667);
  board.advance_to(400'000);
  type("b");
  CHECK(board.events.next_due() == 816'667);
  set_line(0, 0x00);  // divisor 0 counts as 1; 7 bits
  type("c");
  CHECK(board.events.next_due() == 400'000 + 243'056);
}

TEST_CASE_FIXTURE(Fixture, "uart: what does not fit waits, in order, and beyond the backlog is counted as lost") {
  out(kIirFcr, 0x01);
  std::string text;
  for (int i = 0; i < 5000; ++i) text.push_back(static_cast<char>('a' + i % 26));
  type(text);
  CHECK(uart.overruns() == 5000 - Uart16550::kBacklogBytes);
  CHECK(in(kLsr) == 0x63);
  CHECK(in(kLsr) == 0x61);
  type("0123456789abcdefXY");  // 16 places have come free
  CHECK(uart.overruns() == 5000 - Uart16550::kBacklogBytes + 2);
  CHECK(read_all() == text.substr(0, Uart16550::kBacklogBytes) + "0123456789abcdef");
}

TEST_CASE_FIXTURE(Fixture, "uart: clearing the FIFO drops what arrived, not what is still on the wire") {
  out(kIirFcr, 0x01);
  type("0123456789abcdefgh");
  out(kIirFcr, 0x03);
  CHECK(read_all() == "gh");
  type("xy");
  out(kIirFcr, 0x00);  // switching FIFOs off clears too
  CHECK(in(kLsr) == 0x60);
}

TEST_CASE_FIXTURE(Fixture, "uart: loopback of data") {
  out(kIirFcr, 0x01);
  out(kMcr, 0x10);
  type("outside");
  CHECK(in(kLsr) == 0x60);
  for (char c = 'a'; c < 'a' + 16; ++c) out(kData, static_cast<unsigned>(c));
  CHECK(in(kLsr) == 0x61);
  out(kData, 'z');  // the FIFO is full: the new byte is lost
  CHECK(in(kLsr) == 0x63);
  CHECK(read_all() == "abcdefghijklmnop");
  CHECK(sent.empty());
  out(kMcr, 0x00);
  CHECK(read_all() == "outside");
}

TEST_CASE_FIXTURE(Fixture, "uart: loopback overrun without FIFOs keeps the newer byte") {
  out(kMcr, 0x10);
  out(kIer, 0x04);
  out(kData, 'a');
  CHECK_FALSE(irq());
  out(kData, 'b');
  CHECK(irq());
  CHECK(in(kIirFcr) == 0x06);
  CHECK(in(kLsr) == 0x63);
  CHECK_FALSE(irq());
  CHECK(in(kData) == 'b');
}

TEST_CASE_FIXTURE(Fixture, "uart: loopback of modem lines and their deltas") {
  CHECK(in(kMsr) == 0xb0);
  out(kMcr, 0x1a);  // a common probe: OUT2 and RTS
  CHECK((in(kMsr)&0xf0) == 0x90);
  CHECK(in(kMsr) == 0x90);
  out(kIer, 0x08);
  out(kMcr, 0x15);  // DTR and OUT1
  CHECK(irq());
  CHECK(in(kIirFcr) == 0x00);
  CHECK(in(kMsr) == 0x6b);  // all but RI, which only began
  CHECK_FALSE(irq());
  out(kMcr, 0x11);
  CHECK(in(kMsr) == 0x24);  // RI's trailing edge
  out(kMcr, 0x00);
  CHECK(in(kMsr) == 0xb9);
  out(kMcr, 0x0f);  // outside loopback the outputs go nowhere
  CHECK(in(kMsr) == 0xb0);
}

TEST_CASE_FIXTURE(Fixture, "uart: a break goes round the loop with its errors") {
  out(kIirFcr, 0x41);
  out(kMcr, 0x10);
  out(kIer, 0x04);
  out(kData, 'a');
  out(kLcr, 0x43);
  CHECK(in(kLsr) == 0xe1);  // an error somewhere in the FIFO
  CHECK_FALSE(irq());
  CHECK(in(kData) == 'a');
  CHECK(irq());
  CHECK(in(kIirFcr) == 0xc6);
  CHECK(in(kLsr) == 0xf9);
  CHECK(in(kLsr) == 0x61);
  CHECK_FALSE(irq());
  CHECK(in(kData) == 0);
}

TEST_CASE_FIXTURE(Fixture, "uart: interrupt priorities") {
  out(kMcr, 0x10);  // MSR deltas
  out(kData, 'a');
  out(kData, 'b');  // overrun and data
  out(kIer, 0x0f);
  CHECK(in(kIirFcr) == 0x06);
  in(kLsr);
  CHECK(in(kIirFcr) == 0x04);
  in(kData);
  CHECK(in(kIirFcr) == 0x02);
  CHECK(in(kIirFcr) == 0x00);
  in(kMsr);
  CHECK(in(kIirFcr) == 0x01);
  CHECK_FALSE(irq());
}

TEST_CASE_FIXTURE(Fixture, "uart: any write of any register is survived") {
  for (unsigned value = 0; value < 256; ++value)
    for (uint16_t reg = 0; reg < 8; ++reg) {
      out(reg, value);
      type("?");
      for (uint16_t other = 0; other < 8; ++other) (void)in(other);
    }
  uart.reset();
  CHECK(in(kLsr) == 0x60);
  CHECK_FALSE(irq());
  CHECK(board.events.next_due() == emu::EventQueue::kNever);
}

TEST_CASE_FIXTURE(Fixture, "uart: save and restore with a running timeout and a backlog") {
  set_line(1, 0x03);
  out(kIirFcr, 0xc1);
  out(kIer, 0x05);
  out(kScratch, 0x77);
  type("0123456789abcdefghi");
  for (int i = 0; i < 8; ++i) in(kData);
  board.advance(100'000);
  tests::StateDump saved, saved_events;
  uart.visit_state(saved);
  board.events.visit_state(saved_events);

  Fixture other;
  tests::StateLoad load(saved.fields), load_events(saved_events.fields);
  other.uart.visit_state(load);
  other.board.events.visit_state(load_events);
  other.board.clock.now = board.clock.now;
  tests::StateDump again;
  other.uart.visit_state(again);
  CHECK(again.fields == saved.fields);
  for (Fixture* f : {static_cast<Fixture*>(this), &other}) {
    CHECK(f->in(kScratch) == 0x77);
    CHECK(f->in(kIirFcr) == 0xc1);
    f->board.advance(247'222);
    CHECK_FALSE(f->irq());
    f->board.advance(1);
    CHECK(f->irq());
    CHECK(f->in(kIirFcr) == 0xcc);
    CHECK(f->read_all() == "89abcdefghi");
  }
}

}  // namespace
}  // namespace understudy::devices
