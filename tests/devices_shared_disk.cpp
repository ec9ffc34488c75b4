#include <doctest/doctest.h>

#include <memory>
#include <random>

#include "devices/ata_disk.h"
#include "devices/shared_disk.h"
#include "devices/virtio_blk.h"
#include "emu/block_message.h"
#include "tests/virtio_rig.h"

using namespace understudy;
using devices::BlockPort;
using devices::SharedDisk;
using devices::VirtioBlk;
using emu::BlockOperation;
using emu::BlockRequest;
using Bytes = std::vector<uint8_t>;

namespace {

constexpr uint64_t kSize = 1 << 20;

// The world's side of a disk: notes what goes out, answers when the test says so.
struct Outside {
  explicit Outside(emu::World& w, SharedDisk& d) : world(w), disk(d) {
    disk.attach(world);
    for (const emu::ChannelId channel : {disk.channel(), disk.read_channel()})
      world.connect(channel, [this, channel](std::span<const uint8_t> bytes) {
        const auto request = emu::decode_block_request(bytes);
        REQUIRE(request);
        CHECK((request->operation == BlockOperation::read) == (channel == disk.read_channel()));
        out.push_back(*request);
      });
  }
  void answer(uint64_t number, bool ok, Bytes data = {}) {
    world.deliver({disk.channel(), emu::encode(emu::BlockAnswer{number, ok, std::move(data)})});
  }
  emu::World& world;
  SharedDisk& disk;
  std::vector<BlockRequest> out;
};

struct PortRig : tests::FakeBoard {
  PortRig() {
    port.connect(&disk);
    port.on_done([this](bool ok) { done.push_back(ok); });
  }
  SharedDisk disk{"disk0", kSize, false};
  Outside outside{world, disk};
  BlockPort port{clock, events, "port"};
  std::vector<bool> done;
};

}  // namespace

TEST_CASE("shared disk: a request goes out at once and is over when its answer comes, however late") {
  PortRig rig;
  rig.port.read(4096, 1024);
  REQUIRE(rig.outside.out == std::vector<BlockRequest>{{1, BlockOperation::read, 4096, 1024, {}}});
  rig.advance(1'000'000'000);
  CHECK(rig.done.empty());
  rig.outside.answer(1, true, Bytes(1024, 0x5a));
  CHECK(rig.done == std::vector{true});
  CHECK(rig.port.data() == Bytes(1024, 0x5a));
  rig.port.data() = Bytes(512, 7);
  rig.port.write(512);
  rig.outside.answer(2, true);
  rig.port.flush();
  rig.outside.answer(3, false);
  CHECK(rig.outside.out[1] == BlockRequest{2, BlockOperation::write, 512, 512, Bytes(512, 7)});
  CHECK(rig.outside.out[2] == BlockRequest{3, BlockOperation::flush, 0, 0, {}});
  CHECK(rig.done == std::vector{true, true, false});
}

TEST_CASE("shared disk: the end of the disk") {
  PortRig rig;
  rig.port.read(kSize - 512, 1024);
  CHECK(rig.outside.out.back().length == 512);
  rig.outside.answer(1, true, Bytes(512, 1));
  CHECK(rig.done == std::vector{true});
  CHECK(rig.port.data().size() == 1024);
  CHECK(rig.port.data()[511] == 1);
  CHECK(rig.port.data()[512] == 0);
  // Beyond it nobody is asked; the drive hears of it after its time.
  rig.port.read(kSize, 512);
  rig.port.data();
  rig.advance(BlockPort::kDefaultDelayNs);
  rig.port.data() = Bytes(1024);
  rig.port.write(kSize - 512);
  rig.advance(BlockPort::kDefaultDelayNs);
  CHECK(rig.done == std::vector{true, false, false});
  CHECK(rig.outside.out.size() == 1);
}

TEST_CASE("shared disk: answers that nobody waits for, or of a wrong size, do no harm") {
  PortRig rig;
  rig.outside.answer(1, true, Bytes(512));
  rig.port.read(0, 512);
  rig.outside.answer(0, true, Bytes(512));
  rig.outside.answer(2, true, Bytes(512));
  rig.world.deliver({rig.disk.channel(), {1, 2, 3}});
  CHECK(rig.done.empty());
  rig.outside.answer(1, true, Bytes(513));
  CHECK(rig.done == std::vector{false});
  CHECK(rig.port.data() == Bytes(512));
  rig.outside.answer(1, true, Bytes(512));
  CHECK(rig.done.size() == 1);
}

TEST_CASE("shared disk: a forgotten request keeps the next one back until it is answered") {
  PortRig rig;
  rig.port.data() = Bytes(512, 1);
  rig.port.write(0);
  CHECK(rig.disk.unanswered().size() == 1);
  rig.port.abandon();
  CHECK(rig.disk.unanswered().empty());
  CHECK(rig.disk.forgotten() == std::vector<uint64_t>{1});
  rig.port.delay();  // what a reset takes: no business of the disk's
  rig.advance(BlockPort::kDefaultDelayNs);
  CHECK(rig.done == std::vector{true});
  rig.port.read(0, 512);
  rig.port.abandon();
  rig.port.read(512, 512);
  CHECK(rig.outside.out.size() == 1);
  CHECK(rig.disk.unanswered().empty());
  rig.outside.answer(1, true);
  CHECK(rig.done.size() == 1);
  REQUIRE(rig.outside.out.size() == 2);
  CHECK(rig.outside.out[1] == BlockRequest{2, BlockOperation::read, 512, 512, {}});
  CHECK(rig.disk.forgotten().empty());
  rig.outside.answer(2, true, Bytes(512, 9));
  CHECK(rig.done.size() == 2);
}

TEST_CASE("shared disk: state is saved in the middle, and a successor asks again for the same") {
  for (const bool forgotten : {false, true}) {
    PortRig first, second;
    first.port.data() = Bytes(1024, 3);
    first.port.write(2048);
    if (forgotten) {
      first.port.abandon();
      first.port.read(0, 512);
    }
    tests::StateDump dump;
    first.disk.visit_state(dump);
    first.port.visit_state(dump);
    tests::StateLoad load(dump.fields);
    second.disk.visit_state(load);
    second.port.visit_state(load);
    CHECK(second.disk.unanswered() == first.disk.unanswered());
    CHECK(second.disk.unanswered().size() == (forgotten ? 0 : 1));
    CHECK(second.disk.forgotten() == first.disk.forgotten());
    CHECK(second.disk.next_number() == 2);
    second.outside.answer(1, true);
    CHECK(second.done.size() == (forgotten ? 0 : 1));
    CHECK(second.outside.out.size() == (forgotten ? 1 : 0));
    tests::StateDump again;
    second.disk.visit_state(again);
    CHECK(again.fields.at("next") == Bytes{static_cast<uint8_t>(forgotten ? 3 : 2), 0, 0, 0, 0, 0, 0, 0});
  }
}

namespace {

struct VirtioDiskRig : tests::VirtioRig {
  VirtioDiskRig() {
    blk = std::make_unique<VirtioBlk>("virtio_blk0", pci, kDevfn, clock, events, dma, disk, "serial");
    blk->reset();
    place();
    start_modern(1, 128, devices::VirtioPci::kVersion1 | VirtioBlk::kFlush);
  }
  SharedDisk disk{"virtio_disk0", kSize, false};
  Outside outside{world, disk};
  std::unique_ptr<VirtioBlk> blk;
  unsigned requests = 0;

  unsigned request(uint32_t type, uint64_t sector, std::vector<Piece> data) {
    const unsigned number = requests++;
    set_memory(0x70000 + 16 * number, type, 4);
    set_memory(0x70000 + 16 * number + 8, sector, 8);
    set_memory(0x78000 + number, 0xee, 1);
    data.insert(data.begin(), Piece{0x70000 + 16 * number, 16});
    data.push_back({0x78000 + number, 1, true});
    add(0, data);
    kick(0);
    settle();
    return number;
  }
  unsigned status_of(unsigned number) { return dma.ram[0x78000 + number]; }
};

}  // namespace

TEST_CASE("shared disk on virtio: four are out at once, answers come in any order, a failure is a device error") {
  VirtioDiskRig rig;
  for (unsigned i = 0; i < 5; ++i) rig.request(0, i, {{0x80000 + 512 * i, 512, true}});
  CHECK(rig.outside.out.size() == 4);
  rig.outside.answer(3, true, Bytes(512, 3));
  rig.settle();
  CHECK(rig.used(0).first == 6);  // the third chain begins at its descriptor
  CHECK(rig.outside.out.size() == 5);
  rig.outside.answer(1, false);
  rig.settle();
  CHECK(rig.status_of(0) == 1);
  CHECK(rig.status_of(2) == 0);
  CHECK(rig.dma.ram[0x80000 + 512 * 2] == 3);
  // A driver that resets the device while requests are out; the lanes are free again when those are answered.
  rig.blk->reset();
  rig.place();
  rig.start_modern(1, 128, devices::VirtioPci::kVersion1 | VirtioBlk::kFlush);
  rig.requests = 0;
  for (unsigned i = 0; i < 4; ++i) rig.request(1, 8 + i, {{0x80000 + 512 * i, 512}});
  CHECK(rig.outside.out.size() == 6);  // the one lane that was free
  for (const uint64_t number : {2, 4, 5}) rig.outside.answer(number, true, Bytes(512));
  CHECK(rig.outside.out.size() == 9);
  for (uint64_t number = 6; number <= 9; ++number) rig.outside.answer(number, true);
  rig.settle();
  for (unsigned i = 0; i < 4; ++i) CHECK(rig.status_of(i) == 0);
}
