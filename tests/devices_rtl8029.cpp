// The NE2000-compatible card of devices/rtl8029.h and its core, devices/dp8390.h.
#include <doctest/doctest.h>

#include <random>

#include "devices/rtl8029.h"
#include "tests/pci_rig.h"

using namespace understudy;
using Frame = std::vector<uint8_t>;

namespace {

constexpr unsigned kDevfn = 3 << 3;
constexpr uint16_t kBase = 0xc100;
constexpr devices::MacAddress kMac{0x52, 0x54, 0, 0x12, 0x34, 0x56};
constexpr uint64_t kFrameNs60 = (60 + 24) * 800;

Frame frame_to(std::initializer_list<uint8_t> destination, size_t size, uint8_t seed = 1) {
  Frame frame(size);
  for (size_t i = 0; i < size; ++i) frame[i] = static_cast<uint8_t>(seed + i * 7);
  std::copy_n(destination.begin(), std::min(size, destination.size()), frame.begin());
  return frame;
}
Frame frame_to_us(size_t size, uint8_t seed = 1) { return frame_to({0x52, 0x54, 0, 0x12, 0x34, 0x56}, size, seed); }

struct Rig : tests::PciRig {
  devices::Rtl8029 nic{pci, kDevfn, clock, events, world, kMac};
  std::vector<Frame> sent;

  Rig() {
    world.connect(world.channel("net0"), [this](std::span<const uint8_t> f) { sent.emplace_back(f.begin(), f.end()); });
    nic.reset();
    config_write(kDevfn, 0x10, 4, kBase);
    config_write(kDevfn, 0x04, 2, 1);
  }
  uint32_t in(unsigned reg, unsigned size = 1) { return ports.read(static_cast<uint16_t>(kBase + reg), size); }
  void out(unsigned reg, uint32_t value, unsigned size = 1) {
    ports.write(static_cast<uint16_t>(kBase + reg), size, value);
  }
  // The frame is on the wire for 800 ns a byte.
  void send_to_us(const Frame& frame) { world.deliver({world.channel("net0"), frame}); }
  void receive(const Frame& frame) {
    send_to_us(frame);
    advance((std::max(frame.size(), size_t{60}) + 24) * 800);
  }
  bool irq() { return nic.intx_asserted(); }

  // As drivers do it: ring from 46h to 80h, transmit buffer at 40h, word transfers.
  void initialise(uint8_t rcr = 0x04, uint8_t dcr = 0x49) {
    out(0, 0x21);
    out(14, dcr);
    out(10, 0);
    out(11, 0);
    out(12, rcr);
    out(13, 0x02);
    out(1, 0x46);
    out(3, 0x46);
    out(2, 0x80);
    out(7, 0xff);
    out(15, 0x7f);
    out(0, 0x61);
    for (unsigned i = 0; i < 6; ++i) out(1 + i, kMac[i]);
    for (unsigned i = 0; i < 8; ++i) out(8 + i, 0);
    out(7, 0x47);
    out(0, 0x22);
    out(13, 0);
  }
  void remote(uint16_t address, uint16_t count, uint8_t command) {
    out(8, address & 0xff);
    out(9, address >> 8);
    out(10, count & 0xff);
    out(11, count >> 8);
    out(0, command);
  }
  Frame read_memory(uint16_t address, uint16_t count) {
    remote(address, count, 0x0a);
    Frame bytes;
    while (bytes.size() < count) {
      const uint32_t word = in(0x10, 2);
      bytes.push_back(static_cast<uint8_t>(word));
      bytes.push_back(static_cast<uint8_t>(word >> 8));
    }
    return bytes;
  }
  void write_memory(uint16_t address, Frame bytes) {
    if (bytes.size() % 2 != 0) bytes.push_back(0);
    remote(address, static_cast<uint16_t>(bytes.size()), 0x12);
    for (size_t i = 0; i < bytes.size(); i += 2) out(0x10, bytes[i] | bytes[i + 1] << 8, 2);
  }
  void transmit(const Frame& frame) {
    write_memory(0x4000, frame);
    out(4, 0x40);
    out(5, frame.size() & 0xff);
    out(6, static_cast<uint32_t>(frame.size() >> 8));
    out(0, 0x26);
  }
  uint8_t current() {
    out(0, 0x62);
    const auto value = static_cast<uint8_t>(in(7));
    out(0, 0x22);
    return value;
  }
};

}  // namespace

TEST_CASE("ne2k: identity on PCI, and ports only where the BAR says") {
  Rig rig;
  CHECK(rig.config_read(kDevfn, 0, 4) == 0x802910ec);
  CHECK(rig.config_read(kDevfn, 8, 4) == 0x02000000);
  CHECK(rig.config_read(kDevfn, 0x3d, 1) == 1);
  rig.config_write(kDevfn, 0x10, 4, 0xffffffff);
  CHECK(rig.config_read(kDevfn, 0x10, 4) == 0xffffffe1);
  rig.config_write(kDevfn, 0x10, 4, 0xd000);
  CHECK(rig.ports.read(0xd000, 1) == 0x21);
  CHECK(rig.in(0) == 0xff);
}

TEST_CASE("ne2k: reset leaves the controller stopped, and reading the reset port resets it") {
  Rig rig;
  CHECK(rig.in(0) == 0x21);
  CHECK(rig.in(7) == 0x80);
  CHECK(rig.in(10) == 0x50);
  CHECK(rig.in(11) == 0x43);
  rig.initialise();
  CHECK(rig.in(0) == 0x22);
  CHECK((rig.in(7) & 0x80) == 0);
  rig.receive(frame_to_us(60));
  CHECK(rig.irq());
  rig.in(0x1f);
  CHECK(rig.in(0) == 0x21);
  CHECK(rig.in(7) == 0x80);
  CHECK_FALSE(rig.irq());
  // The reset status is not written away; a start command clears it.
  rig.out(7, 0xff);
  CHECK(rig.in(7) == 0x80);
  rig.out(0, 0x22);
  CHECK(rig.in(7) == 0);
}

TEST_CASE("ne2k: a command with neither start nor stop leaves the controller running, or not") {
  Rig rig;
  rig.initialise();
  rig.out(0, 0x60);  // only a page, as iPXE selects one
  rig.receive(frame_to_us(60));
  CHECK(rig.irq());
  CHECK(rig.in(7) == 0x48);
  rig.out(0, 0x20);
  rig.out(7, 0x7f);
  rig.out(0, 0x21);
  rig.out(0, 0x20);
  rig.receive(frame_to_us(60));
  CHECK_FALSE(rig.irq());
  CHECK(rig.in(7) == 0x80);
}

TEST_CASE("ne2k: the counters that drivers probe by: page 1 and page 0 are different registers") {
  Rig rig;
  rig.out(0, 0x61);
  rig.out(13, 0xff);
  CHECK(rig.in(13) == 0xff);
  rig.out(0, 0x21);
  rig.in(13);
  CHECK(rig.in(13) == 0);
}

TEST_CASE("ne2k: page 2 shows what page 0 was told; page 3 is Realtek's") {
  Rig rig;
  rig.initialise(0x1e);
  rig.out(4, 0x44);
  rig.out(0, 0xa2);
  CHECK(rig.in(1) == 0x46);
  CHECK(rig.in(2) == 0x80);
  CHECK(rig.in(4) == 0x44);
  CHECK(rig.in(12) == 0xde);
  CHECK(rig.in(13) == 0xe0);
  CHECK(rig.in(14) == 0xc9);
  CHECK(rig.in(15) == 0xff);
  rig.out(0, 0xe2);
  CHECK(rig.in(0) == 0xe2);
  CHECK(rig.in(14) == 0x29);
  CHECK(rig.in(15) == 0x80);
  rig.out(6, 0x40);
  CHECK(rig.in(6) == 0);
  rig.out(1, 0xc0);
  rig.out(6, 0x40);
  CHECK(rig.in(6) == 0x40);
}

TEST_CASE("ne2k: the PROM through word-wide remote DMA, read by bytes and by words") {
  Rig rig;
  rig.out(14, 0x49);
  rig.out(12, 0x20);
  rig.out(13, 0x02);
  rig.remote(0, 32, 0x0a);
  Frame prom;
  for (unsigned i = 0; i < 16; ++i) prom.push_back(static_cast<uint8_t>(rig.in(0x10)));
  CHECK(prom == Frame{0x52, 0x54, 0, 0x12, 0x34, 0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0x57, 0x57});
  CHECK((rig.in(7) & 0x40) == 0x40);
  CHECK(rig.in(0x10) == 0xff);  // the transfer is over
  rig.remote(0, 4, 0x0a);
  CHECK(rig.in(0x10, 4) == 0x54545252);
  // The PROM cannot be written.
  rig.write_memory(0, {1, 2});
  CHECK(rig.read_memory(0, 2) == Frame{0x52, 0x52});
}

TEST_CASE("ne2k: remote DMA by bytes, words and double words; its end is an interrupt; abort ends it early") {
  Rig rig;
  rig.initialise();
  rig.remote(0x4000, 8, 0x12);
  rig.out(0x10, 0x04030201, 4);
  CHECK(rig.in(8) == 4);
  CHECK(rig.in(9) == 0x40);
  CHECK_FALSE(rig.irq());
  rig.out(0x10, 0x0605, 2);
  rig.out(0x10, 0x07);  // a byte moves a whole word
  CHECK(rig.irq());
  CHECK(rig.in(7) == 0x40);
  rig.out(7, 0x40);
  CHECK_FALSE(rig.irq());
  CHECK(rig.read_memory(0x4000, 8) == Frame{1, 2, 3, 4, 5, 6, 7, 0});
  rig.out(14, 0x48);  // bytes
  rig.remote(0x4001, 4, 0x0a);
  CHECK(rig.in(0x10) == 2);
  CHECK(rig.in(0x10, 2) == 0x0403);
  rig.out(0, 0x22);
  CHECK(rig.in(0x10) == 0xff);
  // Nothing at addresses without memory; the ring's end leads to its start.
  CHECK(rig.read_memory(0x2000, 2) == Frame{0xff, 0xff});
  rig.out(14, 0x49);
  rig.write_memory(0x7ffe, {0xaa, 0xbb, 0xcc, 0xdd});
  CHECK(rig.read_memory(0x4600, 2) == Frame{0xcc, 0xdd});
}

TEST_CASE("ne2k: a frame lands in the ring with its header and check sequence") {
  Rig rig;
  rig.initialise();
  const Frame frame = frame_to_us(100);
  rig.receive(frame);
  CHECK(rig.irq());
  CHECK(rig.in(7) == 0x01);
  CHECK(rig.in(12) == 0x01);
  CHECK(rig.current() == 0x48);
  const Frame header = rig.read_memory(0x4700, 4);
  CHECK(header == Frame{0x01, 0x48, 104, 0});
  CHECK(rig.read_memory(0x4704, 100) == frame);
  const Frame check = rig.read_memory(0x4704 + 100, 4);
  const uint32_t crc = ~devices::ethernet_crc(frame);
  CHECK(check == Frame{static_cast<uint8_t>(crc), static_cast<uint8_t>(crc >> 8), static_cast<uint8_t>(crc >> 16),
                       static_cast<uint8_t>(crc >> 24)});
  // A short one is padded to what a wire carries; a broadcast says so in its status.
  rig.receive(frame_to({255, 255, 255, 255, 255, 255}, 20));
  CHECK(rig.read_memory(0x4800, 4) == Frame{0x21, 0x49, 64, 0});
  CHECK(rig.read_memory(0x4804 + 20, 2) == Frame{0, 0});
}

TEST_CASE("ne2k: the check sequence is Ethernet's") {
  const Frame digits{'1', '2', '3', '4', '5', '6', '7', '8', '9'};
  CHECK(~devices::ethernet_crc(digits) == 0xcbf43926);
}

TEST_CASE("ne2k: what is not for us is filtered: unicast, broadcast, multicast by its hash, promiscuous, monitor") {
  Rig rig;
  rig.initialise(0x00);
  const auto takes = [&rig](const Frame& frame) {
    rig.out(7, 0x7f);
    rig.receive(frame);
    const bool taken = (rig.in(7) & 1) != 0;
    rig.out(3, static_cast<uint32_t>(rig.current() - 1u));
    return taken;
  };
  const Frame other = frame_to({0x52, 0x54, 0, 0x12, 0x34, 0x57}, 60);
  const Frame broadcast = frame_to({255, 255, 255, 255, 255, 255}, 60);
  const Frame multicast = frame_to({0x01, 0x00, 0x5e, 0x00, 0x00, 0x01}, 60);
  CHECK(takes(frame_to_us(60)));
  CHECK_FALSE(takes(other));
  CHECK_FALSE(takes(broadcast));
  rig.out(12, 0x04);
  CHECK(takes(broadcast));
  CHECK_FALSE(takes(multicast));
  rig.out(12, 0x08);
  CHECK_FALSE(takes(multicast));
  // 01:00:5e:00:00:01: its CRC's top six bits, most significant bit first, are 31 (as Linux's ether_crc() >> 26).
  rig.out(0, 0x62);
  rig.out(8 + 31 / 8, 1u << 31 % 8);
  rig.out(0, 0x22);
  CHECK(takes(multicast));
  CHECK_FALSE(takes(frame_to({0x01, 0x00, 0x5e, 0x00, 0x00, 0x02}, 60)));
  rig.out(12, 0x10);
  CHECK(takes(other));
  CHECK_FALSE(takes(multicast));
  rig.out(12, 0x20);
  rig.in(15);
  CHECK_FALSE(takes(frame_to_us(60)));
  CHECK(rig.in(15) == 1);
  CHECK(rig.in(12) == 0x50);
  // Sizes that no Ethernet has never get in; nor does anything while stopped or looping back.
  rig.out(12, 0x00);
  CHECK_FALSE(takes(frame_to_us(13)));
  CHECK_FALSE(takes(frame_to_us(1515)));
  CHECK(takes(frame_to_us(1514)));
  rig.out(13, 0x02);
  CHECK_FALSE(takes(frame_to_us(60)));
  rig.out(13, 0x00);
  rig.out(0, 0x21);
  CHECK_FALSE(takes(frame_to_us(60)));
  rig.out(0, 0x21);
  CHECK(rig.in(15) == 0);
}

TEST_CASE("ne2k: a full ring drops, counts and says so; making room lets frames in again; the ring wraps") {
  Rig rig;
  rig.initialise();
  // 58 pages, of which one stays free before the boundary; each frame takes six.
  unsigned taken = 0;
  for (; taken < 20; ++taken) {
    rig.receive(frame_to_us(1514, static_cast<uint8_t>(taken)));
    if ((rig.in(7) & 0x10) != 0) break;
  }
  CHECK(taken == 9);
  CHECK(rig.in(7) == 0x91);
  CHECK(rig.in(12) == 0x10);
  CHECK(rig.current() == 0x47 + 54);
  rig.receive(frame_to_us(1514));
  CHECK(rig.in(15) == 2);
  CHECK(rig.in(15) == 0);
  rig.receive(frame_to_us(300));  // two pages still fit
  CHECK(rig.current() == 0x47 + 56);
  // The oldest frame is still whole.
  CHECK(rig.read_memory(0x4704 + 6, 100) == [] {
    const Frame f = frame_to_us(1514, 0);
    return Frame(f.begin() + 6, f.begin() + 106);
  }());
  rig.out(7, 0x7f);
  rig.out(3, 0x47 + 11);
  CHECK(rig.in(7) == 0);
  rig.receive(frame_to_us(600, 99));
  CHECK(rig.current() == 0x48);
  CHECK(rig.read_memory(0x7f00, 4) == Frame{0x01, 0x48, 604 & 0xff, 604 >> 8});
  const Frame whole = frame_to_us(600, 99);
  CHECK(rig.read_memory(0x7f04, 600) == whole);  // across the ring's end
}

TEST_CASE("ne2k: a counter stops at 192 and interrupts from 128 on") {
  Rig rig;
  rig.initialise(0x20);
  for (unsigned i = 0; i < 127; ++i) rig.receive(frame_to_us(60));
  CHECK_FALSE(rig.irq());
  rig.receive(frame_to_us(60));
  CHECK(rig.irq());
  CHECK(rig.in(7) == 0x20);
  for (unsigned i = 0; i < 200; ++i) rig.receive(frame_to_us(60));
  CHECK(rig.in(15) == 192);
}

TEST_CASE("ne2k: transmission takes the wire's time") {
  Rig rig;
  rig.initialise();
  const Frame frame = frame_to({0x02, 0, 0, 0, 0, 1}, 60);
  rig.transmit(frame);
  rig.out(7, 0x40);
  CHECK(rig.in(0) == 0x26);
  rig.advance(kFrameNs60 - 1);
  CHECK(rig.sent.empty());
  CHECK_FALSE(rig.irq());
  rig.advance(1);
  REQUIRE(rig.sent.size() == 1);
  CHECK(rig.sent[0] == frame);
  CHECK(rig.irq());
  CHECK(rig.in(7) == 0x02);
  CHECK(rig.in(4) == 0x01);
  CHECK((rig.in(0) & 0x04) == 0);
  // With the check sequence left to the driver, its four bytes stay behind.
  rig.out(13, 0x01);
  rig.transmit(frame_to({0x02, 0, 0, 0, 0, 1}, 64));
  rig.advance(1000000);
  REQUIRE(rig.sent.size() == 2);
  CHECK(rig.sent[1].size() == 60);
  // No wire takes more than a frame; the chip is done all the same.
  rig.out(13, 0x00);
  rig.out(5, 0xff);
  rig.out(6, 0xff);
  rig.out(0, 0x26);
  rig.advance(100000000);
  CHECK(rig.sent.size() == 2);
  CHECK(rig.in(4) == 0x01);
}

TEST_CASE("ne2k: a driver that does not wait for the transmitter loses neither the frame nor its successor") {
  Rig rig;
  rig.initialise();
  const Frame first = frame_to({0x02, 0, 0, 0, 0, 1}, 442), second = frame_to({0x33, 0x33, 0, 0, 0, 2}, 70, 9);
  rig.transmit(first);
  rig.transmit(second);
  rig.transmit(frame_to({0x02, 0, 0, 0, 0, 3}, 80));  // a third does not fit
  rig.advance((442 + 24) * 800);
  REQUIRE(rig.sent.size() == 1);
  CHECK(rig.sent[0] == first);
  CHECK((rig.in(0) & 4) == 4);
  rig.advance((70 + 24) * 800 - 1);
  CHECK(rig.sent.size() == 1);
  rig.advance(1);
  REQUIRE(rig.sent.size() == 2);
  CHECK(rig.sent[1] == second);
  CHECK((rig.in(0) & 4) == 0);
  rig.advance(10'000'000);
  CHECK(rig.sent.size() == 2);
}

TEST_CASE("ne2k: loopback never reaches the wire; status and FIFO as in AN-937") {
  Rig rig;
  rig.initialise(0x04, 0x40);  // byte-wide, loopback selected
  rig.out(12, 0);
  const auto loop = [&rig](const Frame& frame, uint8_t tcr) {
    rig.out(7, 0xff);
    rig.out(13, tcr);
    rig.remote(0x4000, static_cast<uint16_t>(frame.size()), 0x12);
    for (const uint8_t byte : frame) rig.out(0x10, byte);
    rig.out(4, 0x40);
    rig.out(5, frame.size() & 0xff);
    rig.out(6, 0);
    rig.out(0, 0x26);
    rig.advance(1000000);
    rig.out(7, 0x40);
  };
  Frame frame = frame_to_us(61 - 4);  // with its check sequence 8 n + 5 bytes long
  loop(frame, 0x02);
  CHECK(rig.in(4) == 0x51);
  CHECK(rig.in(12) == 0x02);
  CHECK(rig.in(7) == 0x06);
  CHECK(rig.in(14) == 1);
  const uint32_t crc = ~devices::ethernet_crc(frame);
  CHECK(rig.in(6) == frame.back());
  for (unsigned i = 0; i < 4; ++i) CHECK(rig.in(6) == (crc >> (8 * i) & 0xff));
  CHECK(rig.in(6) == 61);
  CHECK(rig.in(6) == 0);
  loop(frame_to({0x52, 0x54, 0, 1, 1, 1}, 57), 0x02);
  CHECK(rig.in(4) == 0x51);
  CHECK(rig.in(12) == 0x01);
  CHECK(rig.in(7) == 0x02);
  // The driver's own check sequence is checked.
  for (unsigned i = 0; i < 4; ++i) frame.push_back(static_cast<uint8_t>(crc >> (8 * i)));
  loop(frame, 0x03);
  CHECK(rig.in(12) == 0x01);
  CHECK(rig.in(7) == 0x02);
  frame[20] ^= 1;
  loop(frame, 0x03);
  CHECK(rig.in(12) == 0x02);
  loop(frame, 0x05);
  CHECK(rig.in(4) == 0x41);
  loop(frame, 0x07);
  CHECK(rig.in(4) == 0x01);
  CHECK(rig.sent.empty());
  CHECK(rig.current() == 0x47);
}

TEST_CASE("ne2k: the send packet command reads what the boundary points to, and moves the boundary") {
  Rig rig;
  rig.initialise();
  rig.out(0, 0x62);
  rig.out(7, 0x46);  // as after an initialisation that keeps boundary and current equal
  rig.out(0, 0x22);
  const Frame frame = frame_to_us(60);
  rig.receive(frame);
  rig.out(7, 0x7f);
  rig.out(0, 0x1a);
  Frame bytes;
  while (bytes.size() < 64) {
    const uint32_t word = rig.in(0x10, 2);
    bytes.push_back(static_cast<uint8_t>(word));
    bytes.push_back(static_cast<uint8_t>(word >> 8));
  }
  CHECK(Frame(bytes.begin() + 4, bytes.end()) == frame);
  CHECK(rig.in(7) == 0x40);
  CHECK(rig.in(3) == 0x47);
}

TEST_CASE("ne2k: state survives a restore in the middle of a transmission and a remote read") {
  Rig rig;
  rig.initialise();
  rig.receive(frame_to_us(200, 5));
  rig.transmit(frame_to({0x02, 0, 0, 0, 0, 1}, 600));
  rig.remote(0x4700, 100, 0x0e);
  rig.in(0x10, 4);
  rig.advance(1000);
  tests::StateDump nic, events;
  rig.nic.visit_state(nic);
  rig.events.visit_state(events);
  Rig other;
  other.clock.now = rig.clock.now;
  tests::StateLoad load(nic.fields), load_events(events.fields);
  other.nic.visit_state(load);
  other.nic.state_loaded();
  other.events.visit_state(load_events);
  for (Rig* r : {&rig, &other}) {
    CHECK(r->in(0x10, 2) == (frame_to_us(200, 5)[0] | frame_to_us(200, 5)[1] << 8));
    CHECK((r->in(0) & 4) == 4);
    r->advance(1000000);
    REQUIRE(r->sent.size() == 1);
    CHECK(r->sent[0] == frame_to({0x02, 0, 0, 0, 0, 1}, 600));
    r->receive(frame_to_us(100));
  }
  tests::StateDump a, b;
  rig.nic.visit_state(a);
  other.nic.visit_state(b);
  CHECK(a.fields == b.fields);
}

TEST_CASE("ne2k: random traffic never harms the machine, and two machines agree on every byte") {
  const auto run = [](unsigned seed) {
    Rig rig;
    std::mt19937 random(seed);
    uint64_t digest = 0;
    const auto note = [&digest](uint64_t value) { digest = digest * 31 + value; };
    for (int i = 0; i < 60000; ++i) {
      const auto value = static_cast<uint32_t>(random());
      const unsigned size = 1u << (random() % 3);
      switch (random() % 8) {
        case 0:
          rig.out(random() % 32, value, size);
          break;
        case 1:
          note(rig.in(random() % 31, size));
          break;
        case 2:
          rig.receive(frame_to_us(value % 1700, static_cast<uint8_t>(value >> 24)));
          break;
        case 3:
          rig.out(0, value & 0x3f);
          break;
        case 4:
          if (value % 64 == 0) rig.initialise(static_cast<uint8_t>(value >> 8), static_cast<uint8_t>(value >> 16));
          break;
        case 5:
          rig.transmit(frame_to({0x02, 0, 0, 0, 0, 1}, value % 600));
          break;
        case 6:
          for (unsigned n = value % 100; n > 0; --n) note(rig.in(0x10, size));
          break;
        default:
          rig.advance(value % 1000000);
          break;
      }
    }
    for (const Frame& frame : rig.sent)
      for (const uint8_t byte : frame) note(byte);
    CHECK(rig.sent.size() > 100);
    tests::StateDump dump;
    rig.nic.visit_state(dump);
    for (const auto& [name, bytes] : dump.fields)
      for (const uint8_t byte : bytes) note(byte);
    rig.in(0x1f);
    rig.advance(1000000000);
    CHECK(rig.in(0) == 0x21);
    return digest;
  };
  CHECK(run(1) == run(1));
  CHECK(run(2) != run(1));
}

TEST_CASE("rtl8029: frames arrive one after the other, at the wire's pace") {
  Rig rig;
  rig.initialise();
  rig.out(15, 0x11);
  for (uint8_t i = 0; i < 30; ++i) rig.send_to_us(frame_to_us(1514, i));
  CHECK_FALSE(rig.irq());
  rig.advance(1538 * 800 - 1);
  CHECK_FALSE(rig.irq());
  rig.advance(1);
  CHECK(rig.irq());
  // The ring holds nine of them: a driver that takes each as it comes loses none.
  uint8_t page = 0x47;
  for (uint8_t i = 0; i < 30; ++i) {
    CHECK((rig.in(7) & 0x11) == 0x01);
    rig.out(7, 0x01);
    const Frame header = rig.read_memory(static_cast<uint16_t>(page << 8), 6);
    CHECK((header[2] | header[3] << 8) == 1518);
    CHECK(rig.read_memory(static_cast<uint16_t>((page << 8) + 10), 2)[0] == static_cast<uint8_t>(i + 6 * 7));
    page = header[1];
    rig.out(3, page == 0x46 ? 0x7f : page - 1u);
    CHECK_FALSE(rig.irq());
    rig.advance(1538 * 800);
  }
  CHECK_FALSE(rig.irq());
}

TEST_CASE("rtl8029: a wire that is too long behind drops frames") {
  Rig rig;
  rig.initialise();
  for (unsigned i = 0; i < devices::Rtl8029::kMaxArriving + 3; ++i) rig.send_to_us(frame_to_us(60));
  tests::StateDump dump;
  rig.nic.visit_state(dump);
  CHECK(dump.fields.at("dropped")[0] == 3);
  rig.nic.reset();
  rig.initialise();
  rig.advance(1'000'000'000);
  CHECK_FALSE(rig.irq());
}
