#include <doctest/doctest.h>

#include <numeric>

#include "devices/i8237.h"
#include "tests/fake_board.h"

using namespace understudy;
using devices::I8237;

namespace {
struct Bench {
  tests::FakeBoard board;
  tests::FakeDma memory{1 << 20};
  I8237 dma{memory};

  Bench() {
    dma.attach(board.ports);
    dma.reset();
  }
  void out(uint16_t port, uint32_t value, unsigned size = 1) { board.ports.write(port, size, value); }
  uint32_t in(uint16_t port, unsigned size = 1) { return board.ports.read(port, size); }

  void program2(uint8_t page, uint16_t address, uint16_t count, uint8_t mode) {
    out(0x0a, 0x06);
    out(0x0c, 0);
    out(0x04, address & 0xff);
    out(0x04, address >> 8);
    out(0x05, count & 0xff);
    out(0x05, count >> 8);
    out(0x0b, mode | 2);
    out(0x81, page);
    out(0x0a, 0x02);
  }
  void program5(uint8_t page, uint16_t address, uint16_t count, uint8_t mode) {
    out(0xd4, 0x05);
    out(0xd8, 0);
    out(0xc4, address & 0xff);
    out(0xc4, address >> 8);
    out(0xc6, count & 0xff);
    out(0xc6, count >> 8);
    out(0xd6, mode | 1);
    out(0x8b, page);
    out(0xd4, 0x01);
  }
};

std::vector<uint8_t> ramp(size_t n, uint8_t first = 1) {
  std::vector<uint8_t> v(n);
  std::iota(v.begin(), v.end(), first);
  return v;
}
}  // namespace

TEST_CASE("8237: address and count go through the flip-flop and read back") {
  Bench b;
  for (uint16_t port = 0; port < 8; ++port) {
    b.out(0x0c, 0);
    b.out(port, 0x34);
    b.out(port, 0x12 + port);
    CHECK(b.in(port) == 0x34);
    CHECK(b.in(port) == 0x12u + port);
  }
  b.in(0x00);  // leaves the flip-flop at the high byte
  b.out(0x00, 0xab);
  b.out(0x0c, 0);
  CHECK(b.in(0x00) == 0x34);
  CHECK(b.in(0x00) == 0xab);
}

TEST_CASE("8237: the second controller decodes every second port") {
  Bench b;
  b.out(0xd8, 0);
  b.out(0xc4, 0x78);
  b.out(0xc5, 0x56);  // the odd address is the same register
  CHECK(b.in(0xc4) == 0x78);
  CHECK(b.in(0xc4) == 0x56);
  b.out(0xd4, 0x01);
  CHECK((b.in(0xde) & 0xf) == 0xd);
  CHECK((b.in(0x0f) & 0xf) == 0xf);
}

TEST_CASE("8237: page registers are storage, port 80 is not ours") {
  Bench b;
  for (uint16_t port = 0x81; port <= 0x8f; ++port) b.out(port, port ^ 0x5a);
  for (uint16_t port = 0x81; port <= 0x8f; ++port) CHECK(b.in(port) == (port ^ 0x5au));
  CHECK(b.board.ports.is_free(0x80, 0x80));
}

TEST_CASE("8237: masks: single, all, clear, master clear") {
  Bench b;
  CHECK((b.in(0x0f) & 0xf) == 0xf);
  b.out(0x0a, 0x01);
  CHECK((b.in(0x0f) & 0xf) == 0xd);
  b.out(0x0a, 0x05);
  CHECK((b.in(0x0f) & 0xf) == 0xf);
  b.out(0x0e, 0);
  CHECK((b.in(0x0f) & 0xf) == 0x0);
  b.out(0x0f, 0x6);
  CHECK((b.in(0x0f) & 0xf) == 0x6);
  b.out(0x0d, 0);
  CHECK((b.in(0x0f) & 0xf) == 0xf);
}

TEST_CASE("8237: a device's bytes land in memory until terminal count") {
  Bench b;
  b.program2(0x03, 0x1000, 9, 0x44);
  const auto data = ramp(16);
  auto t = b.dma.transfer_to_memory(2, std::span(data).first(4));
  CHECK(t.bytes == 4);
  CHECK_FALSE(t.terminal_count);
  CHECK(b.in(0x08) == 0);
  b.out(0x0c, 0);
  CHECK((b.in(0x05) | b.in(0x05) << 8) == 5);
  CHECK((b.in(0x04) | b.in(0x04) << 8) == 0x1004);

  t = b.dma.transfer_to_memory(2, std::span(data).subspan(4));
  CHECK(t.bytes == 6);
  CHECK(t.terminal_count);
  for (size_t i = 0; i < 10; ++i) CHECK(b.memory.ram[0x31000 + i] == i + 1);
  CHECK(b.memory.ram[0x3100a] == 0);
  CHECK(b.in(0x08) == 0x04);
  CHECK(b.in(0x08) == 0);            // reading clears the terminal counts
  CHECK((b.in(0x0f) & 0xf) == 0xf);  // and the channel masked itself
  CHECK((b.in(0x05) | b.in(0x05) << 8) == 0xffff);
  CHECK(b.dma.transfer_to_memory(2, data).bytes == 0);
}

TEST_CASE("8237: memory to device, and the directions are kept apart") {
  Bench b;
  for (size_t i = 0; i < 8; ++i) b.memory.ram[0x20000 + i] = static_cast<uint8_t>(0xa0 + i);
  b.program2(0x02, 0, 7, 0x48);
  std::vector<uint8_t> to(8);
  CHECK(b.dma.transfer_to_memory(2, to).bytes == 0);
  const auto t = b.dma.transfer_from_memory(2, to);
  CHECK(t.bytes == 8);
  CHECK(t.terminal_count);
  CHECK(to[0] == 0xa0);
  CHECK(to[7] == 0xa7);
  b.program2(0x02, 0, 7, 0x44);
  CHECK(b.dma.transfer_from_memory(2, to).bytes == 0);
}

TEST_CASE("8237: verify moves the counters only") {
  Bench b;
  b.program2(0x02, 0x10, 3, 0x40);
  const auto data = ramp(4);
  CHECK(b.dma.transfer_to_memory(2, data).terminal_count);
  CHECK(b.memory.ram[0x20010] == 0);
  b.program2(0x02, 0x10, 3, 0x40);
  std::vector<uint8_t> to(4, 0x11);
  CHECK(b.dma.transfer_from_memory(2, to).bytes == 4);
  CHECK(to == std::vector<uint8_t>(4, 0xff));
}

TEST_CASE("8237: addresses wrap inside the 64 KiB page") {
  Bench b;
  b.program2(0x03, 0xfffe, 3, 0x44);
  const auto data = ramp(4);
  CHECK(b.dma.transfer_to_memory(2, data).bytes == 4);
  CHECK(b.memory.ram[0x3fffe] == 1);
  CHECK(b.memory.ram[0x3ffff] == 2);
  CHECK(b.memory.ram[0x30000] == 3);
  CHECK(b.memory.ram[0x30001] == 4);
  CHECK(b.memory.ram[0x40000] == 0);
}

TEST_CASE("8237: word channels count words and wrap inside 128 KiB") {
  Bench b;
  b.program5(0x05, 0xffff, 1, 0x44);  // the page's lowest bit is not wired
  const auto data = ramp(5);
  const auto t = b.dma.transfer_to_memory(5, data);
  CHECK(t.bytes == 4);
  CHECK(t.terminal_count);
  CHECK(b.memory.ram[0x5fffe] == 1);
  CHECK(b.memory.ram[0x5ffff] == 2);
  CHECK(b.memory.ram[0x40000] == 3);
  CHECK(b.memory.ram[0x40001] == 4);
  CHECK(b.in(0xd0) == 0x02);
  b.program5(0x04, 0, 9, 0x44);
  CHECK(b.dma.transfer_to_memory(5, std::span(data).first(3)).bytes == 2);
}

TEST_CASE("8237: address decrement, bytes and words") {
  Bench b;
  b.program2(0x03, 0x0001, 3, 0x64);
  const auto data = ramp(4);
  CHECK(b.dma.transfer_to_memory(2, data).terminal_count);
  CHECK(b.memory.ram[0x30001] == 1);
  CHECK(b.memory.ram[0x30000] == 2);
  CHECK(b.memory.ram[0x3ffff] == 3);
  CHECK(b.memory.ram[0x3fffe] == 4);
  b.program5(0x04, 0x10, 1, 0x64);
  CHECK(b.dma.transfer_to_memory(5, data).bytes == 4);
  CHECK(b.memory.ram[0x40020] == 1);
  CHECK(b.memory.ram[0x40021] == 2);
  CHECK(b.memory.ram[0x4001e] == 3);
}

TEST_CASE("8237: autoinit reloads and stays unmasked") {
  Bench b;
  b.program2(0x03, 0x100, 3, 0x54);
  const auto data = ramp(8);
  auto t = b.dma.transfer_to_memory(2, data);
  CHECK(t.bytes == 4);
  CHECK(t.terminal_count);
  CHECK((b.in(0x0f) & 4) == 0);
  b.out(0x0c, 0);
  CHECK((b.in(0x04) | b.in(0x04) << 8) == 0x100);
  CHECK((b.in(0x05) | b.in(0x05) << 8) == 3);
  t = b.dma.transfer_to_memory(2, std::span(data).subspan(4));
  CHECK(t.bytes == 4);
  CHECK(b.memory.ram[0x30100] == 5);
}

TEST_CASE("8237: a count of 0xffff is 64 Ki transfers") {
  Bench b;
  b.program2(0x03, 0x8000, 0xffff, 0x84);  // block mode
  const std::vector<uint8_t> data(0x10001, 0x3c);
  const auto t = b.dma.transfer_to_memory(2, data);
  CHECK(t.bytes == 0x10000);
  CHECK(t.terminal_count);
  CHECK(b.memory.ram[0x30000] == 0x3c);
  CHECK(b.memory.ram[0x3ffff] == 0x3c);
  CHECK(b.memory.ram[0x40000] == 0);
}

TEST_CASE("8237: cascade mode, disabled controller and the illegal direction move nothing") {
  Bench b;
  const auto data = ramp(4);
  b.program2(0x03, 0, 3, 0xc4);
  CHECK(b.dma.transfer_to_memory(2, data).bytes == 0);
  b.program2(0x03, 0, 3, 0x4c);
  CHECK(b.dma.transfer_to_memory(2, data).bytes == 0);
  b.program2(0x03, 0, 3, 0x44);
  b.out(0x08, 0x04);
  CHECK(b.dma.transfer_to_memory(2, data).bytes == 0);
  b.out(0x08, 0x00);
  CHECK(b.dma.transfer_to_memory(2, data).bytes == 4);
}

TEST_CASE("8237: requests show in the status register") {
  Bench b;
  b.dma.set_request(2, true);
  b.out(0x09, 0x05);
  CHECK(b.in(0x08) == 0x60);
  b.dma.set_request(2, false);
  b.out(0x09, 0x01);
  CHECK(b.in(0x08) == 0x00);
  b.out(0x09, 0x06);
  b.program2(0x03, 0, 0, 0x44);
  b.dma.transfer_to_memory(2, ramp(1));
  CHECK(b.in(0x08) == 0x04);  // terminal count took the software request away
}

TEST_CASE("8237: any write to any port is harmless") {
  Bench b;
  uint32_t x = 1;
  std::vector<uint8_t> buffer(600);
  for (int i = 0; i < 20000; ++i) {
    x = x * 1664525u + 1013904223u;
    const uint16_t port = static_cast<uint16_t>((x >> 8) % 0xe0);
    b.out(port, x >> 16, 1u << (x >> 28) % 3);
    b.in(port);
    if (i % 50 == 0) {
      b.dma.transfer_to_memory(i % 8, buffer);
      b.dma.transfer_from_memory(i % 8, buffer);
    }
  }
  b.dma.reset();
  CHECK((b.in(0x0f) & 0xf) == 0xf);
}

TEST_CASE("8237: saved in the middle of a transfer, it goes on elsewhere") {
  Bench b;
  b.program2(0x03, 0x1000, 9, 0x44);
  const auto data = ramp(10);
  b.dma.transfer_to_memory(2, std::span(data).first(3));
  b.out(0x0c, 0);
  b.in(0x04);  // flip-flop at the high byte
  tests::StateDump before;
  b.dma.visit_state(before);

  Bench other;
  tests::StateLoad load(before.fields);
  other.dma.visit_state(load);
  tests::StateDump after;
  other.dma.visit_state(after);
  CHECK(after.fields == before.fields);
  CHECK(other.in(0x04) == 0x10);
  CHECK(other.dma.transfer_to_memory(2, std::span(data).subspan(3)).terminal_count);
  CHECK(other.memory.ram[0x31003] == 4);
}
