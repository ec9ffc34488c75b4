#include <doctest/doctest.h>

#include "devices/atapi_cd.h"
#include "tests/ide_rig.h"

using namespace understudy;
using understudy::tests::IdeRig;
using understudy::tests::MemoryDisk;
using understudy::tests::slice;

namespace {
struct Rig : IdeRig {
  MemoryDisk disc{100 * 2048 + 512};  // the last block is a quarter full
  explicit Rig(bool loaded = true) {
    ide.attach_cdrom(0, 0, loaded ? &disc : nullptr, "CD1");
    ide.reset();
  }
  // A packet command with its whole reply.
  std::vector<uint8_t> reply(const std::vector<uint8_t>& cdb, uint16_t limit = 0xfffe) {
    packet(cdb, limit);
    settle();
    std::vector<uint8_t> all;
    while ((status() & 0x88) == 0x08) {
      const auto part = read_data(byte_count());
      all.insert(all.end(), part.begin(), part.end());
      settle();
    }
    return all;
  }
  // Sense key, code and qualifier of the last error.
  std::vector<uint8_t> sense() {
    const auto data = reply({0x03, 0, 0, 0, 18});
    REQUIRE(data.size() == 18);
    CHECK(data[0] == 0x70);
    return {data[2], data[12], data[13]};
  }
  bool good(const std::vector<uint8_t>& cdb) {
    packet(cdb);
    settle();
    return status() == 0x50;
  }
};
using Bytes = std::vector<uint8_t>;
}  // namespace

TEST_CASE("atapi: signature, and ATA identification is refused with it") {
  Rig rig;
  CHECK(rig.in(4) == 0x14);
  CHECK(rig.in(5) == 0xeb);
  CHECK(rig.status() == 0);  // not DRDY before the first command
  rig.command(0xec);
  rig.settle();
  CHECK((rig.status() & 1) == 1);
  CHECK(rig.in(1) == 0x04);
  CHECK(rig.in(4) == 0x14);
  CHECK(rig.in(5) == 0xeb);
  rig.command(0xa1);
  rig.settle();
  CHECK(rig.irq());
  CHECK(rig.status() == 0x58);
  const auto id = rig.read_data(512);
  CHECK((id[0] | id[1] << 8) == 0x85c0);
  CHECK(id[99] == 0x0f);
  CHECK(rig.status() == 0x50);
}

TEST_CASE("atapi: a signature does not change which drive is selected") {
  Rig rig;
  MemoryDisk second(2048);
  rig.ide.attach_cdrom(0, 1, &second, "CD2");
  rig.ide.reset();
  rig.command(0xec, 0, 0, 1);
  rig.settle();
  CHECK((rig.in(6) & 0x10) == 0x10);
  CHECK(rig.in(4) == 0x14);
  rig.out(7, 0x08);
  rig.settle();
  CHECK((rig.in(6) & 0x10) == 0x10);
  rig.ports.write(0x3f6, 1, 4);
  rig.out(6, 0xb0);  // held in reset: ignored
  rig.ports.write(0x3f6, 1, 0);
  rig.settle();
  CHECK((rig.in(6) & 0x10) == 0);
}

TEST_CASE("atapi: the packet protocol shows its phase in the interrupt reason") {
  Rig rig;
  rig.out(6, 0xa0);
  rig.out(1, 0);
  rig.out(4, 0);
  rig.out(5, 8);
  rig.out(7, 0xa0);
  CHECK(rig.status() == 0x58);
  CHECK((rig.in(2) & 3) == 1);  // command, to the device
  CHECK_FALSE(rig.irq());
  rig.write_data({0x28, 0, 0, 0, 0, 7, 0, 0, 2, 0, 0, 0});
  CHECK((rig.alt_status() & 0x80) != 0);
  rig.settle();
  CHECK(rig.irq());
  CHECK(rig.status() == 0x58);
  CHECK((rig.in(2) & 3) == 2);  // data, to the host
  CHECK(rig.byte_count() == 2048);
  CHECK(rig.read_data(2048) == slice(rig.disc.data, 7 * 2048, 2048));
  CHECK(rig.irq());
  rig.status();
  CHECK(rig.read_data(2048) == slice(rig.disc.data, 8 * 2048, 2048));
  CHECK(rig.irq());
  CHECK(rig.status() == 0x50);
  CHECK((rig.in(2) & 3) == 3);  // command complete
}

TEST_CASE("atapi: reads obey any byte count limit") {
  for (const unsigned limit : {0u, 1u, 2u, 511u, 2048u, 6000u, 0xffffu}) {
    Rig rig;
    const auto data = rig.reply({0x28, 0, 0, 0, 0, 10, 0, 0, 40}, static_cast<uint16_t>(limit));
    CHECK(data == slice(rig.disc.data, 10 * 2048, 40 * 2048));
    CHECK(rig.status() == 0x50);
  }
  Rig rig;
  CHECK(rig.reply({0xa8, 0, 0, 0, 0, 3, 0, 0, 0, 2}) == slice(rig.disc.data, 3 * 2048, 2 * 2048));
  CHECK(rig.reply({0xbe, 0, 0, 0, 0, 3, 0, 0, 1, 0x10}) == slice(rig.disc.data, 3 * 2048, 2048));
  CHECK(rig.reply({0x28, 0, 0, 0, 0, 3, 0, 0, 0}).empty());
  CHECK(rig.status() == 0x50);
}

TEST_CASE("atapi: the last, incomplete block is filled with zeros") {
  Rig rig;
  const auto capacity = rig.reply({0x25});
  CHECK(capacity == Bytes{0, 0, 0, 100, 0, 0, 8, 0});
  const auto data = rig.reply({0x28, 0, 0, 0, 0, 100, 0, 0, 1});
  REQUIRE(data.size() == 2048);
  CHECK(slice(data, 0, 512) == slice(rig.disc.data, 100 * 2048, 512));
  CHECK(slice(data, 512, 1536) == Bytes(1536));
}

TEST_CASE("atapi: errors are CHECK CONDITION with sense data, which is read once") {
  Rig rig;
  CHECK_FALSE(rig.good({0x28, 0, 0, 0, 0, 101, 0, 0, 1}));
  CHECK(rig.alt_status() == 0x51);
  CHECK(rig.in(1) == 0x54);
  CHECK((rig.in(2) & 3) == 3);
  CHECK(rig.sense() == Bytes{5, 0x21, 0});
  CHECK(rig.sense() == Bytes{0, 0, 0});
  CHECK_FALSE(rig.good({0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff}));
  CHECK_FALSE(rig.good({0xa8, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff}));
  CHECK(rig.sense() == Bytes{5, 0x21, 0});
  CHECK_FALSE(rig.good({0xff}));
  CHECK(rig.sense() == Bytes{5, 0x20, 0});
  rig.disc.fail_reads = true;
  CHECK_FALSE(rig.good({0x28, 0, 0, 0, 0, 1, 0, 0, 1}));
  CHECK(rig.in(1) == 0x34);
  CHECK(rig.sense() == Bytes{3, 0x11, 0});
}

TEST_CASE("atapi: an empty drive says so") {
  Rig rig(false);
  CHECK_FALSE(rig.good({0x00}));
  CHECK(rig.sense() == Bytes{2, 0x3a, 0});
  CHECK_FALSE(rig.good({0x25}));
  CHECK_FALSE(rig.good({0x28, 0, 0, 0, 0, 0, 0, 0, 1}));
  CHECK(rig.reply({0x12, 0, 0, 0, 36}).size() == 36);
}

TEST_CASE("atapi: tray, lock and media events") {
  Rig rig;
  CHECK(rig.good({0x00}));
  CHECK(rig.good({0x1e, 0, 0, 0, 1}));
  CHECK_FALSE(rig.good({0x1b, 0, 0, 0, 2}));
  CHECK(rig.sense() == Bytes{5, 0x53, 2});
  CHECK(rig.good({0x1e, 0, 0, 0, 0}));
  CHECK(rig.good({0x1b, 0, 0, 0, 2}));
  CHECK_FALSE(rig.good({0x00}));
  CHECK(rig.sense() == Bytes{2, 0x3a, 0});
  CHECK(rig.reply({0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8}) == Bytes{0, 6, 4, 0x10, 3, 1, 0, 0});
  CHECK(rig.reply({0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8})[1] == 0x10);
  CHECK(rig.good({0x1b, 0, 0, 0, 3}));
  CHECK(rig.good({0x00}));
  CHECK(rig.reply({0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8}) == Bytes{0, 6, 4, 0x10, 2, 2, 0, 0});
  CHECK(rig.reply({0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8}) == Bytes{0, 6, 4, 0x10, 0, 2, 0, 0});
  CHECK(rig.good({0x2b, 0, 0, 0, 0, 50}));
  CHECK_FALSE(rig.good({0x2b, 0, 0, 0, 0, 101}));
}

TEST_CASE("atapi: replies are cut to the allocation length") {
  Rig rig;
  const auto inquiry = rig.reply({0x12, 0, 0, 0, 255});
  CHECK(inquiry.size() == 36);
  CHECK(inquiry[0] == 5);
  CHECK(inquiry[1] == 0x80);
  auto five = rig.reply({0x12, 0, 0, 0, 5});  // three words: the last byte is padding
  five.pop_back();
  CHECK(five == slice(inquiry, 0, 5));
  CHECK(rig.status() == 0x50);
  CHECK(rig.reply({0x12, 0, 0, 0, 0}).empty());
  CHECK(rig.status() == 0x50);
}

TEST_CASE("atapi: table of contents") {
  Rig rig;
  CHECK(rig.reply({0x43, 0, 0, 0, 0, 0, 0, 0, 255}) ==
        Bytes{0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xaa, 0, 0, 0, 0, 101});
  CHECK(rig.reply({0x43, 2, 0, 0, 0, 0, 0xaa, 0, 255}) == Bytes{0, 10, 1, 1, 0, 0x14, 0xaa, 0, 0, 0, 3, 26});
  CHECK(rig.reply({0x43, 0, 1, 0, 0, 0, 0, 0, 255}) == Bytes{0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0});
  CHECK(rig.reply({0x43, 0, 0, 0, 0, 0, 0, 0, 12, 0x40}).size() == 12);
  CHECK_FALSE(rig.good({0x43, 0, 0, 0, 0, 0, 5, 0, 255}));
  CHECK_FALSE(rig.good({0x43, 0, 2, 0, 0, 0, 0, 0, 255}));
}

TEST_CASE("atapi: mode sense, configuration, disc information") {
  Rig rig;
  const auto caps = rig.reply({0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128});
  CHECK(caps.size() == 28);
  CHECK((caps[0] << 8 | caps[1]) == 26);
  CHECK(caps[8] == 0x2a);
  CHECK(caps[9] == 18);
  CHECK(rig.reply({0x1a, 0, 0x01, 0, 128}).size() == 12);
  CHECK(rig.reply({0x5a, 0, 0x3f, 0, 0, 0, 0, 1, 0}).size() == 8 + 8 + 16 + 20);
  CHECK_FALSE(rig.good({0x5a, 0, 0x07, 0, 0, 0, 0, 0, 128}));
  CHECK_FALSE(rig.good({0x5a, 0, 0xea, 0, 0, 0, 0, 0, 128}));
  CHECK(rig.sense() == Bytes{5, 0x39, 0});
  const auto config = rig.reply({0x46, 0, 0, 0, 0, 0, 0, 1, 0});
  CHECK((config[2] << 8 | config[3]) == static_cast<int>(config.size()) - 4);
  CHECK(config[7] == 8);
  CHECK(rig.reply({0x46, 2, 0, 1, 0, 0, 0, 1, 0}).size() == 8 + 12);
  const auto info = rig.reply({0x51, 0, 0, 0, 0, 0, 0, 0, 34});
  CHECK(info.size() == 34);
  CHECK(info[2] == 0x0e);
  CHECK(rig.reply({0x4a, 1, 0, 0, 0x02, 0, 0, 0, 8}) == Bytes{0, 2, 0x80, 0x10});
}

TEST_CASE("atapi: DMA moves reads and replies") {
  Rig rig;
  rig.enable_bus_master();
  rig.prd(0x1000, 0, 0x10000, 0, true);
  rig.bm_start(0x1000, true);
  rig.packet({0x28, 0, 0, 0, 0, 20, 0, 0, 32}, 0, true);
  rig.settle();
  CHECK(rig.irq());
  CHECK((rig.bm_status() & 7) == 4);
  CHECK(slice(rig.dma.ram, 0x10000, 0x10000) == slice(rig.disc.data, 20 * 2048, 0x10000));
  CHECK(rig.status() == 0x50);
  rig.ports.write(IdeRig::kBm, 1, 0);
  rig.packet({0x25}, 0, true);
  rig.settle();
  CHECK_FALSE(rig.irq());  // waits for the bus master
  rig.bm_start(0x1000, true);
  CHECK(rig.irq());
  CHECK(slice(rig.dma.ram, 0x10000, 8) == Bytes{0, 0, 0, 100, 0, 0, 8, 0});
  CHECK((rig.bm_status() & 5) == 5);  // the table is longer than the data
}

TEST_CASE("atapi: DEVICE RESET works at any time") {
  Rig rig;
  rig.packet({0x28, 0, 0, 0, 0, 1, 0, 0, 1});
  rig.out(7, 0x08);
  CHECK((rig.alt_status() & 0x80) != 0);
  rig.settle();
  CHECK_FALSE(rig.irq());
  CHECK(rig.status() == 0);
  CHECK(rig.in(4) == 0x14);
  CHECK(rig.in(1) == 1);
  CHECK(rig.good({0x00}));
}

TEST_CASE("atapi: state survives a restore between the blocks of a read") {
  Rig rig;
  rig.packet({0x28, 0, 0, 0, 0, 30, 0, 0, 40}, 2048);
  rig.settle();
  rig.status();
  rig.read_data(2048 + 1000);
  tests::StateDump ide, events;
  rig.ide.visit_state(ide);
  rig.events.visit_state(events);
  Rig other;
  other.clock.now = rig.clock.now;
  tests::StateLoad load(ide.fields), load_events(events.fields);
  other.ide.visit_state(load);
  other.ide.state_loaded();
  other.events.visit_state(load_events);
  Bytes rest = other.read_data(1048);
  other.settle();
  while ((other.status() & 0x08) != 0) {
    const auto part = other.read_data(other.byte_count());
    rest.insert(rest.end(), part.begin(), part.end());
    other.settle();
  }
  CHECK(rest == slice(other.disc.data, 31 * 2048 + 1000, 39 * 2048 - 1000));
}
