// The disk of devices/virtio_blk.h.
#include <doctest/doctest.h>

#include <random>

#include "devices/virtio_blk.h"
#include "tests/memory_disk.h"
#include "tests/virtio_rig.h"

using namespace understudy;
using devices::VirtioBlk;
using tests::MemoryDisk;
using Bytes = std::vector<uint8_t>;

namespace {

constexpr size_t kSectors = 2000;
constexpr uint64_t kDelay = devices::BlockPort::kDefaultDelayNs;
constexpr uint64_t kFeatures =
    devices::VirtioPci::kVersion1 | VirtioBlk::kSegMax | VirtioBlk::kBlkSize | VirtioBlk::kFlush;
constexpr uint32_t kIn = 0, kOut = 1, kFlush = 4, kGetId = 8;
constexpr uint64_t kData = 0x80000;

struct Rig : tests::VirtioRig {
  explicit Rig(bool read_only = false) {
    disk.is_read_only = read_only;
    blk = std::make_unique<VirtioBlk>("virtio_blk0", pci, kDevfn, clock, events, dma, disk, "SERIAL-OF-MORE-THAN-20");
    blk->reset();
    place();
    start_modern(1, 128, kFeatures);
  }
  MemoryDisk disk{kSectors * 512};
  std::unique_ptr<VirtioBlk> blk;
  unsigned requests = 0;

  // Headers from 70000h on, status bytes from 78000h on; returns the request's number.
  unsigned request(uint32_t type, uint64_t sector, std::vector<Piece> data) {
    const unsigned number = requests++ % 256;
    set_memory(0x70000 + 16 * number, type, 4);
    set_memory(0x70000 + 16 * number + 4, 0, 4);
    set_memory(0x70000 + 16 * number + 8, sector, 8);
    set_memory(0x78000 + number, 0xee, 1);
    data.insert(data.begin(), Piece{0x70000 + 16 * number, 16});
    data.push_back({0x78000 + number, 1, true});
    add(0, data);
    kick(0);
    return number;
  }
  unsigned status_of(unsigned number) { return dma.ram[0x78000 + number]; }
  Bytes get(uint64_t at, size_t size) {
    return {dma.ram.begin() + static_cast<std::ptrdiff_t>(at),
            dma.ram.begin() + static_cast<std::ptrdiff_t>(at + size)};
  }
  Bytes on_disk(size_t sector, size_t size) {
    const auto first = disk.data.begin() + static_cast<std::ptrdiff_t>(sector * 512);
    return {first, first + static_cast<std::ptrdiff_t>(size)};
  }
};

}  // namespace

TEST_CASE("virtio-blk: identity and configuration, modern and legacy") {
  Rig rig;
  CHECK(rig.config_read(Rig::kDevfn, 0, 4) == 0x10011af4);
  CHECK(rig.config_read(Rig::kDevfn, 8, 4) == 0x01000000);
  CHECK(rig.config_read(Rig::kDevfn, 0x2c, 4) == 0x00021af4);
  CHECK(rig.mmio.read(Rig::kDevice, 8) == kSectors);
  CHECK(rig.mmio.read(Rig::kDevice + 8, 4) == 128 * 1024);
  CHECK(rig.mmio.read(Rig::kDevice + 12, 4) == 126);
  CHECK(rig.mmio.read(Rig::kDevice + 20, 4) == 512);
  CHECK(rig.legacy(20, 4) == kSectors);
  rig.set_common(0, 4, 0);
  CHECK((rig.common(4, 4) & VirtioBlk::kReadOnly) == 0);
  Rig other(true);
  other.set_common(0, 4, 0);
  CHECK((other.common(4, 4) & VirtioBlk::kReadOnly) != 0);
}

TEST_CASE("virtio-blk: a read scatters over its buffers after the disk's time") {
  Rig rig;
  const unsigned number = rig.request(kIn, 50, {{kData, 1000, true}, {kData + 0x2000, 536, true}});
  rig.advance(kDelay - 1);
  CHECK(rig.status_of(number) == 0xee);
  CHECK(rig.disk.reads == 0);
  rig.advance(1);
  CHECK(rig.status_of(number) == 0);
  CHECK(rig.blk->intx_asserted());
  CHECK(rig.used(0) == std::pair<uint32_t, uint32_t>{0, 1537});
  Bytes read = rig.get(kData, 1000);
  const Bytes rest = rig.get(kData + 0x2000, 536);
  read.insert(read.end(), rest.begin(), rest.end());
  CHECK(read == rig.on_disk(50, 1536));
}

TEST_CASE("virtio-blk: writes gather, long requests run chunk by chunk, and what was written is read back") {
  Rig rig;
  std::mt19937 random(5);
  for (size_t i = kData; i < kData + 400 * 512; ++i) rig.dma.ram[i] = static_cast<uint8_t>(random());
  const unsigned number = rig.request(kOut, 100, {{kData, 1000}, {kData + 1000, 400 * 512 - 1000}});
  rig.advance(kDelay);
  CHECK(rig.status_of(number) == 0xee);  // 128 KiB of 200
  CHECK(rig.disk.writes == 1);
  rig.advance(kDelay);
  CHECK(rig.status_of(number) == 0);
  CHECK(rig.used(0).second == 1);
  CHECK(rig.on_disk(100, 400 * 512) == rig.get(kData, 400 * 512));
  const Bytes written = rig.get(kData, 400 * 512);
  std::fill(rig.dma.ram.begin() + kData, rig.dma.ram.begin() + kData + 400 * 512, uint8_t{0});
  rig.request(kIn, 100, {{kData, 400 * 512, true}});
  rig.settle();
  CHECK(rig.get(kData, 400 * 512) == written);
  CHECK(rig.used(0).second == 400 * 512 + 1);
}

TEST_CASE("virtio-blk: four requests are in flight at a time, the others wait in the ring") {
  Rig rig;
  for (unsigned i = 0; i < 10; ++i) {
    rig.request(kIn, i, {{kData + i * 512, 512, true}});
    rig.advance(0);
  }
  rig.advance(kDelay);
  CHECK(rig.used_index(0) == 4);
  rig.advance(kDelay);
  CHECK(rig.used_index(0) == 8);
  rig.settle();
  CHECK(rig.used_index(0) == 10);
  CHECK(rig.get(kData, 10 * 512) == rig.on_disk(0, 10 * 512));
  CHECK(rig.disk.reads == 10);
}

TEST_CASE("virtio-blk: flush, identity, and a type that does not exist") {
  Rig rig;
  const unsigned flush = rig.request(kFlush, 0, {});
  const unsigned id = rig.request(kGetId, 0, {{kData, 20, true}});
  const unsigned other = rig.request(77, 0, {{kData + 100, 20, true}});
  rig.settle();
  CHECK(rig.status_of(flush) == 0);
  CHECK(rig.disk.flushes == 1);
  CHECK(rig.status_of(id) == 0);
  const Bytes serial = rig.get(kData, 20);
  CHECK(std::string(serial.begin(), serial.end()) == "SERIAL-OF-MORE-THAN-");
  CHECK(rig.status_of(other) == 2);
  CHECK(rig.used_index(0) == 3);
}

TEST_CASE("virtio-blk: errors: past the end, no whole sectors, read-only, a host that fails") {
  Rig rig;
  std::vector<unsigned> bad;
  bad.push_back(rig.request(kIn, kSectors - 1, {{kData, 1024, true}}));
  bad.push_back(rig.request(kIn, kSectors, {{kData, 512, true}}));
  bad.push_back(rig.request(kIn, 0xffffffffffffffff, {{kData, 512, true}}));
  bad.push_back(rig.request(kIn, 0, {{kData, 513, true}}));
  bad.push_back(rig.request(kOut, kSectors, {{kData, 512}}));
  bad.push_back(rig.request(kIn, 0, {{kData, 0xfffffe00, true}, {kData, 0xfffffe00, true}}));
  rig.settle();
  CHECK(rig.disk.reads + rig.disk.writes == 0);
  rig.disk.fail_reads = rig.disk.fail_writes = true;
  bad.push_back(rig.request(kIn, 0, {{kData, 512, true}}));
  bad.push_back(rig.request(kOut, 0, {{kData, 512}}));
  bad.push_back(rig.request(kFlush, 0, {}));
  rig.settle();
  for (const unsigned number : bad) CHECK(rig.status_of(number) == 1);
  CHECK(rig.status() == 15);
  rig.disk.fail_reads = false;
  const unsigned last = rig.request(kIn, kSectors - 1, {{kData, 512, true}});
  rig.settle();
  CHECK(rig.status_of(last) == 0);

  Rig locked(true);
  const unsigned write = locked.request(kOut, 0, {{kData, 512}});
  const unsigned read = locked.request(kIn, 0, {{kData, 512, true}});
  locked.settle();
  CHECK(locked.status_of(write) == 1);
  CHECK(locked.status_of(read) == 0);
}

TEST_CASE("virtio-blk: what is no request breaks the device; so does a chain that changes into a loop in flight") {
  Rig rig;
  SUBCASE("too short a header") { rig.add(0, {{0x70000, 15}, {0x78000, 1, true}}); }
  SUBCASE("no status byte") { rig.add(0, {{0x70000, 16}}); }
  SUBCASE("a status of no bytes") { rig.add(0, {{0x70000, 16}, {0x78000, 0, true}}); }
  SUBCASE("a loop made in flight") {
    rig.request(kIn, 0, {{kData, 512, true}});
    rig.advance(10);
    rig.descriptor(0, 2, {0x78000, 1, true}, 1);
  }
  rig.kick(0);
  rig.settle();
  CHECK((rig.status() & 0x40) != 0);
  CHECK(rig.isr() == 2);
  rig.set_common(20, 1, 0);
  rig.start_modern(1, 128, kFeatures);
  std::fill(rig.dma.ram.begin() + 0x10000, rig.dma.ram.begin() + 0x20000, uint8_t{0});
  const unsigned number = rig.request(kIn, 0, {{kData, 512, true}});
  rig.settle();
  CHECK(rig.status_of(number) == 0);
}

TEST_CASE("virtio-blk: a reset forgets what is in flight and touches neither memory nor disk") {
  Rig rig;
  rig.request(kOut, 0, {{kData, 512}});
  rig.request(kIn, 0, {{kData, 512, true}});
  rig.advance(100);
  rig.set_common(20, 1, 0);
  const auto before = rig.dma.ram;
  rig.settle();
  CHECK(rig.dma.ram == before);
  CHECK(rig.disk.reads + rig.disk.writes == 0);
}

TEST_CASE("virtio-blk: state survives a restore with requests in flight") {
  Rig rig;
  for (unsigned i = 0; i < 3; ++i) rig.request(kIn, i * 300, {{kData + i * 0x26000, 300 * 512, true}});
  rig.request(kOut, 1500, {{0xf8000, 8 * 512}});
  rig.request(kIn, 7, {{0x40000, 512, true}});
  rig.advance(kDelay + 100);  // the long ones have moved their first chunk
  tests::StateDump blk, events;
  rig.blk->visit_state(blk);
  rig.events.visit_state(events);
  Rig other;
  other.clock.now = rig.clock.now;
  other.dma.ram = rig.dma.ram;
  other.disk.data = rig.disk.data;
  tests::StateLoad load(blk.fields), load_events(events.fields);
  other.blk->visit_state(load);
  other.blk->state_loaded();
  other.events.visit_state(load_events);
  for (Rig* r : {&rig, &other}) {
    r->settle();
    CHECK(r->used_index(0) == 5);
    CHECK(r->get(kData + 0x26000, 300 * 512) == r->on_disk(300, 300 * 512));
    CHECK(r->get(0x40000, 512) == r->on_disk(7, 512));
  }
  CHECK(rig.dma.ram == other.dma.ram);
  CHECK(rig.disk.data == other.disk.data);
}

TEST_CASE("virtio-blk: hostile drivers never harm the machine, and two machines agree on every byte") {
  const auto run = [](unsigned seed) {
    Rig rig;
    std::mt19937 random(seed);
    uint64_t digest = 0;
    const auto note = [&digest](uint64_t value) { digest = digest * 31 + value; };
    unsigned broken = 0;
    for (int i = 0; i < 20000; ++i) {
      const auto value = static_cast<uint32_t>(random());
      switch (random() % 10) {
        case 0:
          rig.mmio.write(Rig::kModern + random() % 0x4000, 1u << (random() % 4), value);
          break;
        case 1:
          rig.set_legacy(random() % 64, 1u << (random() % 3), value);
          break;
        case 2:
          if ((rig.status() & 0x40) != 0) ++broken;
          rig.start_modern(1, 128, kFeatures);
          break;
        case 3:
          for (unsigned n = value % 8; n > 0; --n)
            rig.dma.ram[0x10000 + random() % 0x1400] = static_cast<uint8_t>(random());
          break;
        case 4:
        case 5:
        case 6: {
          const uint32_t types[] = {kIn, kOut, kIn, kOut, kFlush, kGetId, 99};
          const uint32_t type = types[random() % 7];
          std::vector<Rig::Piece> pieces;
          for (unsigned n = random() % 3; n > 0; --n)
            pieces.push_back({random() % 0x110000,
                              static_cast<uint32_t>(random() % 16 == 0 ? random() : (random() % 300) * 512),
                              (type != kOut) != (random() % 32 == 0)});
          rig.request(type, random() % (kSectors + 10), pieces);
          break;
        }
        default:
          rig.advance(value % 100000);
          note(rig.isr());
          break;
      }
    }
    CHECK(broken > 10);
    CHECK(rig.disk.reads > 100);
    CHECK(rig.disk.writes > 100);
    for (const uint8_t byte : rig.dma.ram) note(byte);
    for (const uint8_t byte : rig.disk.data) note(byte);
    tests::StateDump dump;
    rig.blk->visit_state(dump);
    for (const auto& [name, bytes] : dump.fields)
      for (const uint8_t byte : bytes) note(byte);
    for (unsigned lane = 0; lane < VirtioBlk::kLanes; ++lane)
      CHECK(dump.fields.at("lane" + std::to_string(lane) + ".port.data").size() <= devices::BlockPort::kMaxTransfer);
    return digest;
  };
  CHECK(run(1) == run(1));
  CHECK(run(2) != run(1));
}
