#include <doctest/doctest.h>

#include <map>
#include <memory>

#include "devices/i82077.h"
#include "tests/fake_board.h"

using namespace understudy;
using devices::I82077;

namespace {
using Bytes = std::vector<uint8_t>;

class FakeDisk : public devices::BlockBackend {
 public:
  explicit FakeDisk(size_t size) : data(size) {
    // Each sector says where it is.
    for (size_t i = 0; i < size; ++i) data[i] = static_cast<uint8_t>(i / 512 + i % 512 * 7);
  }
  uint64_t size_bytes() const override { return data.size(); }
  bool read_only() const override { return locked; }
  bool read(uint64_t offset, std::span<uint8_t> to) override {
    if (broken || offset + to.size() > data.size()) return false;
    std::copy_n(data.begin() + static_cast<ptrdiff_t>(offset), to.size(), to.begin());
    return true;
  }
  bool write(uint64_t offset, std::span<const uint8_t> from) override {
    if (broken || offset + from.size() > data.size()) return false;
    std::copy(from.begin(), from.end(), data.begin() + static_cast<ptrdiff_t>(offset));
    return true;
  }
  bool flush() override { return !broken; }
  Bytes sector(size_t lba) const {
    return {data.begin() + static_cast<ptrdiff_t>(lba * 512), data.begin() + static_cast<ptrdiff_t>(lba * 512 + 512)};
  }
  Bytes data;
  bool locked = false;
  bool broken = false;
};

constexpr size_t k144 = 1474560;

struct Bench {
  tests::FakeBoard board;
  std::unique_ptr<FakeDisk> disk;
  devices::I8237 dma{board.dma};
  I82077 fdc;

  explicit Bench(size_t size = k144)
      : disk(size != 0 ? std::make_unique<FakeDisk>(size) : nullptr),
        fdc(board.clock, board.events, dma, emu::IrqLine(&board.irqs, 6), disk.get()) {
    dma.attach(board.ports);
    fdc.attach(board.ports);
    dma.reset();
    fdc.reset();
  }
  void out(uint16_t port, uint8_t value) { board.ports.write(port, 1, value); }
  uint8_t in(uint16_t port) { return static_cast<uint8_t>(board.ports.read(port, 1)); }
  bool irq() { return board.irqs.levels[6]; }
  void wait() { board.advance(5'000'000); }

  void command(const Bytes& bytes) {
    for (uint8_t b : bytes) {
      REQUIRE((in(0x3f4) & 0xc0) == 0x80);
      out(0x3f5, b);
    }
  }
  Bytes result() {
    Bytes bytes;
    while ((in(0x3f4) & 0xd0) == 0xd0 && bytes.size() < 32) bytes.push_back(in(0x3f5));
    return bytes;
  }
  // A command that answers at once.
  Bytes ask(const Bytes& bytes) {
    command(bytes);
    return result();
  }
  // A command that answers with an interrupt.
  Bytes run(const Bytes& bytes) {
    command(bytes);
    CHECK((in(0x3f4) & 0x90) == 0x10);
    wait();
    CHECK(irq());
    const Bytes answer = result();
    CHECK_FALSE(irq());
    return answer;
  }
  // What a BIOS does first.
  void start(bool with_dma = true, uint8_t rate = 0) {
    out(0x3f2, 0x1c);
    wait();
    for (int i = 0; i < 4; ++i) ask({0x08});
    ask({0x03, 0xaf, static_cast<uint8_t>(with_dma ? 0x02 : 0x03)});
    out(0x3f7, rate);
    command({0x07, 0x00});
    wait();
    ask({0x08});
  }
  void seek(uint8_t cylinder, uint8_t drive = 0) {
    command({0x0f, drive, cylinder});
    wait();
    ask({0x08});
  }
  void program_dma(bool to_memory, uint16_t bytes, uint16_t address = 0x2000) {
    out(0x0a, 0x06);
    out(0x0c, 0);
    out(0x04, address & 0xff);
    out(0x04, address >> 8);
    out(0x05, static_cast<uint8_t>(bytes - 1));
    out(0x05, static_cast<uint8_t>((bytes - 1) >> 8));
    out(0x0b, to_memory ? 0x46 : 0x4a);
    out(0x81, 0x01);
    out(0x0a, 0x02);
  }
  Bytes memory(size_t offset, size_t length) {
    const auto at = board.dma.ram.begin() + 0x12000 + static_cast<ptrdiff_t>(offset);
    return {at, at + static_cast<ptrdiff_t>(length)};
  }
  void fill_memory(size_t length, uint8_t seed) {
    for (size_t i = 0; i < length; ++i) board.dma.ram[0x12000 + i] = static_cast<uint8_t>(seed + i * 3);
  }
};

size_t lba(size_t c, size_t h, size_t s, size_t spt = 18) { return (c * 2 + h) * spt + s - 1; }
}  // namespace

TEST_CASE("82077: held in reset until the DOR lets go, then four drives to sense") {
  Bench b;
  CHECK(b.in(0x3f2) == 0x00);
  CHECK(b.in(0x3f4) == 0x00);
  b.out(0x3f5, 0x10);
  b.out(0x3f2, 0x0c);
  CHECK(b.in(0x3f2) == 0x0c);
  CHECK(b.in(0x3f4) == 0x80);
  CHECK_FALSE(b.irq());
  b.wait();
  CHECK(b.irq());
  for (uint8_t drive = 0; drive < 4; ++drive) {
    CHECK(b.ask({0x08}) == Bytes{static_cast<uint8_t>(0xc0 | drive), 0});
    CHECK_FALSE(b.irq());
  }
  CHECK(b.ask({0x08}) == Bytes{0x80});
}

TEST_CASE("82077: the DSR's reset clears itself, and the DMA gate gates the interrupt") {
  Bench b;
  b.start();
  b.out(0x3f4, 0x80);
  CHECK(b.in(0x3f4) == 0x80);
  b.wait();
  CHECK(b.irq());
  b.out(0x3f2, 0x14);
  CHECK_FALSE(b.irq());
  b.out(0x3f2, 0x1c);
  CHECK(b.irq());
  b.out(0x3f2, 0x18);
  CHECK_FALSE(b.irq());
}

TEST_CASE("82077: commands about the controller itself") {
  Bench b;
  b.start();
  CHECK(b.ask({0x10}) == Bytes{0x90});
  CHECK(b.ask({0x18}) == Bytes{0x80});  // PART ID came with the 82078
  CHECK(b.ask({0x00}) == Bytes{0x80});
  CHECK(b.ask({0xff}) == Bytes{0x80});
  CHECK(b.ask({0x13, 0x00, 0x57, 0x0b}).empty());
  CHECK(b.ask({0x12, 0x84 | 0x03}).empty());
  CHECK(b.ask({0x94}) == Bytes{0x10});
  CHECK(b.ask({0x0e}) == Bytes{0, 0, 0, 0, 0xaf, 0x02, 0x00, 0x87, 0x57, 0x0b});
  // Locked: the FIFO's settings survive a reset, polling, implied seeks, GAP and WGATE do not.
  b.out(0x3f4, 0x80);
  CHECK(b.ask({0x0e}) == Bytes{0, 0, 0, 0, 0xaf, 0x02, 0x00, 0x84, 0x07, 0x0b});
  CHECK(b.ask({0x14}) == Bytes{0x00});
  b.out(0x3f4, 0x80);
  CHECK(b.ask({0x0e}) == Bytes{0, 0, 0, 0, 0xaf, 0x02, 0x00, 0x04, 0x20, 0x00});
  // Without OW the drives' bits stay.
  b.ask({0x12, 0x39});
  CHECK(b.ask({0x0e}).at(7) == 0x05);
}

TEST_CASE("82077: status registers A and B are not there, TDR is two bits") {
  Bench b;
  CHECK(b.in(0x3f0) == 0xff);
  CHECK(b.in(0x3f1) == 0xff);
  b.out(0x3f3, 0xfe);
  CHECK(b.in(0x3f3) == 0x02);
  CHECK(b.board.ports.is_free(0x3f6, 0x3f6));
}

TEST_CASE("82077: seek, recalibrate, relative seek") {
  Bench b;
  b.start();
  b.command({0x0f, 0x04, 40});
  CHECK(b.in(0x3f4) == 0x81);  // drive 0 busy, the controller is not
  CHECK_FALSE(b.irq());
  CHECK(b.ask({0x08}) == Bytes{0x80});  // nothing to sense yet
  b.wait();
  CHECK(b.irq());
  CHECK(b.ask({0x08}) == Bytes{0x24, 40});
  CHECK_FALSE(b.irq());
  CHECK(b.in(0x3f4) == 0x80);
  b.command({0xcf, 0x00, 5});
  b.wait();
  CHECK(b.ask({0x08}) == Bytes{0x20, 45});
  b.command({0x8f, 0x00, 50});
  b.wait();
  CHECK(b.ask({0x08}) == Bytes{0x20, 0});
  b.seek(12);
  CHECK(b.ask({0x04, 0x04}) == Bytes{0x2c});
  b.command({0x07, 0x00});
  b.wait();
  CHECK(b.ask({0x08}) == Bytes{0x20, 0});
  CHECK(b.ask({0x04, 0x00}) == Bytes{0x38});
  b.disk->locked = true;
  CHECK(b.ask({0x04, 0x00}) == Bytes{0x78});
}

TEST_CASE("82077: a missing drive fails to recalibrate at once; two seeks are sensed one by one") {
  Bench b;
  b.start();
  b.command({0x07, 0x01});
  b.wait();
  CHECK(b.ask({0x08}) == Bytes{0x71, 0});
  CHECK(b.ask({0x04, 0x01}) == Bytes{0x29});
  b.command({0x0f, 0x00, 3});
  b.command({0x0f, 0x02, 9});
  CHECK(b.in(0x3f4) == 0x85);
  b.wait();
  const unsigned edges = b.board.irqs.edges[6];
  CHECK(b.ask({0x08}) == Bytes{0x20, 3});
  CHECK(b.board.irqs.edges[6] == edges + 1);
  CHECK(b.irq());
  CHECK(b.ask({0x08}) == Bytes{0x22, 9});
  CHECK_FALSE(b.irq());
}

TEST_CASE("82077: read by DMA, terminal count ends it") {
  Bench b;
  b.start();
  b.program_dma(true, 1024);
  CHECK(b.run({0xe6, 0x00, 0, 0, 2, 2, 18, 0x1b, 0xff}) == Bytes{0, 0, 0, 0, 0, 4, 2});
  CHECK(b.memory(0, 512) == b.disk->sector(lba(0, 0, 2)));
  CHECK(b.memory(512, 512) == b.disk->sector(lba(0, 0, 3)));
  // Terminal count in mid-sector discards the rest.
  b.board.dma.ram[0x12000 + 100] = 0x5a;
  b.program_dma(true, 100);
  CHECK(b.run({0xe6, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff}).at(0) == 0);
  CHECK(b.memory(0, 100) == Bytes(b.disk->data.begin(), b.disk->data.begin() + 100));
  CHECK(b.board.dma.ram[0x12000 + 100] == 0x5a);
}

TEST_CASE("82077: where a transfer ends, the datasheet's table") {
  struct Row {
    uint8_t opcode, head, first, last;
    uint16_t sectors;
    Bytes st0chrn;
  };
  const Row rows[] = {
      {0x66, 0, 1, 18, 3, {0x00, 5, 0, 4, 2}},   // inside a track
      {0x66, 0, 17, 18, 2, {0x00, 6, 0, 1, 2}},  // at its end
      {0x66, 1, 17, 18, 2, {0x04, 6, 1, 1, 2}},  //
      {0xe6, 0, 17, 18, 2, {0x00, 5, 1, 1, 2}},  // multi-track: over to head 1
      {0xe6, 1, 17, 18, 2, {0x04, 6, 0, 1, 2}},  // and to the next cylinder
      {0xe6, 0, 17, 18, 4, {0x04, 5, 1, 3, 2}},  // through both heads
  };
  for (const Row& row : rows) {
    Bench b;
    b.start();
    b.seek(5);
    b.program_dma(true, static_cast<uint16_t>(row.sectors * 512));
    const Bytes r =
        b.run({row.opcode, static_cast<uint8_t>(row.head << 2), 5, row.head, row.first, 2, row.last, 27, 255});
    REQUIRE(r.size() == 7);
    CHECK(Bytes{r[0], r[3], r[4], r[5], r[6]} == row.st0chrn);
    CHECK(r[1] == 0);
    CHECK(b.memory((row.sectors - 1u) * 512u, 512) == b.disk->sector(lba(5, row.head, row.first) + row.sectors - 1u));
  }
}

TEST_CASE("82077: the end of the cylinder without terminal count is an abnormal end") {
  Bench b;
  b.start();
  b.program_dma(true, 4096);
  CHECK(b.run({0x66, 0x00, 0, 0, 17, 2, 18, 0x1b, 0xff}) == Bytes{0x40, 0x80, 0, 1, 0, 1, 2});
  CHECK(b.memory(512, 512) == b.disk->sector(17));
  CHECK(b.dma.transfer_to_memory(2, Bytes(4)).bytes == 4);  // the channel still waits
}

TEST_CASE("82077: what cannot be found") {
  Bench b;
  b.start();
  const auto read = [&](Bytes command) {
    b.program_dma(true, 512);
    const Bytes r = b.run(command);
    return Bytes{r.at(0), r.at(1), r.at(2)};
  };
  CHECK(read({0x66, 0, 0, 0, 19, 2, 19, 27, 255}) == Bytes{0x40, 0x04, 0x00});
  CHECK(read({0x66, 0, 0, 0, 0, 2, 18, 27, 255}) == Bytes{0x40, 0x04, 0x00});
  CHECK(read({0x66, 0, 1, 0, 1, 2, 18, 27, 255}) == Bytes{0x40, 0x04, 0x10});  // the head is at cylinder 0
  CHECK(read({0x66, 4, 0, 0, 1, 2, 18, 27, 255}) == Bytes{0x44, 0x04, 0x00});  // head 1 has other IDs
  CHECK(read({0x66, 0, 0, 0, 1, 3, 18, 27, 255}) == Bytes{0x40, 0x04, 0x00});  // no 1024-byte sectors
  CHECK(read({0x26, 0, 0, 0, 1, 2, 18, 27, 255}) == Bytes{0x40, 0x01, 0x00});  // FM
  CHECK(read({0x66, 1, 0, 0, 1, 2, 18, 27, 255}) == Bytes{0x41, 0x01, 0x00});  // no drive 1
  b.out(0x3f7, 2);
  CHECK(read({0x66, 0, 0, 0, 1, 2, 18, 27, 255}) == Bytes{0x40, 0x01, 0x00});  // 250 kbit/s on a 1.44 MB disk
  b.out(0x3f7, 0);
  b.seek(80);
  CHECK(read({0x66, 0, 80, 0, 1, 2, 18, 27, 255}) == Bytes{0x40, 0x01, 0x00});  // nobody formatted that
  b.disk->broken = true;
  b.seek(0);
  CHECK(read({0x66, 0, 0, 0, 1, 2, 18, 27, 255}) == Bytes{0x40, 0x20, 0x20});
}

TEST_CASE("82077: implied seeks move the head") {
  Bench b;
  b.start();
  b.ask({0x13, 0, 0x40, 0});
  b.program_dma(true, 512);
  CHECK(b.run({0x66, 0, 33, 0, 1, 2, 18, 27, 255}).at(0) == 0);
  CHECK(b.memory(0, 512) == b.disk->sector(lba(33, 0, 1)));
}

TEST_CASE("82077: a DMA channel that is not ready is an overrun") {
  Bench b;
  b.start();
  CHECK(b.run({0x66, 0, 0, 0, 1, 2, 18, 27, 255}) == Bytes{0x40, 0x10, 0, 0, 0, 1, 2});
  CHECK(b.run({0x45, 0, 0, 0, 1, 2, 18, 27, 255}) == Bytes{0x40, 0x10, 0, 0, 0, 1, 2});
  CHECK(b.disk->data == FakeDisk(k144).data);
}

TEST_CASE("82077: write by DMA") {
  Bench b;
  b.start();
  b.seek(2);
  b.fill_memory(1024, 9);
  b.program_dma(false, 700);
  CHECK(b.run({0xc5, 0x04, 2, 1, 4, 2, 18, 0x1b, 0xff}) == Bytes{0x04, 0, 0, 2, 1, 6, 2});
  CHECK(b.disk->sector(lba(2, 1, 4)) == b.memory(0, 512));
  // Terminal count in mid-sector: zeros to the end.
  Bytes second = b.memory(512, 188);
  second.resize(512);
  CHECK(b.disk->sector(lba(2, 1, 5)) == second);
  CHECK(b.disk->sector(lba(2, 1, 6)) == FakeDisk(k144).sector(lba(2, 1, 6)));

  b.program_dma(false, 512);
  b.disk->locked = true;
  CHECK(b.run({0xc5, 0x04, 2, 1, 4, 2, 18, 0x1b, 0xff}) == Bytes{0x44, 0x02, 0, 2, 1, 4, 2});
  b.disk->locked = false;
  b.disk->broken = true;
  CHECK(b.run({0xc5, 0x04, 2, 1, 4, 2, 18, 0x1b, 0xff}).at(0) == 0x54);
}

TEST_CASE("82077: read by program, a sector at a time") {
  Bench b;
  b.start(false);
  b.command({0x66, 0, 0, 0, 1, 2, 2, 27, 255});
  CHECK(b.in(0x3f4) == 0x70);
  for (size_t sector = 0; sector < 2; ++sector) {
    b.wait();
    CHECK(b.irq());
    Bytes data;
    while ((b.in(0x3f4) & 0xa0) == 0xa0 && data.size() < 1000) data.push_back(b.in(0x3f5));
    CHECK(data == b.disk->sector(sector));
    CHECK_FALSE(b.irq());
    CHECK(b.in(0x3f5) == 0);  // nothing more to read yet
  }
  b.wait();
  CHECK(b.irq());
  CHECK(b.in(0x3f4) == 0xd0);
  CHECK(b.result() == Bytes{0x40, 0x80, 0, 1, 0, 1, 2});  // no terminal count in this mode
  CHECK_FALSE(b.irq());
}

TEST_CASE("82077: write by program") {
  Bench b;
  b.start(false);
  b.command({0x45, 0, 0, 0, 3, 2, 3, 27, 255});
  b.wait();
  CHECK(b.irq());
  Bytes data;
  while ((b.in(0x3f4) & 0xe0) == 0xa0 && data.size() < 1000) {
    data.push_back(static_cast<uint8_t>(data.size() * 5));
    b.out(0x3f5, data.back());
  }
  CHECK(data.size() == 512);
  CHECK_FALSE(b.irq());
  b.wait();
  CHECK(b.irq());
  CHECK(b.result() == Bytes{0x40, 0x80, 0, 1, 0, 1, 2});
  CHECK(b.disk->sector(2) == data);
}

TEST_CASE("82077: format writes the filler to the sectors it is given") {
  Bench b;
  b.start();
  b.seek(7);
  for (uint8_t i = 0; i < 18; ++i) {
    const Bytes id{7, 0, static_cast<uint8_t>(i + 1), 2};
    std::ranges::copy(id, b.board.dma.ram.begin() + 0x12000 + i * 4);
  }
  b.program_dma(false, 72);
  const Bytes r = b.run({0x4d, 0x00, 2, 18, 0x54, 0xf6});
  CHECK(Bytes{r[0], r[1], r[2]} == Bytes{0, 0, 0});
  for (size_t s = 1; s <= 18; ++s) CHECK(b.disk->sector(lba(7, 0, s)) == Bytes(512, 0xf6));
  CHECK(b.disk->sector(lba(7, 1, 1)) == FakeDisk(k144).sector(lba(7, 1, 1)));

  b.board.dma.ram[0x12000 + 3] = 3;  // sectors of 1024 bytes have no place in the image
  b.program_dma(false, 72);
  CHECK(b.run({0x4d, 0x00, 3, 18, 0x54, 0xf6}).at(0) == 0x50);
  b.disk->locked = true;
  b.program_dma(false, 72);
  CHECK(b.run({0x4d, 0x00, 2, 18, 0x54, 0xf6}).at(1) == 0x02);
}

TEST_CASE("82077: format by program takes four bytes a sector") {
  Bench b;
  b.start(false);
  b.command({0x4d, 0x00, 2, 2, 0x54, 0xe5});
  for (uint8_t s = 1; s <= 2; ++s) {
    b.wait();
    for (uint8_t byte : Bytes{0, 0, s, 2}) {
      REQUIRE(b.in(0x3f4) == 0xb0);
      b.out(0x3f5, byte);
    }
    CHECK(b.in(0x3f4) == 0x30);
  }
  b.wait();
  CHECK(b.result().at(0) == 0);
  CHECK(b.disk->sector(1) == Bytes(512, 0xe5));
  CHECK(b.disk->sector(2) == FakeDisk(k144).sector(2));
}

TEST_CASE("82077: read ID tells cylinder, head and the sector that passes") {
  Bench b;
  b.start();
  b.seek(3);
  const Bytes first = b.run({0x4a, 0x04});
  CHECK(Bytes{first[0], first[1], first[2], first[3], first[4], first[6]} == Bytes{0x04, 0, 0, 3, 1, 2});
  CHECK(first[5] >= 1);
  CHECK(first[5] <= 18);
  b.board.advance(100'000'000);  // half a turn
  const Bytes later = b.run({0x4a, 0x04});
  CHECK(later[5] != first[5]);
}

TEST_CASE("82077: read track starts at the index hole") {
  Bench b;
  b.start();
  b.program_dma(true, 1024);
  CHECK(b.run({0x42, 0, 0, 0, 9, 2, 18, 27, 255}).at(0) == 0);
  CHECK(b.memory(0, 512) == b.disk->sector(0));
  CHECK(b.memory(512, 512) == b.disk->sector(1));
}

TEST_CASE("82077: deleted data does not exist on an image") {
  Bench b;
  b.start();
  b.program_dma(true, 1024);
  CHECK(b.run({0x4c, 0, 0, 0, 1, 2, 18, 27, 255}) == Bytes{0, 0, 0x40, 0, 0, 2, 2});  // one sector, wrong mark
  CHECK(b.memory(0, 512) == b.disk->sector(0));
  b.program_dma(true, 1024);
  CHECK(b.memory(512, 512) == Bytes(512));
  b.command({0x6c, 0, 0, 0, 1, 2, 18, 27, 255});  // skips them all
  b.board.advance(10'000'000);
  CHECK(b.result() == Bytes{0x40, 0x80, 0, 1, 0, 1, 2});
  b.fill_memory(512, 1);
  b.program_dma(false, 512);
  CHECK(b.run({0x49, 0, 0, 0, 1, 2, 18, 27, 255}).at(0) == 0);
  CHECK(b.disk->sector(0) == b.memory(0, 512));
}

TEST_CASE("82077: verify needs no DMA") {
  Bench b;
  b.start();
  CHECK(b.run({0x56, 0x80, 0, 0, 3, 2, 18, 27, 4}) == Bytes{0, 0, 0, 0, 0, 7, 2});
  CHECK(b.run({0x56, 0x00, 0, 0, 17, 2, 18, 27, 255}) == Bytes{0, 0, 0, 1, 0, 1, 2});
  CHECK(b.run({0x56, 0x80, 0, 0, 17, 2, 18, 27, 4}) == Bytes{0x40, 0x80, 0, 1, 0, 1, 2});
  CHECK(b.run({0x56, 0x00, 0, 0, 17, 2, 20, 27, 255}) == Bytes{0x40, 0x04, 0, 0, 0, 19, 2});
}

TEST_CASE("82077: scans compare memory with the disk") {
  Bench b;
  b.start();
  std::fill(b.disk->data.begin(), b.disk->data.end(), uint8_t{5});
  const auto scan = [&](uint8_t opcode, uint8_t in_memory, uint8_t last) {
    std::fill_n(b.board.dma.ram.begin() + 0x12000, 2048, in_memory);
    b.program_dma(false, 2048);
    return b.run({opcode, 0, 0, 0, 1, 2, last, 27, 1}).at(2);
  };
  CHECK(scan(0x51, 5, 2) == 0x08);
  CHECK(scan(0x51, 6, 2) == 0x04);
  CHECK(scan(0x51, 0xff, 2) == 0x08);
  CHECK(scan(0x59, 6, 2) == 0x00);  // the disk is lower
  CHECK(scan(0x59, 4, 2) == 0x04);
  CHECK(scan(0x5d, 4, 2) == 0x00);
  CHECK(scan(0x5d, 6, 2) == 0x04);
}

TEST_CASE("82077: the disk change line goes with a step on a present disk") {
  Bench b;
  b.start();
  CHECK(b.in(0x3f7) == 0x80);
  b.seek(0);  // no step, no pulse
  CHECK(b.in(0x3f7) == 0x80);
  b.seek(1);
  CHECK(b.in(0x3f7) == 0x00);
  b.out(0x3f2, 0x2d);
  CHECK(b.in(0x3f7) == 0x00);
  b.out(0x3f2, 0x1c);
  b.fdc.insert(nullptr);
  CHECK(b.in(0x3f7) == 0x80);
  b.seek(5);
  CHECK(b.in(0x3f7) == 0x80);
  FakeDisk other(737280);
  b.fdc.insert(&other);
  b.seek(6);
  CHECK(b.in(0x3f7) == 0x00);
  b.out(0x3f7, 2);
  b.program_dma(true, 512);
  CHECK(b.run({0x66, 0, 6, 0, 9, 2, 9, 27, 255}).at(0) == 0);
  CHECK(b.memory(0, 512) == other.sector(lba(6, 0, 9, 9)));
}

TEST_CASE("82077: an empty drive answers quickly") {
  Bench b(0);
  b.start();
  CHECK(b.fdc.cmos_drive_type() == 4);
  CHECK(b.in(0x3f7) == 0x80);
  for (const Bytes& command :
       {Bytes{0x4a, 0x00}, Bytes{0x66, 0, 0, 0, 1, 2, 18, 27, 255}, Bytes{0x4d, 0, 2, 18, 84, 0}}) {
    b.command(command);
    b.board.advance(1'000'000);
    CHECK(b.irq());
    CHECK(b.result().at(1) == 0x01);
  }
}

TEST_CASE("82077: formats by size") {
  struct Row {
    size_t size;
    uint8_t type, rate, last_cylinder, sectors;
  };
  const Row rows[] = {{368640, 1, 2, 39, 9},   {737280, 4, 2, 79, 9},   {1228800, 2, 0, 79, 15},
                      {1474560, 4, 0, 79, 18}, {1720320, 4, 0, 79, 21}, {2949120, 5, 3, 79, 36}};
  for (const Row& row : rows) {
    Bench b(row.size);
    CHECK(devices::FloppyMedia::is_known_size(row.size));
    CHECK(b.fdc.cmos_drive_type() == row.type);
    b.start(true, row.rate);
    b.seek(row.last_cylinder);
    b.program_dma(true, 512);
    CHECK(b.run({0x66, 4, row.last_cylinder, 1, row.sectors, 2, row.sectors, 27, 255}).at(0) == 0x04);
    CHECK(b.memory(0, 512) == b.disk->sector(row.size / 512 - 1));
  }
}

TEST_CASE("82077: an image that is only a boot sector") {
  Bench b(700);
  CHECK_FALSE(devices::FloppyMedia::is_known_size(700));
  CHECK(b.fdc.cmos_drive_type() == 4);
  b.start();
  b.program_dma(true, 1024);
  CHECK(b.run({0x66, 0, 0, 0, 1, 2, 18, 27, 255}).at(0) == 0);
  Bytes tail(b.disk->data.begin() + 512, b.disk->data.end());
  tail.resize(512);
  CHECK(b.memory(512, 512) == tail);
  b.program_dma(true, 512);
  CHECK(b.run({0x66, 0, 0, 0, 3, 2, 18, 27, 255}).at(1) == 0x04);
}

TEST_CASE("82077: a reset in the middle of everything stops it") {
  Bench b;
  b.start();
  b.program_dma(true, 8192);
  b.command({0x66, 0, 0, 0, 1, 2, 18, 27, 255});
  b.board.advance(I82077::kSectorNs * 2 + 1);
  b.out(0x3f2, 0x18);
  b.wait();
  CHECK(b.memory(512, 512) == b.disk->sector(1));
  CHECK(b.memory(1024, 512) == Bytes(512));
  CHECK_FALSE(b.irq());
  b.out(0x3f2, 0x1c);
  b.wait();
  CHECK(b.ask({0x08}) == Bytes{0xc0, 0});
  // A BIOS that senses one drive only goes on with a seek, whose status comes first.
  b.seek(4);
  b.command({0x0f, 0, 6});
  b.wait();
  CHECK(b.ask({0x08}) == Bytes{0x20, 6});
  b.command({0x66, 0, 0, 0});  // half a command
  b.fdc.reset();
  CHECK(b.in(0x3f4) == 0);
}

TEST_CASE("82077: saved between two sectors, it goes on elsewhere") {
  for (const bool with_dma : {true, false}) {
    Bench a;
    a.start(with_dma);
    a.program_dma(true, 1024);
    a.command({0xe6, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff});
    a.board.advance(I82077::kSectorNs + 1);
    if (!with_dma)
      for (int i = 0; i < 200; ++i) a.in(0x3f5);

    tests::StateDump fdc;
    a.fdc.visit_state(fdc);
    tests::StateDump dma;
    a.dma.visit_state(dma);
    tests::StateDump events;
    a.board.events.visit_state(events);

    Bench b;
    b.board.clock.now = a.board.clock.now;
    tests::StateLoad load_fdc(fdc.fields);
    b.fdc.visit_state(load_fdc);
    b.fdc.state_loaded();
    tests::StateLoad load_dma(dma.fields);
    b.dma.visit_state(load_dma);
    tests::StateLoad load_events(events.fields);
    b.board.events.visit_state(load_events);
    tests::StateDump again;
    b.fdc.visit_state(again);
    CHECK(again.fields == fdc.fields);

    if (with_dma) {
      b.wait();
      CHECK(b.irq());
      CHECK(b.result() == Bytes{0, 0, 0, 0, 0, 3, 2});
      CHECK(b.memory(512, 512) == b.disk->sector(1));
    } else {
      Bytes rest;
      while ((b.in(0x3f4) & 0x80) != 0 && rest.size() < 1000) rest.push_back(b.in(0x3f5));
      const Bytes sector = b.disk->sector(0);
      CHECK(rest == Bytes(sector.begin() + 200, sector.end()));
    }
  }
}

TEST_CASE("82077: any byte to any register is harmless, and so is any state") {
  Bench b;
  uint32_t x = 7;
  const auto next = [&] { return (x = x * 1664525u + 1013904223u) >> 8; };
  for (int i = 0; i < 60000; ++i) {
    const uint32_t what = next() % 16;
    if (what < 10)
      b.out(0x3f5, static_cast<uint8_t>(next()));
    else if (what < 14)
      b.in(0x3f5);
    else if (what == 14)
      b.board.advance(next() % 400'000);
    else if (next() % 8 == 0)
      b.out(static_cast<uint16_t>(0x3f0 + next() % 6), static_cast<uint8_t>(next()));
    if (i % 64 == 0) b.out(0x3f2, 0x1c);
    if (i % 256 == 0) b.program_dma(next() % 2 != 0, 2048);
  }
  tests::StateDump dump;
  b.fdc.visit_state(dump);
  for (int round = 0; round < 300; ++round) {
    auto fields = dump.fields;
    for (auto& [name, bytes] : fields)
      for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(next());
    fields["phase"][0] = static_cast<uint8_t>(round % 5);
    fields["dor"][0] = 0x1c;
    tests::StateLoad load(fields);
    b.fdc.visit_state(load);
    b.fdc.state_loaded();
    for (int i = 0; i < 700; ++i) {
      b.out(0x3f5, static_cast<uint8_t>(next()));
      b.in(0x3f5);
      if (i % 50 == 0) b.wait();
    }
  }
  b.fdc.reset();
  b.start();
  CHECK(b.ask({0x10}) == Bytes{0x90});
}
