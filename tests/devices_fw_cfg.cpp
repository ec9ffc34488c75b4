#include <doctest/doctest.h>

#include <random>
#include <stdexcept>

#include "devices/fw_cfg.h"
#include "tests/fake_board.h"

using namespace understudy;
using devices::FwCfg;

namespace {

struct Board : tests::FakeBoard {
  FwCfg fw_cfg{dma};
  Board() { fw_cfg.attach(ports); }

  void select(uint16_t key) { ports.write(0x510, 2, key); }
  std::vector<uint8_t> bytes(uint16_t key, size_t count) {
    select(key);
    std::vector<uint8_t> out;
    for (size_t i = 0; i < count; ++i) out.push_back(static_cast<uint8_t>(ports.read(0x511, 1)));
    return out;
  }
  void put_be(uint64_t at, uint64_t value, unsigned width) {
    for (unsigned i = 0; i < width; ++i) dma.ram[at + i] = static_cast<uint8_t>(value >> (8 * (width - 1 - i)));
  }
  static uint32_t swapped(uint32_t v) { return __builtin_bswap32(v); }
  void start_dma(uint64_t descriptor) {
    ports.write(0x514, 4, swapped(static_cast<uint32_t>(descriptor >> 32)));
    ports.write(0x518, 4, swapped(static_cast<uint32_t>(descriptor)));
  }
  // Returns the control word that the device leaves.
  uint32_t run_dma(uint32_t control, uint32_t length, uint64_t address) {
    put_be(0x1000, control, 4);
    put_be(0x1004, length, 4);
    put_be(0x1008, address, 8);
    start_dma(0x1000);
    return static_cast<uint32_t>(dma.ram[0x1000] << 24 | dma.ram[0x1001] << 16 | dma.ram[0x1002] << 8 |
                                 dma.ram[0x1003]);
  }
};

std::vector<uint8_t> of(std::string_view text) { return {text.begin(), text.end()}; }
}  // namespace

TEST_CASE("fw_cfg: signature, features and numbers") {
  Board board;
  board.fw_cfg.add_number(FwCfg::kRamSize, 0x08000000, 8);
  CHECK(board.bytes(FwCfg::kSignature, 4) == of("QEMU"));
  CHECK(board.bytes(FwCfg::kId, 4) == std::vector<uint8_t>{3, 0, 0, 0});
  CHECK(board.bytes(FwCfg::kRamSize, 8) == std::vector<uint8_t>{0, 0, 0, 8, 0, 0, 0, 0});
}

TEST_CASE("fw_cfg: reading past an item, and unknown keys, give zeros") {
  Board board;
  CHECK(board.bytes(FwCfg::kSignature, 7) == std::vector<uint8_t>{'Q', 'E', 'M', 'U', 0, 0, 0});
  CHECK(board.bytes(0x1234, 3) == std::vector<uint8_t>{0, 0, 0});
  CHECK(board.bytes(0xffff, 3) == std::vector<uint8_t>{0, 0, 0});
  // Selecting again starts over; the write-access bit of a selector is ignored.
  CHECK(board.bytes(FwCfg::kSignature | 0x4000, 2) == of("QE"));
}

TEST_CASE("fw_cfg: the file directory") {
  Board board;
  CHECK(board.bytes(FwCfg::kFileDirectory, 4) == std::vector<uint8_t>{0, 0, 0, 0});
  CHECK(board.fw_cfg.add_file("etc/one", of("first")) == 0x20);
  CHECK(board.fw_cfg.add_file("bootorder", std::vector<uint8_t>(300, 7)) == 0x21);
  const auto dir = board.bytes(FwCfg::kFileDirectory, 4 + 2 * 64);
  CHECK(std::vector<uint8_t>(dir.begin(), dir.begin() + 4) == std::vector<uint8_t>{0, 0, 0, 2});
  CHECK(std::vector<uint8_t>(dir.begin() + 4, dir.begin() + 12) == std::vector<uint8_t>{0, 0, 0, 5, 0, 0x20, 0, 0});
  CHECK(std::string(reinterpret_cast<const char*>(&dir[12])) == "etc/one");
  CHECK(std::vector<uint8_t>(dir.begin() + 68, dir.begin() + 76) == std::vector<uint8_t>{0, 0, 1, 44, 0, 0x21, 0, 0});
  CHECK(std::string(reinterpret_cast<const char*>(&dir[76])) == "bootorder");
  CHECK(board.bytes(0x20, 5) == of("first"));
}

TEST_CASE("fw_cfg: wiring mistakes are refused") {
  Board board;
  board.fw_cfg.add_file("a", {});
  CHECK_THROWS_AS(board.fw_cfg.add_file("a", {}), std::logic_error);
  CHECK_THROWS_AS(board.fw_cfg.add_file("", {}), std::logic_error);
  CHECK_THROWS_AS(board.fw_cfg.add_file(std::string(56, 'x'), {}), std::logic_error);
  CHECK_NOTHROW(board.fw_cfg.add_file(std::string(55, 'x'), {}));
  CHECK_THROWS_AS(board.fw_cfg.add_key(FwCfg::kSignature, {}), std::logic_error);
  CHECK_THROWS_AS(board.fw_cfg.add_key(0x4001, {}), std::logic_error);
  for (unsigned i = 2; i < FwCfg::kMaxFiles; ++i) board.fw_cfg.add_file(std::to_string(i), {});
  CHECK_THROWS_AS(board.fw_cfg.add_file("one too many", {}), std::logic_error);
}

TEST_CASE("fw_cfg: writes to the data port and byte writes to the selector change nothing") {
  Board board;
  board.select(FwCfg::kSignature);
  board.ports.write(0x511, 1, 0x55);
  board.ports.write(0x510, 1, FwCfg::kId);
  CHECK(board.ports.read(0x511, 1) == 'Q');
  CHECK(board.ports.read(0x511, 1) == 'E');
}

TEST_CASE("fw_cfg: DMA announces itself") {
  Board board;
  std::string signature;
  for (uint16_t port = 0x514; port < 0x51c; ++port) signature += static_cast<char>(board.ports.read(port, 1));
  CHECK(signature == "QEMU CFG");
  CHECK(board.ports.read(0x514, 4) == 0x554d4551);  // 'Q' first
}

TEST_CASE("fw_cfg: DMA select, read, skip") {
  Board board;
  const uint16_t key = board.fw_cfg.add_file("f", of("0123456789"));
  const auto at = [&](size_t address, size_t n) {
    return std::vector<uint8_t>(board.dma.ram.begin() + static_cast<long>(address),
                                board.dma.ram.begin() + static_cast<long>(address + n));
  };
  board.dma.ram[0x2004] = 0xee;
  CHECK(board.run_dma(static_cast<uint32_t>(key) << 16 | 8 | 2, 4, 0x2000) == 0);
  CHECK(at(0x2000, 5) == std::vector<uint8_t>{'0', '1', '2', '3', 0xee});
  CHECK(board.run_dma(4, 2, 0) == 0);  // skip
  CHECK(board.run_dma(2, 2, 0x3000) == 0);
  CHECK(at(0x3000, 2) == of("67"));
  CHECK(board.ports.read(0x511, 1) == '8');  // one position for both interfaces
  board.dma.ram[0x3001] = 0xee;
  CHECK(board.run_dma(2, 3, 0x3000) == 0);  // past the end: zeros
  CHECK(at(0x3000, 3) == std::vector<uint8_t>{'9', 0, 0});
  CHECK(board.run_dma(4, 0xffffffff, 0) == 0);
  CHECK(board.ports.read(0x511, 1) == 0);
  // Select alone starts over.
  CHECK(board.run_dma(static_cast<uint32_t>(key) << 16 | 8, 0, 0) == 0);
  CHECK(board.ports.read(0x511, 1) == '0');
}

TEST_CASE("fw_cfg: an item longer than a page is read whole by DMA") {
  Board board;
  std::vector<uint8_t> item(10000);
  for (size_t i = 0; i < item.size(); ++i) item[i] = static_cast<uint8_t>(i ^ i >> 8);
  const uint16_t key = board.fw_cfg.add_file("long", item);
  CHECK(board.run_dma(static_cast<uint32_t>(key) << 16 | 8 | 2, 10000, 0x4000) == 0);
  CHECK(std::vector<uint8_t>(board.dma.ram.begin() + 0x4000, board.dma.ram.begin() + 0x4000 + 10000) == item);
}

TEST_CASE("fw_cfg: DMA refuses writes and absurd lengths, and survives any address") {
  Board board;
  CHECK(board.run_dma(8 | 16, 4, 0x2000) == 1);
  CHECK(board.run_dma(8 | 2, 0xffffffff, 0x2000) == 1);
  CHECK(board.dma.ram[0x2000] == 0);
  CHECK(board.run_dma(8 | 2, 4, 0xfffffffffff00000) == 0);
  board.start_dma(0xffffffff0000);  // no descriptor there: reads as ones, the answer is dropped
  CHECK(board.bytes(FwCfg::kSignature, 4) == of("QEMU"));
  // The high half is used up by a transfer: the next one is below 4 GiB unless it says otherwise.
  board.ports.write(0x514, 4, 0);
  board.put_be(0x1000, FwCfg::kId << 16 | 8, 4);
  board.ports.write(0x518, 4, Board::swapped(0x1000));
  CHECK(board.ports.read(0x511, 1) == 3);
}

TEST_CASE("fw_cfg: any access does no harm") {
  Board board;
  board.fw_cfg.add_file("f", of("0123456789"));
  std::mt19937 random(4);
  for (unsigned i = 0; i < 3000; ++i) {
    const auto port = static_cast<uint16_t>(0x50e + random() % 16);
    const unsigned size = 1u << random() % 3;
    if (random() % 2 == 0)
      board.ports.write(port, size, random());
    else
      board.ports.read(port, size);
  }
  board.fw_cfg.reset();
  CHECK(board.ports.read(0x511, 1) == 'Q');
}

TEST_CASE("fw_cfg: save and restore in the middle of an item") {
  Board board;
  board.fw_cfg.add_file("f", of("0123456789"));
  board.bytes(0x20, 3);
  board.ports.write(0x514, 4, 0x78563412);
  tests::StateDump before;
  board.fw_cfg.visit_state(before);

  Board other;
  other.fw_cfg.add_file("f", of("0123456789"));
  tests::StateLoad load(before.fields);
  other.fw_cfg.visit_state(load);
  tests::StateDump after;
  other.fw_cfg.visit_state(after);
  CHECK(after.fields == before.fields);
  CHECK(before.fields.size() == 3);
  CHECK(other.ports.read(0x511, 1) == '3');

  // A position beyond the item, as a damaged snapshot may hold, reads zeros.
  before.fields["position"] = {0xff, 0xff, 0xff, 0xff};
  tests::StateLoad damaged(before.fields);
  other.fw_cfg.visit_state(damaged);
  CHECK(other.ports.read(0x511, 1) == 0);
  CHECK(other.run_dma(2, 4, 0x2000) == 0);
  CHECK(other.run_dma(4, 4, 0x2000) == 0);
  CHECK(other.ports.read(0x511, 1) == 0);
}
