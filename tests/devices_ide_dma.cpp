// The bus master of devices/ide_channel.h, and the whole controller under random traffic.
#include <doctest/doctest.h>

#include <random>

#include "tests/ide_rig.h"

using namespace understudy;
using understudy::tests::IdeRig;
using understudy::tests::MemoryDisk;
using understudy::tests::slice;

namespace {
constexpr size_t kSectors = 4000;
struct Rig : IdeRig {
  MemoryDisk disk{kSectors * 512};
  Rig() {
    ide.attach_disk(0, 0, disk, "SERIAL1");
    ide.reset();
    enable_bus_master();
  }
};
}  // namespace

TEST_CASE("ide: identity, and no BAR but the bus master's") {
  Rig rig;
  CHECK(rig.config_read(9, 0, 4) == 0x70108086);
  CHECK(rig.config_read(9, 8, 4) == 0x01018000);
  for (unsigned bar = 0; bar < 6; ++bar) {
    rig.config_write(9, 0x10 + 4 * bar, 4, 0xffffffff);
    CHECK(rig.config_read(9, 0x10 + 4 * bar, 4) == (bar == 4 ? 0xfffffff1 : 0));
  }
  rig.config_write(9, 0x40, 4, 0x80008000);
  CHECK(rig.config_read(9, 0x40, 4) == 0x80008000);
}

TEST_CASE("ide: bus master registers of both channels") {
  Rig rig;
  rig.ports.write(IdeRig::kBm + 4, 4, 0x12345677);
  rig.ports.write(IdeRig::kBm + 12, 2, 0xabcd);
  CHECK(rig.ports.read(IdeRig::kBm + 4, 4) == 0x12345674);
  CHECK(rig.ports.read(IdeRig::kBm + 12, 4) == 0xabcc);
  rig.ports.write(IdeRig::kBm + 2, 1, 0xff);
  CHECK(rig.bm_status() == 0x60);
  rig.ports.write(IdeRig::kBm, 1, 0xff);
  CHECK(rig.ports.read(IdeRig::kBm, 1) == 0x09);
  CHECK(rig.bm_status() == 0x61);
  rig.ports.write(IdeRig::kBm, 1, 0);
  CHECK(rig.bm_status() == 0x60);
}

TEST_CASE("ide: DMA reads scatter over the table, whether the bus master or the command starts first") {
  for (const bool bus_master_first : {true, false}) {
    Rig rig;
    rig.prd(0x1000, 0, 0x20000, 1000, false);
    rig.prd(0x1000, 1, 0x30000, 24, false);
    rig.prd(0x1000, 2, 0x40000, 3 * 1024, true);
    if (bus_master_first) rig.bm_start(0x1000, true);
    rig.command(0xc8, 50, 8);
    if (!bus_master_first) rig.settle();
    if (!bus_master_first) rig.bm_start(0x1000, true);
    rig.settle();
    CHECK(rig.irq());
    CHECK(rig.bm_status() == 0x64);
    CHECK(rig.status() == 0x50);
    CHECK(slice(rig.dma.ram, 0x20000, 1000) == slice(rig.disk.data, 50 * 512, 1000));
    CHECK(slice(rig.dma.ram, 0x30000, 24) == slice(rig.disk.data, 50 * 512 + 1000, 24));
    CHECK(slice(rig.dma.ram, 0x40000, 3072) == slice(rig.disk.data, 52 * 512, 3072));
    CHECK(rig.dma.ram[0x40000 + 3072] == 0);
    rig.ports.write(IdeRig::kBm + 2, 1, 0x04);
    CHECK((rig.bm_status() & 4) == 0);
  }
}

TEST_CASE("ide: DMA writes gather, and long transfers run chunk by chunk") {
  Rig rig;
  std::mt19937 random(3);
  for (size_t i = 0x20000; i < 0x20000 + 600 * 512; ++i) rig.dma.ram[i] = static_cast<uint8_t>(random());
  // 600 sectors: four full 64 KiB entries (a count of 0) and the rest.
  for (unsigned i = 0; i < 4; ++i) rig.prd(0x1000, i, 0x20000 + i * 0x10000, 0, false);
  rig.prd(0x1000, 4, 0x60000, 600 * 512 - 0x40000, true);
  rig.bm_start(0x1000, false);
  rig.command_ext(0x35, 1000, 600);
  rig.settle();
  CHECK(rig.irq());
  CHECK(rig.bm_status() == 0x64);
  CHECK(rig.status() == 0x50);
  CHECK(slice(rig.disk.data, 1000 * 512, 600 * 512) == slice(rig.dma.ram, 0x20000, 600 * 512));
  CHECK(rig.irqs.edges[14] == 1);
  rig.ports.write(IdeRig::kBm, 1, 0);
  std::fill(rig.dma.ram.begin() + 0x20000, rig.dma.ram.end(), uint8_t{0});
  rig.bm_start(0x1000, true);
  rig.command_ext(0x25, 1000, 600);
  rig.settle();
  CHECK(rig.bm_status() == 0x64);
  CHECK(slice(rig.disk.data, 1000 * 512, 600 * 512) == slice(rig.dma.ram, 0x20000, 600 * 512));
}

TEST_CASE("ide: a table longer than the data leaves Active set") {
  Rig rig;
  rig.prd(0x1000, 0, 0x20000, 4096, true);
  rig.bm_start(0x1000, true);
  rig.command(0xc8, 0, 1);
  rig.settle();
  CHECK(rig.bm_status() == 0x65);
  CHECK(rig.status() == 0x50);
  CHECK(rig.dma.ram[0x20000 + 512] == 0);
}

TEST_CASE("ide: a table shorter than the data stops without an interrupt; a new start goes on") {
  Rig rig;
  rig.prd(0x1000, 0, 0x20000, 512, true);
  rig.bm_start(0x1000, true);
  rig.command(0xc8, 4, 2);
  rig.settle();
  CHECK(rig.bm_status() == 0x60);
  CHECK_FALSE(rig.irq());
  CHECK((rig.status() & 0x08) != 0);
  rig.ports.write(IdeRig::kBm, 1, 0);
  rig.prd(0x1000, 0, 0x30000, 512, true);
  rig.bm_start(0x1000, true);
  CHECK(rig.bm_status() == 0x64);
  CHECK(rig.status() == 0x50);
  CHECK(slice(rig.dma.ram, 0x30000, 512) == slice(rig.disk.data, 5 * 512, 512));
}

TEST_CASE("ide: stopping the bus master, or a soft reset, ends a transfer that waits") {
  Rig rig;
  rig.prd(0x1000, 0, 0x20000, 512, true);
  rig.bm_start(0x1000, true);
  rig.command(0xc8, 4, 1);
  rig.ports.write(IdeRig::kBm, 1, 0);
  rig.settle();
  CHECK(rig.dma.ram[0x20000] == 0);
  CHECK((rig.status() & 0x08) != 0);
  rig.ports.write(0x3f6, 1, 4);
  rig.ports.write(0x3f6, 1, 0);
  rig.settle();
  CHECK(rig.status() == 0x50);
  rig.bm_start(0x1000, true);
  CHECK(rig.dma.ram[0x20000] == 0);
}

TEST_CASE("ide: a failed DMA command interrupts with an error and moves nothing") {
  Rig rig;
  rig.disk.fail_reads = rig.disk.fail_writes = true;
  rig.prd(0x1000, 0, 0x20000, 512, true);
  rig.bm_start(0x1000, true);
  rig.command(0xc8, 4, 1);
  rig.settle();
  CHECK(rig.irq());
  CHECK((rig.bm_status() & 4) == 4);
  CHECK(rig.status() == 0x51);
  CHECK(rig.in(1) == 0x40);
  CHECK(rig.dma.ram[0x20000] == 0);
  rig.ports.write(IdeRig::kBm, 1, 0);
  rig.bm_start(0x1000, false);
  rig.command(0xca, 4, 1);
  rig.settle();
  CHECK(rig.status() == 0x51);
  CHECK(rig.in(1) == 0x04);
}

TEST_CASE("ide: malformed tables terminate") {
  Rig rig;
  SUBCASE("a table outside of memory") {
    rig.bm_start(0xfffffff8, true);
    rig.command(0xc8, 0, 0);
    rig.settle();
    CHECK((rig.bm_status() & 1) == 0);  // all ones: one entry, the last
  }
  SUBCASE("buffers outside of memory") {
    for (unsigned i = 0; i < 8; ++i) rig.prd(0x1000, i, 0xfffffff0, 0, i == 7);
    rig.bm_start(0x1000, true);
    rig.command(0xc8, 0, 0);
    rig.settle();
    CHECK(rig.status() == 0x50);
    CHECK((rig.bm_status() & 4) == 4);
  }
  SUBCASE("a table without an end, of the smallest entries, over all of memory") {
    for (size_t at = 0; at < rig.dma.ram.size(); at += 8) rig.prd(static_cast<uint32_t>(at), 0, 0xfff00000, 2, false);
    rig.bm_start(0, true);
    rig.command_ext(0x25, 0, 4000);
    rig.settle();
    CHECK((rig.status() & 0x88) != 0x80);
  }
  SUBCASE("a table that the transfer overwrites") {
    for (unsigned i = 0; i < 100; ++i) rig.prd(0x1000, i, 0x1000, 512, false);
    rig.bm_start(0x1000, true);
    rig.command(0xc8, 0, 100);
    rig.settle();
    CHECK((rig.status() & 0x80) == 0);
  }
}

TEST_CASE("ide: state survives a restore in the middle of a DMA transfer") {
  Rig rig;
  rig.prd(0x1000, 0, 0x20000, 0, false);
  rig.prd(0x1000, 1, 0x30000, 0, false);
  rig.prd(0x1000, 2, 0x40000, 0, true);
  rig.bm_start(0x1000, true);
  rig.command_ext(0x25, 7, 384);
  rig.advance(IdeRig::kDelay);  // the first of two chunks
  CHECK((rig.alt_status() & 0x80) != 0);
  tests::StateDump ide, events;
  rig.ide.visit_state(ide);
  rig.events.visit_state(events);
  Rig other;
  other.clock.now = rig.clock.now;
  other.dma.ram = rig.dma.ram;
  tests::StateLoad load(ide.fields), load_events(events.fields);
  other.ide.visit_state(load);
  other.ide.state_loaded();
  other.events.visit_state(load_events);
  for (Rig* r : {&rig, &other}) {
    r->settle();
    CHECK(r->bm_status() == 0x64);
    CHECK(slice(r->dma.ram, 0x20000, 384 * 512) == slice(r->disk.data, 7 * 512, 384 * 512));
  }
  CHECK(rig.dma.ram == other.dma.ram);
}

TEST_CASE("ide: random traffic never harms the machine, and two machines agree on every byte") {
  const auto run = [](unsigned seed) {
    IdeRig rig;
    MemoryDisk disk(300 * 512), disc(40 * 2048), second(50 * 512);
    rig.ide.attach_disk(0, 0, disk, "A");
    rig.ide.attach_cdrom(0, 1, &disc, "B");
    rig.ide.attach_disk(1, 1, second, "C");
    rig.ide.reset();
    rig.enable_bus_master();
    std::mt19937 random(seed);
    for (uint8_t& byte : rig.dma.ram) byte = static_cast<uint8_t>(random());
    const uint8_t commands[] = {0x20, 0x24, 0x25, 0x29, 0x30, 0x34, 0x35, 0x39, 0x40, 0x90, 0xa0,
                                0xa1, 0xc4, 0xc5, 0xc6, 0xc8, 0xca, 0xe7, 0xec, 0xef, 0x08, 0x91};
    const uint8_t packets[] = {0x00, 0x03, 0x12, 0x1a, 0x1b, 0x1e, 0x25, 0x28,
                               0x43, 0x46, 0x4a, 0x51, 0x5a, 0xa8, 0xbd};
    uint64_t digest = 0;
    const auto note = [&digest](uint64_t value) { digest = digest * 31 + value; };
    for (int i = 0; i < 40000; ++i) {
      const auto base = static_cast<uint16_t>(random() % 6 == 0 ? 0x170 : 0x1f0);
      const unsigned size = 1u << (random() % 3);
      const uint32_t value = static_cast<uint32_t>(random());
      switch (random() % 12) {
        case 0:  // any register, any value
          rig.ports.write(static_cast<uint16_t>(base + random() % 8), size, value);
          break;
        case 1:  // a command that makes sense, mostly
          rig.ports.write(static_cast<uint16_t>(base + 6), 1, value & 0xf0);
          for (unsigned reg = 1; reg < 6; ++reg)
            rig.ports.write(static_cast<uint16_t>(base + reg), 1, reg > 3 ? 0 : random() % 32);
          rig.ports.write(static_cast<uint16_t>(base + 7), 1, commands[random() % std::size(commands)]);
          break;
        case 2:  // a packet
          rig.out(6, 0xb0);
          rig.out(1, value % 2);
          rig.out(7, 0xa0);
          rig.ports.write(0x1f0, 2, packets[random() % std::size(packets)]);
          rig.ports.write(0x1f0, 2, 0);
          for (int word = 2; word < 6; ++word) rig.ports.write(0x1f0, 2, random() % 2 == 0 ? random() & 0x0f00 : 0);
          break;
        case 3:  // any bus master register, any value
          rig.ports.write(static_cast<uint16_t>(IdeRig::kBm + random() % 16), size, value);
          break;
        case 4:  // a bus master start
          rig.ports.write(IdeRig::kBm, 1, 0);
          rig.bm_start(value % 0xffff0, value % 2 == 0);
          break;
        case 5:  // resets, some of them half done
          if (value % 4 == 0) rig.ports.write(static_cast<uint16_t>(base + 0x206), 1, 4);
          rig.ports.write(static_cast<uint16_t>(base + 0x206), 1, value % 16 == 0 ? value >> 8 & 0x86 : 0);
          break;
        case 6:
        case 7:
          for (unsigned n = value % 1200; n > 0; --n) note(rig.ports.read(base, size));
          break;
        case 8:
        case 9:
          for (unsigned n = value % 1200; n > 0; --n) rig.ports.write(base, size, value + n);
          break;
        default:
          note(rig.ports.read(static_cast<uint16_t>(base + random() % 8), size));
          rig.advance(random() % 100000);
          break;
      }
    }
    tests::StateDump dump;
    rig.ide.visit_state(dump);
    for (const auto& [name, bytes] : dump.fields)
      for (const uint8_t byte : bytes) note(byte);
    for (const uint8_t byte : rig.dma.ram) note(byte);
    for (const uint8_t byte : disk.data) note(byte);
    CHECK(dump.fields.at("ide0.master.data").size() <= devices::BlockPort::kMaxTransfer);
    // The traffic got through to the images.
    CHECK(disk.reads > 50);
    CHECK(disk.writes > 10);
    CHECK(disc.reads > 5);
    // Whatever happened, a reset brings the drive back.
    rig.ports.write(0x3f6, 1, 4);
    rig.ports.write(0x3f6, 1, 2);
    rig.settle();
    CHECK(rig.status() == 0x50);
    return digest;
  };
  CHECK(run(11) == run(11));
  CHECK(run(12) != run(11));
}
