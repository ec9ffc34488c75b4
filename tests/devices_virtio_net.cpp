// The transport of devices/virtio_pci.h and devices/virt_queue.h, as a network card; and devices/virtio_net.h.
#include <doctest/doctest.h>

#include <random>

#include "devices/virtio_net.h"
#include "tests/virtio_rig.h"

using namespace understudy;
using Frame = std::vector<uint8_t>;

namespace {

constexpr devices::MacAddress kMac{0x52, 0x54, 0, 0x12, 0x34, 0x56};
constexpr uint64_t kAll = devices::VirtioPci::kVersion1 | devices::VirtioNet::kMac | devices::VirtioNet::kStatus;
constexpr unsigned kRx = 0, kTx = 1;

struct Rig : tests::VirtioRig {
  devices::VirtioNet nic{pci, kDevfn, clock, events, dma, world, kMac};
  std::vector<Frame> sent;
  Rig() {
    world.connect(world.channel("net0"), [this](std::span<const uint8_t> f) { sent.emplace_back(f.begin(), f.end()); });
    nic.reset();
    place();
  }
  void receive(const Frame& frame) { world.deliver({world.channel("net0"), frame}); }
  bool irq() { return nic.intx_asserted(); }
  void put(uint64_t at, const Frame& bytes) {
    std::copy(bytes.begin(), bytes.end(), dma.ram.begin() + static_cast<std::ptrdiff_t>(at));
  }
  Frame get(uint64_t at, size_t size) {
    return {dma.ram.begin() + static_cast<std::ptrdiff_t>(at),
            dma.ram.begin() + static_cast<std::ptrdiff_t>(at + size)};
  }
  // Header at 80000h, frame at 81000h.
  uint16_t transmit(const Frame& frame, uint32_t header = 12) {
    put(0x81000, frame);
    const uint16_t head = add(kTx, {{0x80000, header}, {0x81000, static_cast<uint32_t>(frame.size())}});
    kick(kTx);
    return head;
  }
};

Frame frame_of(size_t size, uint8_t seed = 1) {
  Frame frame(size);
  for (size_t i = 0; i < size; ++i) frame[i] = static_cast<uint8_t>(seed + i * 11);
  return frame;
}

}  // namespace

TEST_CASE("virtio: identity on PCI, both BARs and the capabilities that lead to the structures") {
  Rig rig;
  CHECK(rig.config_read(Rig::kDevfn, 0, 4) == 0x10001af4);
  CHECK(rig.config_read(Rig::kDevfn, 8, 4) == 0x02000000);
  CHECK(rig.config_read(Rig::kDevfn, 0x2c, 4) == 0x00011af4);
  CHECK((rig.config_read(Rig::kDevfn, 6, 2) & 0x10) == 0x10);
  std::map<unsigned, std::pair<uint32_t, uint32_t>> found;
  unsigned at = rig.config_read(Rig::kDevfn, 0x34, 1), steps = 0;
  for (; at != 0 && steps < 10; ++steps) {
    CHECK(rig.config_read(Rig::kDevfn, at, 1) == 0x09);
    const unsigned type = rig.config_read(Rig::kDevfn, at + 3, 1);
    if (type != 5) CHECK(rig.config_read(Rig::kDevfn, at + 4, 1) == 4);
    found[type] = {rig.config_read(Rig::kDevfn, at + 8, 4), rig.config_read(Rig::kDevfn, at + 12, 4)};
    if (type == 2) CHECK(rig.config_read(Rig::kDevfn, at + 16, 4) == 4);
    at = rig.config_read(Rig::kDevfn, at + 1, 1);
  }
  CHECK(steps == 5);
  CHECK(found[1] == std::pair<uint32_t, uint32_t>{0, 56});
  CHECK(found[2] == std::pair<uint32_t, uint32_t>{0x3000, 8});
  CHECK(found[3] == std::pair<uint32_t, uint32_t>{0x1000, 1});
  CHECK(found[4] == std::pair<uint32_t, uint32_t>{0x2000, 8});
}

TEST_CASE("virtio: the PCI_CFG window reaches BAR 4 without mapping it") {
  Rig rig;
  const auto aim = [&rig](unsigned bar, uint32_t offset, uint32_t length) {
    rig.config_write(Rig::kDevfn, 0x88, 1, bar);
    rig.config_write(Rig::kDevfn, 0x8c, 4, offset);
    rig.config_write(Rig::kDevfn, 0x90, 4, length);
  };
  rig.config_write(Rig::kDevfn, 4, 2, 0);
  aim(4, 18, 2);
  CHECK(rig.config_read(Rig::kDevfn, 0x94, 2) == 2);
  aim(4, 20, 1);
  rig.config_write(Rig::kDevfn, 0x94, 1, 3);
  CHECK(rig.config_read(Rig::kDevfn, 0x94, 1) == 3);
  aim(4, 0x2000, 4);
  CHECK(rig.config_read(Rig::kDevfn, 0x94, 4) == 0x12005452);
  // Nonsense reaches nothing.
  for (const auto& [bar, offset, length] : {std::tuple{4u, 0x4000u, 4u},
                                            {4u, 0xfffffffcu, 4u},
                                            {4u, 2u, 4u},
                                            {0u, 20u, 1u},
                                            {4u, 20u, 3u},
                                            {4u, 20u, 0u},
                                            {4u, 0u, 0xffffffffu}}) {
    aim(bar, offset, length);
    rig.config_write(Rig::kDevfn, 0x94, 4, 0);
    CHECK(rig.config_read(Rig::kDevfn, 0x94, 4) == 0);
  }
  rig.place();
  CHECK(rig.status() == 3);
}

TEST_CASE("virtio: features are negotiated; what was not offered, and doing without VERSION_1, is refused") {
  Rig rig;
  rig.set_common(0, 4, 0);
  CHECK(rig.common(4, 4) == (devices::VirtioNet::kMac | devices::VirtioNet::kStatus | devices::VirtioNet::kAnyLayout));
  rig.set_common(0, 4, 1);
  CHECK(rig.common(4, 4) == 1);
  rig.set_common(0, 4, 2);
  CHECK(rig.common(4, 4) == 0);
  for (const uint64_t features :
       std::initializer_list<uint64_t>{kAll | 1, kAll & ~devices::VirtioPci::kVersion1, kAll | 1ull << 63}) {
    rig.start_modern(2, 16, features);
    CHECK((rig.status() & 8) == 0);
    rig.set_common(20, 1, 0);
  }
  rig.start_modern(2, 16, kAll);
  CHECK(rig.status() == 15);
  // Agreed is agreed.
  rig.set_common(8, 4, 0);
  rig.set_common(12, 4, 0);
  CHECK(rig.common(12, 4) == (kAll & 0xffffffff));
  rig.set_common(20, 1, 0);
  CHECK(rig.status() == 0);
  CHECK(rig.common(12, 4) == 0);
}

TEST_CASE("virtio: the common structure, field by field") {
  Rig rig;
  CHECK(rig.common(16, 2) == 0xffff);
  rig.set_common(16, 2, 0);
  CHECK(rig.common(16, 2) == 0xffff);
  CHECK(rig.common(18, 2) == 2);
  CHECK(rig.common(21, 1) == 0);
  rig.set_common(22, 2, 1);
  CHECK(rig.common(22, 2) == 1);
  CHECK(rig.common(24, 2) == 256);
  CHECK(rig.common(26, 2) == 0xffff);
  CHECK(rig.common(30, 2) == 1);
  for (const unsigned bad : {0u, 3u, 100u, 512u, 65535u}) {
    rig.set_common(24, 2, bad);
    CHECK(rig.common(24, 2) == 256);
  }
  rig.set_common(24, 2, 64);
  CHECK(rig.common(24, 2) == 64);
  rig.set_common(32, 4, 0x11111111);
  rig.set_common(36, 4, 0x22222222);
  CHECK(rig.common(32, 8) == 0x2222222211111111);
  rig.set_common(28, 2, 1);
  CHECK(rig.common(28, 2) == 1);
  rig.set_common(24, 2, 32);
  rig.set_common(32, 4, 0);
  rig.set_common(28, 2, 0);
  CHECK(rig.common(24, 2) == 64);
  CHECK(rig.common(32, 8) == 0x2222222211111111);
  CHECK(rig.common(28, 2) == 1);
  rig.set_common(22, 2, 2);  // no such queue
  CHECK(rig.common(24, 2) == 0);
  CHECK(rig.common(56, 4) == 0);
  for (unsigned i = 0; i < 6; ++i) CHECK(rig.mmio.read(Rig::kDevice + i, 1) == kMac[i]);
  CHECK(rig.mmio.read(Rig::kDevice + 6, 2) == 1);
  rig.mmio.write(Rig::kDevice, 1, 0);
  CHECK(rig.mmio.read(Rig::kDevice, 1) == 0x52);
}

TEST_CASE("virtio-net: a frame is sent when the wire is free, and its buffers come back with an interrupt") {
  Rig rig;
  rig.start_modern(2, 16, kAll);
  const Frame frame = frame_of(1000);
  const uint16_t head = rig.transmit(frame);
  CHECK(rig.sent.empty());  // not within the store
  rig.advance(0);
  REQUIRE(rig.sent.size() == 1);
  CHECK(rig.sent[0] == frame);
  CHECK(rig.used_index(kTx) == 1);
  CHECK(rig.used(kTx) == std::pair<uint32_t, uint32_t>{head, 0});
  CHECK(rig.irq());
  CHECK(rig.isr() == 1);
  CHECK(rig.isr() == 0);
  CHECK_FALSE(rig.irq());
  // A thousand bytes and what is around them take the wire some time; the last one is nobody's business.
  const uint64_t busy = (1000 + 24) * 8 / 10;
  rig.advance(100);
  rig.transmit(frame_of(60));
  rig.transmit(frame_of(61));
  rig.advance(busy - 100 - 1);
  CHECK(rig.sent.size() == 1);
  rig.advance(1);
  CHECK(rig.sent.size() == 2);
  rig.advance((60 + 24) * 8 / 10 - 1);
  CHECK(rig.sent.size() == 2);
  CHECK(rig.used_index(kTx) == 2);
  rig.advance(1);
  CHECK(rig.sent.size() == 3);
  CHECK(rig.events.next_due() == emu::EventQueue::kNever);
  rig.isr();
  // Without interrupts when the driver does not want them; one after the other; header and data in one piece or many.
  rig.set_memory(rig.queues[kTx].available, 1, 2);
  rig.put(0x90000, frame_of(12 + 60, 9));
  rig.add(kTx, {{0x90000, 72}});
  rig.add(kTx, {{0x90000, 5}, {0x90005, 7}, {0x9000c, 1}, {0x9000d, 0}, {0x9000d, 59}});
  rig.kick(kTx);
  rig.settle();
  REQUIRE(rig.sent.size() == 5);
  const Frame whole = frame_of(72, 9);
  CHECK(rig.sent[3] == Frame(whole.begin() + 12, whole.end()));
  CHECK(rig.sent[4] == rig.sent[3]);
  CHECK(rig.used_index(kTx) == 5);
  CHECK_FALSE(rig.irq());
  // What is no frame takes its turn and goes nowhere.
  for (const uint32_t size : {0u, 12u, 25u, 12u + 1515u, 0xffffffffu}) {
    rig.add(kTx, {{0x90000, size}});
    rig.kick(kTx);
    rig.settle();
  }
  CHECK(rig.used_index(kTx) == 10);
  CHECK(rig.sent.size() == 5);
}

TEST_CASE("virtio-net: a frame is received behind its header; without a buffer it waits; the wait is bounded") {
  Rig rig;
  rig.receive(frame_of(60));  // before there is a driver: nobody's
  rig.start_modern(2, 256, kAll);
  rig.add(kRx, {{0x90000, 12, true}, {0x91000, 1514, true}});
  rig.kick(kRx);
  rig.settle();
  CHECK(rig.used_index(kRx) == 0);
  const Frame frame = frame_of(700);
  rig.receive(frame);
  CHECK(rig.irq());
  CHECK(rig.used(kRx) == std::pair<uint32_t, uint32_t>{0, 712});
  CHECK(rig.get(0x90000, 12) == Frame{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0});
  CHECK(rig.get(0x91000, 700) == frame);
  rig.isr();
  for (unsigned i = 0; i < devices::VirtioNet::kMaxWaiting + 5; ++i)
    rig.receive(frame_of(60 + i, static_cast<uint8_t>(i)));
  CHECK_FALSE(rig.irq());
  tests::StateDump dump;
  rig.nic.visit_state(dump);
  CHECK(dump.fields.at("dropped")[0] == 5);
  for (unsigned i = 0; i < devices::VirtioNet::kMaxWaiting + 2; ++i)
    rig.add(kRx, {{0xa0000 + (i % 4) * 0x1000, 1526, true}});
  rig.kick(kRx);
  CHECK(rig.used_index(kRx) == 1);  // not within the store
  rig.settle();
  CHECK(rig.used_index(kRx) == 1 + devices::VirtioNet::kMaxWaiting);
  for (unsigned i = 0; i < devices::VirtioNet::kMaxWaiting; ++i) CHECK(rig.used(kRx).second == 72 + i);
  // A buffer too small comes back empty.
  rig.add(kRx, {{0xa0000, 100, true}});
  rig.receive(frame_of(60));
  rig.receive(frame_of(60));
  rig.receive(frame_of(200));
  CHECK(rig.used(kRx).second == 72);
  CHECK(rig.used(kRx).second == 72);
  CHECK(rig.used(kRx).second == 0);
  CHECK(rig.status() == 15);
  for (const size_t size : {size_t{0}, size_t{13}, size_t{1515}}) rig.receive(frame_of(size));
  CHECK(rig.used_index(kRx) == 4 + devices::VirtioNet::kMaxWaiting);
}

TEST_CASE("virtio-net: the legacy interface: its registers, its layout, its shorter header, its address") {
  Rig rig;
  CHECK(rig.legacy(0, 4) == (devices::VirtioNet::kMac | devices::VirtioNet::kStatus | devices::VirtioNet::kAnyLayout));
  rig.start_legacy(2, 0xffffffff);
  CHECK(rig.legacy(4, 4) == rig.legacy(0, 4));
  CHECK(rig.legacy(18, 1) == 7);
  CHECK(rig.legacy(8, 4) == 0x20);
  CHECK(rig.legacy(12, 2) == 256);
  CHECK(rig.legacy(20, 4) == 0x12005452);
  CHECK(rig.legacy(26, 2) == 1);
  CHECK(rig.legacy(28, 4) == 0);
  rig.set_legacy(25, 1, 0x57);
  CHECK(rig.legacy(24, 2) == 0x5734);
  rig.put(0x81000, frame_of(60));
  rig.add(kTx, {{0x80000, 10}, {0x81000, 60}});
  rig.set_legacy(16, 2, kTx);
  rig.settle();
  REQUIRE(rig.sent.size() == 1);
  CHECK(rig.sent[0] == frame_of(60));
  CHECK(rig.irq());
  CHECK(rig.legacy(18, 2) == 0x0107);  // reading ISR with its neighbour clears it too
  CHECK_FALSE(rig.irq());
  rig.add(kRx, {{0x90000, 10, true}, {0x91000, 1514, true}});
  rig.receive(frame_of(99));
  CHECK(rig.used(kRx).second == 109);
  CHECK(rig.get(0x91000, 99) == frame_of(99));
  rig.set_legacy(14, 2, 7);
  CHECK(rig.legacy(12, 2) == 0);
  rig.set_legacy(18, 1, 0);
  CHECK(rig.legacy(18, 1) == 0);
}

TEST_CASE("virtio: buffers made available before DRIVER_OK are found by it") {
  Rig rig;
  rig.start_legacy(2, 0);
  rig.set_legacy(18, 1, 3);
  rig.put(0x81000, frame_of(60));
  rig.add(kTx, {{0x80000, 10}, {0x81000, 60}});
  rig.set_legacy(16, 2, kTx);
  rig.settle();
  CHECK(rig.sent.empty());
  rig.set_legacy(18, 1, 7);
  rig.settle();
  CHECK(rig.sent.size() == 1);
}

TEST_CASE("virtio: a broken ring asks for a reset, touches nothing more, and a reset repairs it") {
  Rig rig;
  rig.start_modern(2, 16, kAll);
  auto& queue = rig.queues[kTx];
  SUBCASE("a loop") {
    rig.descriptor(kTx, 0, {0x80000, 10}, 1);
    rig.descriptor(kTx, 1, {0x80000, 10}, 0);
    rig.make_available(kTx, 0);
  }
  SUBCASE("a head outside the table") { rig.make_available(kTx, 16); }
  SUBCASE("a next outside the table") {
    rig.descriptor(kTx, 0, {0x80000, 10}, 16);
    rig.make_available(kTx, 0);
  }
  SUBCASE("an indirect descriptor, which was not offered") {
    rig.descriptor(kTx, 0, {0x80000, 16}, -1, 4);
    rig.make_available(kTx, 0);
  }
  SUBCASE("readable behind writable") {
    rig.descriptor(kTx, 0, {0x80000, 16, true}, 1);
    rig.descriptor(kTx, 1, {0x80000, 16}, -1);
    rig.make_available(kTx, 0);
  }
  SUBCASE("more available than there is room for") { rig.set_memory(queue.available + 2, 17, 2); }
  rig.kick(kTx);
  rig.settle();
  CHECK(rig.status() == (15 | 0x40));
  CHECK(rig.irq());
  CHECK(rig.isr() == 2);
  const auto before = rig.dma.ram;
  rig.receive(frame_of(60));
  rig.kick(kTx);
  rig.settle();
  CHECK(rig.dma.ram == before);
  rig.set_common(20, 1, 15);
  CHECK(rig.status() == (15 | 0x40));
  std::fill(rig.dma.ram.begin(), rig.dma.ram.end(), uint8_t{0});
  rig.start_modern(2, 16, kAll);
  CHECK(rig.status() == 15);
  rig.transmit(frame_of(60));
  rig.settle();
  CHECK(rig.sent.size() == 1);
}

TEST_CASE("virtio: rings outside of memory are broken rings, buffers outside of it are ones and nowhere") {
  Rig rig;
  rig.start_modern(2, 16, kAll);
  rig.add(kRx, {{0xfffffffffffffff0, 4096, true}});
  rig.receive(frame_of(1000));
  CHECK(rig.used(kRx).second == 1012);
  rig.add(kTx, {{0xfffffffffffffff0, 12 + 60}});
  rig.kick(kTx);
  rig.settle();
  CHECK(rig.status() == 15);
  CHECK(rig.sent.size() == 1);
  rig.set_common(20, 1, 0);
  rig.start_modern(2, 16, kAll);
  rig.set_common(20, 1, 0);
  rig.set_common(8, 4, 1);
  rig.set_common(12, 4, 1);
  rig.set_common(20, 1, 11);
  rig.set_common(22, 2, kTx);
  for (const unsigned field : {32u, 40u, 48u}) rig.set_common(field, 8, 0xffffffffffffff00);
  rig.set_common(28, 2, 1);
  rig.set_common(20, 1, 15);
  rig.settle();
  CHECK(rig.status() == (15 | 0x40));
}

TEST_CASE("virtio-net: state survives a restore with a frame on the wire and frames waiting") {
  Rig rig;
  rig.start_modern(2, 16, kAll);
  rig.transmit(frame_of(1000));
  rig.transmit(frame_of(1000));
  rig.receive(frame_of(100, 3));
  rig.receive(frame_of(200, 4));
  rig.advance(100);
  CHECK(rig.sent.size() == 1);
  tests::StateDump nic, events;
  rig.nic.visit_state(nic);
  rig.events.visit_state(events);
  Rig other;
  other.clock.now = rig.clock.now;
  other.dma.ram = rig.dma.ram;
  other.queues = rig.queues;
  tests::StateLoad load(nic.fields), load_events(events.fields);
  other.nic.visit_state(load);
  other.nic.state_loaded();
  other.events.visit_state(load_events);
  for (Rig* r : {&rig, &other}) {
    r->add(kRx, {{0x90000, 1526, true}});
    r->add(kRx, {{0x91000, 1526, true}});
    r->kick(kRx);
    r->settle();
    CHECK(r->sent.size() == (r == &rig ? 2 : 1));
    CHECK(r->used(kRx).second == 112);
    CHECK(r->used(kRx).second == 212);
    CHECK(r->irq());
  }
  tests::StateDump a, b;
  rig.nic.visit_state(a);
  other.nic.visit_state(b);
  CHECK(a.fields == b.fields);
  CHECK(rig.dma.ram == other.dma.ram);
}

TEST_CASE("virtio-net: hostile drivers never harm the machine, and two machines agree on every byte") {
  const auto run = [](unsigned seed) {
    Rig rig;
    std::mt19937 random(seed);
    uint64_t digest = 0;
    const auto note = [&digest](uint64_t value) { digest = digest * 31 + value; };
    unsigned broken = 0;
    rig.start_modern(2, 16, kAll);
    for (int i = 0; i < 30000; ++i) {
      const auto value = static_cast<uint32_t>(random());
      const unsigned size = 1u << (random() % 4);
      switch (random() % 16) {
        case 0:  // any register, any value
          rig.mmio.write(Rig::kModern + random() % 0x4000, size, value);
          break;
        case 1:
          rig.set_legacy(random() % 64, size > 4 ? 4 : size, value);
          break;
        case 2:
          note(rig.mmio.read(Rig::kModern + random() % 0x4000, size));
          note(rig.legacy(random() % 64, size > 4 ? 4 : size));
          break;
        case 3:
          rig.config_write(Rig::kDevfn, 0x40 + random() % 0x60, size > 4 ? 4 : size, value % 64);
          break;
        case 4:  // start afresh
          if ((rig.status() & 0x40) != 0) ++broken;
          if (value % 2 == 0)
            rig.start_modern(2, static_cast<uint16_t>(1u << (value >> 8 & 7)), kAll);
          else if (value % 8 == 1)
            rig.start_legacy(2, value);
          break;
        case 5:  // scribble over the tables
          for (unsigned n = value % 8; n > 0; --n)
            rig.dma.ram[0x10000 + random() % 0x18000] = static_cast<uint8_t>(random());
          break;
        case 6:  // tables wherever
          if (value % 8 == 0) {
            rig.set_common(22, 2, random() % 3);
            rig.set_common(32 + 8 * (random() % 3), 8, random() % 0x110000);
            rig.set_common(28, 2, 1);
          }
          break;
        case 7:
        case 8:
        case 9: {
          std::vector<Rig::Piece> pieces;
          for (unsigned n = 1 + value % 3; n > 0; --n)
            pieces.push_back({random() % 0x110000,
                              static_cast<uint32_t>(random() % (random() % 8 == 0 ? 0xffffffff : 1600)),
                              random() % 16 == 0});
          if (rig.queues[kTx].size != 0) rig.add(kTx, pieces);
          rig.kick(kTx);
          break;
        }
        case 10:
        case 11:
          if (rig.queues[kRx].size != 0) rig.add(kRx, {{0xc0000 + random() % 0x40000, 1526, true}});
          rig.kick(kRx);
          break;
        case 12:
        case 13:
          rig.receive(frame_of(value % 1600, static_cast<uint8_t>(value >> 24)));
          break;
        default:
          rig.advance(value % 40000);
          break;
      }
    }
    CHECK(broken > 10);
    CHECK(rig.sent.size() > 50);
    for (const Frame& frame : rig.sent)
      for (const uint8_t byte : frame) note(byte);
    for (const uint8_t byte : rig.dma.ram) note(byte);
    tests::StateDump dump;
    rig.nic.visit_state(dump);
    for (const auto& [name, bytes] : dump.fields)
      for (const uint8_t byte : bytes) note(byte);
    // Whatever happened, a reset brings the card back.
    std::fill(rig.dma.ram.begin(), rig.dma.ram.end(), uint8_t{0});
    rig.place();
    rig.start_modern(2, 16, kAll);
    rig.sent.clear();
    rig.transmit(frame_of(60));
    rig.settle();
    CHECK(rig.sent.size() == 1);
    return digest;
  };
  CHECK(run(1) == run(1));
  CHECK(run(2) != run(1));
}
