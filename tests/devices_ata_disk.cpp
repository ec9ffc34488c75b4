#include <doctest/doctest.h>

#include <random>

#include "devices/ata_disk.h"
#include "tests/ide_rig.h"

using namespace understudy;
using understudy::tests::IdeRig;
using understudy::tests::MemoryDisk;
using understudy::tests::slice;

namespace {
constexpr size_t kSectors = 5000;
struct Rig : IdeRig {
  MemoryDisk disk{kSectors * 512};
  Rig() {
    ide.attach_disk(0, 0, disk, "SERIAL1");
    ide.reset();
  }
  std::vector<uint16_t> identify(unsigned unit = 0) {
    command(0xec, 0, 0, unit);
    settle();
    const auto bytes = read_data(512);
    std::vector<uint16_t> words;
    for (size_t i = 0; i < 512; i += 2) words.push_back(static_cast<uint16_t>(bytes[i] | bytes[i + 1] << 8));
    return words;
  }
};
std::vector<uint8_t> pattern(size_t bytes, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> data(bytes);
  for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
  return data;
}
}  // namespace

TEST_CASE("ata: signature after power-on, and nothing where no drive is") {
  Rig rig;
  CHECK(rig.in(1) == 1);
  CHECK(rig.in(2) == 1);
  CHECK(rig.in(3) == 1);
  CHECK(rig.in(4) == 0);
  CHECK(rig.in(5) == 0);
  CHECK(rig.status() == 0x50);
  rig.out(6, 0xb0);
  CHECK(rig.status() == 0);
  CHECK(rig.in(6) == 0);
  rig.out(7, 0xec);
  CHECK(rig.events.next_due() == emu::EventQueue::kNever);
  CHECK(rig.ports.read(0x177, 1) == 0);
}

TEST_CASE("ata: a command is busy for exactly the completion delay") {
  Rig rig;
  rig.clock.now = 12345;
  rig.ide.set_delay_ns(70000);
  rig.command(0x20, 3, 1);
  CHECK((rig.status() & 0x80) != 0);
  rig.advance_to(12345 + 69999);
  CHECK((rig.status() & 0x80) != 0);
  CHECK(rig.disk.reads == 0);  // the image is touched at completion only
  rig.advance_to(12345 + 70000);
  CHECK(rig.disk.reads == 1);
  CHECK(rig.irq());
  CHECK(rig.alt_status() == 0x58);
  CHECK(rig.irq());
  CHECK(rig.status() == 0x58);
  CHECK_FALSE(rig.irq());  // reading Status acknowledges
}

TEST_CASE("ata: IDENTIFY describes the disk") {
  Rig rig;
  auto id = rig.identify();
  CHECK(rig.status() == 0x50);
  CHECK((id[0] & 0x8000) == 0);
  CHECK(id[1] == 4);  // 5000 / (16 * 63)
  CHECK(id[3] == 16);
  CHECK(id[6] == 63);
  CHECK(id[10] == ('S' << 8 | 'E'));
  CHECK(id[27] == ('U' << 8 | 'N'));
  CHECK((id[49] & 0x0300) == 0x0300);
  CHECK((id[60] | id[61] << 16) == kSectors);
  CHECK(id[100] == kSectors);
  CHECK((id[83] & 0xc400) == 0x4400);
  CHECK(id[63] == 0x0407);
  rig.out(1, 0x03);
  rig.command(0xef, 0, 0x20);
  rig.settle();
  CHECK(rig.status() == 0x50);
  CHECK(rig.identify()[63] == 0x0107);
  rig.out(1, 0x82);
  rig.command(0xef);
  rig.settle();
  CHECK((rig.identify()[85] & 0x20) == 0);
  rig.out(1, 0x77);
  rig.command(0xef);
  rig.settle();
  CHECK(rig.status() == 0x51);
  CHECK(rig.in(1) == 0x04);
}

TEST_CASE("ata: PIO reads of every width, one interrupt a sector") {
  for (const unsigned width : {1u, 2u, 4u}) {
    Rig rig;
    rig.command(0x20, 10, 3);
    rig.settle();
    for (unsigned sector = 0; sector < 3; ++sector) {
      CHECK(rig.irq());
      CHECK(rig.status() == 0x58);
      CHECK(rig.read_data(512, width) == slice(rig.disk.data, (10 + sector) * 512, 512));
    }
    CHECK_FALSE(rig.irq());
    CHECK(rig.status() == 0x50);
    CHECK(rig.irqs.edges[14] == 3);
    CHECK(rig.ports.read(0x1f0, 2) == 0);
  }
}

TEST_CASE("ata: a count of zero is 256 sectors, and long reads come in chunks") {
  Rig rig;
  rig.command(0x20, 0, 0);
  std::vector<uint8_t> all;
  for (unsigned sector = 0; sector < 256; ++sector) {
    rig.settle();
    REQUIRE(rig.status() == 0x58);
    const auto data = rig.read_data(512, 4);
    all.insert(all.end(), data.begin(), data.end());
  }
  CHECK(rig.status() == 0x50);
  CHECK(all == slice(rig.disk.data, 0, 256 * 512));
  rig.command_ext(0x24, 100, 600);
  all.clear();
  for (unsigned sector = 0; sector < 600; ++sector) {
    rig.settle();
    REQUIRE(rig.status() == 0x58);
    const auto data = rig.read_data(512, 4);
    all.insert(all.end(), data.begin(), data.end());
  }
  CHECK(rig.status() == 0x50);
  CHECK(all == slice(rig.disk.data, 100 * 512, 600 * 512));
}

TEST_CASE("ata: PIO writes reach the image block by block") {
  Rig rig;
  const auto data = pattern(1024, 1);
  rig.command(0x30, 20, 2);
  CHECK(rig.status() == 0x58);
  CHECK_FALSE(rig.irq());  // the first block asks without an interrupt
  rig.write_data(slice(data, 0, 512));
  CHECK((rig.alt_status() & 0x80) != 0);
  CHECK(rig.disk.writes == 0);
  rig.settle();
  CHECK(rig.irq());
  CHECK(rig.status() == 0x58);
  CHECK(slice(rig.disk.data, 20 * 512, 512) == slice(data, 0, 512));
  rig.write_data(slice(data, 512, 512), 4);
  rig.settle();
  CHECK(rig.irq());
  CHECK(rig.status() == 0x50);
  CHECK(slice(rig.disk.data, 20 * 512, 1024) == data);
}

TEST_CASE("ata: multiple mode moves blocks and needs to be set") {
  Rig rig;
  rig.command(0xc4, 0, 8);
  rig.settle();
  CHECK(rig.status() == 0x51);
  CHECK(rig.in(1) == 0x04);
  rig.command(0xc6, 0, 3);
  rig.settle();
  CHECK(rig.status() == 0x51);
  rig.command(0xc6, 0, 4);
  rig.settle();
  CHECK(rig.status() == 0x50);
  CHECK(rig.identify()[59] == 0x0104);
  const unsigned before = rig.irqs.edges[14];
  rig.command(0xc4, 7, 6);
  rig.settle();
  rig.status();
  auto data = rig.read_data(4 * 512);
  CHECK(rig.irq());
  rig.status();
  const auto rest = rig.read_data(2 * 512);
  data.insert(data.end(), rest.begin(), rest.end());
  CHECK(data == slice(rig.disk.data, 7 * 512, 6 * 512));
  CHECK(rig.irqs.edges[14] == before + 2);
  CHECK(rig.status() == 0x50);
  const auto written = pattern(5 * 512, 2);
  rig.command_ext(0x39, 30, 5);
  rig.write_data(slice(written, 0, 4 * 512));
  rig.settle();
  CHECK(rig.status() == 0x58);
  rig.write_data(slice(written, 4 * 512, 512));
  rig.settle();
  CHECK(rig.status() == 0x50);
  CHECK(slice(rig.disk.data, 30 * 512, 5 * 512) == written);
}

TEST_CASE("ata: CHS addresses follow the current translation") {
  Rig rig;
  const auto read_chs = [&rig](unsigned cylinder, unsigned head, unsigned sector) {
    rig.out(6, 0xa0 | head);
    rig.out(2, 1);
    rig.out(3, sector);
    rig.out(4, cylinder & 0xff);
    rig.out(5, cylinder >> 8);
    rig.out(7, 0x20);
    rig.settle();
    return rig.status();
  };
  REQUIRE(read_chs(2, 3, 5) == 0x58);
  CHECK(rig.read_data(512) == slice(rig.disk.data, ((2 * 16 + 3) * 63 + 4) * 512, 512));
  CHECK(read_chs(0, 0, 0) == 0x51);
  CHECK(rig.in(1) == 0x10);
  CHECK(read_chs(0, 0, 64) == 0x51);
  rig.command(0x91, 3u << 24, 17);  // 4 heads, 17 sectors
  rig.settle();
  CHECK(rig.status() == 0x50);
  REQUIRE(read_chs(2, 3, 5) == 0x58);
  CHECK(rig.read_data(512) == slice(rig.disk.data, ((2 * 4 + 3) * 17 + 4) * 512, 512));
  CHECK(read_chs(0, 4, 1) == 0x51);
  CHECK(rig.identify()[55] == 4);
}

TEST_CASE("ata: addresses beyond the end are not found") {
  Rig rig;
  for (const uint32_t lba : {static_cast<uint32_t>(kSectors), 0x0fffffffu}) {
    rig.command(0x20, lba, 1);
    rig.settle();
    CHECK(rig.status() == 0x51);
    CHECK(rig.in(1) == 0x10);
  }
  rig.command(0x20, kSectors - 1, 2);
  rig.settle();
  CHECK(rig.status() == 0x51);
  rig.command_ext(0x24, 0xffffffffffff, 0);
  rig.settle();
  CHECK(rig.status() == 0x51);
  rig.command(0x20, kSectors - 1, 1);
  rig.settle();
  CHECK(rig.status() == 0x58);
}

TEST_CASE("ata: host failures become drive errors with their address") {
  Rig rig;
  rig.disk.fail_reads = rig.disk.fail_writes = true;
  rig.command(0x20, 0x345, 1);
  rig.settle();
  CHECK(rig.irq());
  CHECK(rig.status() == 0x51);
  CHECK(rig.in(1) == 0x40);
  CHECK(rig.in(3) == 0x45);
  CHECK(rig.in(4) == 0x03);
  rig.command(0x40, 1, 1);  // VERIFY
  rig.settle();
  CHECK(rig.in(1) == 0x40);
  rig.command(0x30, 5, 2);
  rig.write_data(std::vector<uint8_t>(512));
  rig.settle();
  CHECK(rig.status() == 0x51);
  CHECK(rig.in(1) == 0x04);
  CHECK(rig.in(3) == 5);
  rig.command(0xe7);
  rig.settle();
  CHECK(rig.status() == 0x51);
  CHECK(rig.in(1) == 0x04);
  rig.disk.fail_writes = rig.disk.fail_reads = false;
  rig.command(0xea);
  rig.settle();
  CHECK(rig.status() == 0x50);
  CHECK(rig.in(1) == 0);
  CHECK(rig.disk.flushes == 2);
  rig.disk.is_read_only = true;
  rig.command(0x30, 5, 1);
  rig.settle();
  CHECK(rig.status() == 0x51);
  CHECK(rig.disk.writes == 1);
}

TEST_CASE("ata: commands without data, and unknown ones abort") {
  Rig rig;
  for (const unsigned code : {0x10u, 0x70u, 0xe0u, 0xe1u, 0xe2u, 0xe3u, 0xe6u, 0x95u}) {
    rig.command(static_cast<uint8_t>(code), 1, 1);
    rig.settle();
    CHECK(rig.irq());
    CHECK(rig.status() == 0x50);
  }
  rig.command(0xe5);
  rig.settle();
  CHECK(rig.in(2) == 0xff);
  rig.status();
  for (const unsigned code : {0x00u, 0x08u, 0xa0u, 0xa1u, 0xb0u, 0xf1u, 0xf9u, 0xffu}) {
    rig.command(static_cast<uint8_t>(code), 1, 1);
    rig.settle();
    CHECK(rig.irq());
    CHECK(rig.status() == 0x51);
    CHECK(rig.in(1) == 0x04);
  }
  rig.command(0x40, 0, 0);
  rig.settle();
  CHECK(rig.status() == 0x50);
  rig.command(0xf8);
  rig.settle();
  CHECK(rig.in(3) == ((kSectors - 1) & 0xff));
  CHECK(rig.in(4) == ((kSectors - 1) >> 8));
  rig.command(0x27);
  rig.settle();
  CHECK(rig.in(3) == ((kSectors - 1) & 0xff));
  rig.ports.write(0x3f6, 1, 0x80);
  CHECK(rig.in(3) == 0);
  CHECK(rig.in(5) == 0);
}

TEST_CASE("ata: HOB shows the previous content until the next write") {
  Rig rig;
  rig.out(3, 0x11);
  rig.out(3, 0x22);
  CHECK(rig.in(3) == 0x22);
  rig.ports.write(0x3f6, 1, 0x80);
  CHECK(rig.in(3) == 0x11);
  rig.out(2, 0);
  CHECK(rig.in(3) == 0x22);
}

TEST_CASE("ata: nIEN holds the interrupt back, selection moves it") {
  Rig rig;
  MemoryDisk second(100 * 512);
  rig.ide.attach_disk(0, 1, second, "SERIAL2");
  rig.ide.reset();
  rig.ports.write(0x3f6, 1, 2);
  rig.command(0x10);
  rig.settle();
  CHECK_FALSE(rig.irq());
  rig.ports.write(0x3f6, 1, 0);
  CHECK(rig.irq());
  rig.out(6, 0xf0);
  CHECK_FALSE(rig.irq());
  CHECK(rig.status() == 0x50);
  rig.out(6, 0xe0);
  CHECK(rig.irq());
  CHECK(rig.status() == 0x50);
  CHECK_FALSE(rig.irq());
  CHECK(rig.identify(1)[60] == 100);
  rig.command(0x20, 3, 1, 1);
  rig.settle();
  CHECK(rig.read_data(512) == slice(second.data, 3 * 512, 512));
}

TEST_CASE("ata: soft reset and diagnostics end every command") {
  Rig rig;
  MemoryDisk second(100 * 512);
  rig.ide.attach_disk(0, 1, second, "SERIAL2");
  rig.ide.reset();
  rig.command(0x30, 1, 2, 1);
  rig.write_data(std::vector<uint8_t>(512, 0xee));
  rig.ports.write(0x3f6, 1, 4);
  CHECK((rig.alt_status() & 0x80) != 0);
  rig.settle();
  CHECK((rig.alt_status() & 0x80) != 0);  // as long as SRST is set
  CHECK(second.writes == 0);
  rig.out(7, 0xec);
  rig.ports.write(0x3f6, 1, 0);
  CHECK((rig.alt_status() & 0x80) != 0);
  rig.settle();
  CHECK(rig.status() == 0x50);
  CHECK_FALSE(rig.irq());
  CHECK(rig.in(1) == 1);
  CHECK(rig.in(2) == 1);
  CHECK((rig.in(6) & 0x10) == 0);
  rig.out(6, 0xb0);
  CHECK(rig.in(3) == 1);
  rig.out(7, 0x90);
  rig.settle();
  CHECK(rig.irq());
  CHECK((rig.in(6) & 0x10) == 0);
  CHECK(rig.in(1) == 1);
  CHECK(rig.status() == 0x50);
}

TEST_CASE("ata: a busy drive ignores its registers") {
  Rig rig;
  rig.command(0x20, 5, 1);
  rig.out(3, 77);
  rig.out(7, 0x20);
  rig.settle();
  rig.status();
  CHECK(rig.read_data(512) == slice(rig.disk.data, 5 * 512, 512));
  CHECK(rig.status() == 0x50);
}

TEST_CASE("ata: state survives a restore in the middle of a read and of a write") {
  Rig rig;
  rig.command(0xc6, 0, 2);
  rig.settle();
  rig.command(0xc5, 40, 4);
  rig.write_data(std::vector<uint8_t>(1024, 0x11));
  rig.advance(IdeRig::kDelay / 2);
  const auto transplant = [](Rig& from, Rig& to) {
    tests::StateDump ide, events;
    from.ide.visit_state(ide);
    from.events.visit_state(events);
    to.clock.now = from.clock.now;
    to.disk.data = from.disk.data;
    tests::StateLoad load(ide.fields), load_events(events.fields);
    to.ide.visit_state(load);
    to.ide.state_loaded();
    to.events.visit_state(load_events);
    tests::StateDump again;
    to.ide.visit_state(again);
    CHECK(again.fields == ide.fields);
  };
  Rig busy;
  transplant(rig, busy);
  busy.settle();
  CHECK(busy.status() == 0x58);
  busy.write_data(std::vector<uint8_t>(700, 0x22));
  Rig half;
  transplant(busy, half);
  half.write_data(std::vector<uint8_t>(324, 0x22));
  half.settle();
  CHECK(half.status() == 0x50);
  CHECK(slice(half.disk.data, 40 * 512, 1024) == std::vector<uint8_t>(1024, 0x11));
  CHECK(slice(half.disk.data, 42 * 512, 1024) == std::vector<uint8_t>(1024, 0x22));
  half.command(0x20, 9, 2);
  half.settle();
  half.status();
  const auto first = half.read_data(600);
  Rig last;
  transplant(half, last);
  CHECK(last.read_data(424) == slice(last.disk.data, 9 * 512 + 600, 424));
  CHECK(last.status() == 0x50);
}

TEST_CASE("ata: a restored window that lies outside the data is refused") {
  Rig rig;
  rig.command(0x20, 5, 1);
  rig.settle();
  tests::StateDump dump;
  rig.ide.visit_state(dump);
  dump.fields["ide0.master.end"] = {0xff, 0xff, 0xff, 0x7f};
  dump.fields["ide0.master.position"] = {0xff, 0xff, 0, 0};
  dump.fields["ide0.master.block"] = {0, 0, 0, 0};
  Rig other;
  tests::StateLoad load(dump.fields);
  other.ide.visit_state(load);
  other.ide.state_loaded();
  for (int i = 0; i < 2000; ++i) other.ports.read(0x1f0, 4);
  CHECK((other.status() & 0x08) == 0);
}
