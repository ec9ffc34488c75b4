#include <doctest/doctest.h>

#include <random>

#include "devices/host_net.h"
#include "devices/host_net_switch.h"
#include "tests/net_frames.h"

using namespace understudy::devices;
using namespace understudy::net_test;

namespace {

Mac station(unsigned n) {
  return {0x02, 0, 0, static_cast<uint8_t>(n >> 16), static_cast<uint8_t>(n >> 8), static_cast<uint8_t>(n)};
}

struct Rig {
  explicit Rig(HostNetSwitch::Limits limits = {}, unsigned count = 4) : net(limits), got(count) {
    for (unsigned i = 0; i < count; ++i) net.attach([this, i](View f) { got[i].emplace_back(f.begin(), f.end()); });
  }
  // Sends, and says which ports the frame came out of.
  std::vector<unsigned> send(unsigned port, const Mac& to, const Mac& from, uint64_t now = 0) {
    for (auto& frames : got) frames.clear();
    const Bytes frame = ethernet(to, from, 0x0800, text("payload"));
    net.receive(port, frame, now);
    std::vector<unsigned> out;
    for (unsigned i = 0; i < got.size(); ++i) {
      if (got[i].empty()) continue;
      CHECK(got[i].size() == 1);
      CHECK(got[i][0] == frame);
      out.push_back(i);
    }
    return out;
  }
  HostNetSwitch net;
  std::vector<std::vector<Bytes>> got;
};
using Ports = std::vector<unsigned>;

}  // namespace

TEST_SUITE("net-switch") {
  TEST_CASE("switch: floods what it does not know, and learns") {
    Rig rig;
    CHECK(rig.send(0, station(2), station(1)) == Ports{1, 2, 3});
    CHECK(rig.send(2, station(1), station(2)) == Ports{0});
    CHECK(rig.send(0, station(2), station(1)) == Ports{2});
    CHECK(rig.send(0, kBroadcast, station(1)) == Ports{1, 2, 3});
    CHECK(rig.send(0, {0x33, 0x33, 0, 0, 0, 1}, station(1)) == Ports{1, 2, 3});
    CHECK(rig.send(0, station(1), station(9)) == Ports{});  // both are at port 0
    const HostNetSwitch::Counts& counts = rig.net.counts();
    CHECK(counts.flooded == 3);
    CHECK(counts.forwarded == 2);
    CHECK(counts.filtered == 1);
    CHECK(rig.net.stations() == 3);
  }

  TEST_CASE("switch: a station that moves is followed") {
    Rig rig;
    rig.send(0, kBroadcast, station(1));
    CHECK(rig.send(3, station(1), station(2)) == Ports{0});
    rig.send(1, kBroadcast, station(1));  // as a backup that takes over
    CHECK(rig.send(3, station(1), station(2)) == Ports{1});
    CHECK(rig.net.counts().moved == 1);
    CHECK(rig.net.stations() == 2);
  }

  TEST_CASE("switch: silent stations are forgotten") {
    HostNetSwitch::Limits limits;
    limits.max_age = 100;
    Rig rig(limits);
    rig.send(0, kBroadcast, station(1), 1000);
    rig.send(1, kBroadcast, station(2), 1050);
    CHECK(rig.send(1, station(1), station(2), 1100) == Ports{0});
    CHECK(rig.send(1, station(1), station(2), 1101) == Ports{0, 2, 3});
    CHECK(rig.net.stations() == 1);
    CHECK(rig.net.find(station(2), 1201) != nullptr);
    CHECK(rig.net.find(station(2), 1202) == nullptr);
    // What speaks stays.
    for (uint64_t now = 2000; now <= 3000; now += 100) rig.send(0, kBroadcast, station(3), now);
    CHECK(rig.send(1, station(3), station(2), 3100) == Ports{0});
  }

  TEST_CASE("switch: what is no frame of a station goes nowhere") {
    Rig rig;
    rig.send(1, kBroadcast, station(2));
    CHECK(rig.send(0, station(2), kBroadcast) == Ports{});
    CHECK(rig.send(0, station(2), {0x01, 0, 0x5e, 0, 0, 1}) == Ports{});
    for (const uint8_t last : {0x00, 0x01, 0x0e, 0x0f})
      CHECK(rig.send(0, {0x01, 0x80, 0xc2, 0, 0, last}, station(1)) == Ports{});
    CHECK(rig.send(0, {0x01, 0x80, 0xc2, 0, 0, 0x10}, station(1)) == Ports{1, 2, 3});
    for (auto& frames : rig.got) frames.clear();
    rig.net.receive(0, Bytes(kMinFrame - 1), 0);
    rig.net.receive(0, Bytes(kMaxFrame + 1), 0);
    rig.net.receive(0, {}, 0);
    rig.net.receive(77, ethernet(station(2), station(1), 0, {}), 0);
    for (const auto& frames : rig.got) CHECK(frames.empty());
    CHECK(rig.net.counts().bad == 2 + 4 + 3);
  }

  TEST_CASE("switch: a port that goes takes its stations along, and its number never comes back") {
    Rig rig;
    rig.send(2, kBroadcast, station(1));
    rig.send(2, kBroadcast, station(2));
    rig.send(1, kBroadcast, station(3));
    rig.net.detach(2);
    rig.net.detach(2);
    CHECK(rig.net.ports() == 3);
    CHECK(rig.net.stations() == 1);
    CHECK(rig.send(0, station(1), station(4)) == Ports{1, 3});
    CHECK(rig.send(2, kBroadcast, station(5)) == Ports{});
    CHECK(rig.net.attach([](View) {}) == 4);
  }

  TEST_CASE("switch: outputs may detach ports, their own too") {
    HostNetSwitch net;
    std::vector<HostNetSwitch::Port> heard;
    std::array<HostNetSwitch::Port, 4> port{};
    for (unsigned i = 0; i < 4; ++i)
      port[i] = net.attach([&, i](View) {
        heard.push_back(i);
        if (i == 1) {
          net.detach(port[1]);
          net.detach(port[2]);
        }
      });
    net.receive(port[0], ethernet(kBroadcast, station(1), 0, {}), 0);
    CHECK(heard == std::vector<HostNetSwitch::Port>{1, 3});
    CHECK(net.ports() == 2);
    heard.clear();
    const HostNetSwitch::Port last = net.attach([&](View) {
      heard.push_back(99);
      net.detach(4);
    });
    REQUIRE(last == 4);
    net.receive(last, ethernet(kBroadcast, station(2), 0, {}), 0);
    heard.clear();
    net.receive(port[0], ethernet(station(2), station(1), 0, {}), 0);
    CHECK(heard == std::vector<HostNetSwitch::Port>{99});
    CHECK(net.ports() == 2);
  }

  TEST_CASE("switch: a port that invents stations pushes out its own only") {
    HostNetSwitch::Limits limits;
    limits.stations = 30;
    limits.stations_per_port = 10;
    Rig rig(limits);
    rig.send(1, kBroadcast, station(1));
    for (unsigned i = 0; i < 1000; ++i) rig.send(0, kBroadcast, station(1000 + i));
    CHECK(rig.net.stations() == 11);
    CHECK(rig.net.counts().evicted == 990);
    CHECK(rig.send(2, station(1), station(2)) == Ports{1});
    CHECK(rig.send(2, station(1999), station(2)) == Ports{0});
    CHECK(rig.send(2, station(1989), station(2)) == Ports{0, 1, 3});
  }

  TEST_CASE("switch: a full table forgets who was silent longest") {
    HostNetSwitch::Limits limits;
    limits.stations = 3;
    limits.stations_per_port = 3;
    Rig rig(limits);
    rig.send(0, kBroadcast, station(1));
    rig.send(1, kBroadcast, station(2));
    rig.send(2, kBroadcast, station(3));
    rig.send(0, kBroadcast, station(1));
    rig.send(3, kBroadcast, station(4));
    CHECK(rig.net.stations() == 3);
    CHECK(rig.net.find(station(2), 0) == nullptr);
    CHECK(rig.net.find(station(1), 0) != nullptr);
    CHECK(rig.net.find(station(4), 0) != nullptr);
  }

  TEST_CASE("switch: against a model, over random traffic") {
    HostNetSwitch::Limits limits;
    limits.max_age = 50;
    constexpr unsigned kPorts = 5, kStations = 12;
    Rig rig(limits, kPorts);
    struct Heard {
      unsigned port = 0;
      uint64_t at = 0;
      bool ever = false;
    };
    std::array<Heard, kStations> model{};
    std::minstd_rand random(11);
    uint64_t now = 0;
    for (int i = 0; i < 5000; ++i) {
      now += random() % 8;
      const unsigned port = random() % kPorts, from = random() % kStations, to = random() % (kStations + 1);
      model[from] = {port, now, true};
      Ports expected;
      const bool known = to < kStations && model[to].ever && now - model[to].at <= limits.max_age;
      for (unsigned p = 0; p < kPorts; ++p)
        if (p != port && (!known || model[to].port == p)) expected.push_back(p);
      REQUIRE(rig.send(port, to == kStations ? kBroadcast : station(to), station(from), now) == expected);
    }
  }
}
