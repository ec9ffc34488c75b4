// Debian's kernel with a network card whose peer is this test: it answers ARP and ping, each answer entering at an
// instruction count that follows from the question's alone. However the run is sliced, the machine must end the same.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tests/built.h"
#include "tools/machine_setup.h"

using namespace understudy;
using Frame = std::vector<uint8_t>;

namespace {

const std::string kImages = built::kImages;
constexpr devices::MacAddress kPeer{0x02, 0, 0, 0, 0, 0x02};

// Answers ARP requests and ICMP echo requests; an empty frame is no answer.
Frame answer(const Frame& question) {
  const unsigned type = question[12] << 8 | question[13];
  Frame reply = question;
  std::copy_n(question.begin() + 6, 6, reply.begin());
  std::copy(kPeer.begin(), kPeer.end(), reply.begin() + 6);
  const auto swap = [&reply](size_t a, size_t b, size_t length) {
    const auto at = [&reply](size_t i) { return reply.begin() + static_cast<std::ptrdiff_t>(i); };
    std::swap_ranges(at(a), at(a + length), at(b));
  };
  if (type == 0x0806 && question.size() >= 42 && question[21] == 1) {
    reply[21] = 2;
    swap(22, 32, 10);
    std::copy(kPeer.begin(), kPeer.end(), reply.begin() + 22);
    return reply;
  }
  if (type == 0x0800 && question.size() >= 42 && question[23] == 1 && question[34] == 8) {
    reply[34] = 0;
    swap(26, 30, 4);
    // The checksum of ones' complements goes up by what the type went down.
    const unsigned sum = (question[36] << 8 | question[37]) + 0x800u;
    const unsigned folded = (sum & 0xffff) + (sum >> 16);
    reply[36] = static_cast<uint8_t>(folded >> 8);
    reply[37] = static_cast<uint8_t>(folded);
    return reply;
  }
  return {};
}

struct End {
  uint64_t icount = 0;
  emu::Digest digest;
  std::string console;
  unsigned frames_in = 0;
};

End ping(const std::string& nic, uint64_t slice, unsigned seed) {
  tools::RunOptions options;
  options.kernel = kImages + "/vmlinuz-amd64";
  options.initrd = kImages + "/initramfs-amd64.img";
  options.append =
      "console=ttyS0 quiet understudy.nodisk understudy.run=\"ip link set eth0 up; "
      "ip address add 10.0.2.15/24 dev eth0; ping -c 3 -s 1000 10.0.2.2\"";
  options.nic = nic;
  tools::MachineSetup setup = tools::set_up_machine(options, 1767225600);
  emu::Machine& machine = setup.pc->machine();
  emu::World& world = machine.world();
  const emu::ChannelId net = world.channel("net0");

  End end;
  // Answers by the count at which they enter.
  std::multimap<uint64_t, Frame> coming;
  world.connect(net, [&](std::span<const uint8_t> bytes) {
    const Frame reply = answer({bytes.begin(), bytes.end()});
    if (reply.empty()) return;
    coming.emplace(machine.icount() + 50'000, reply);
    machine.stop_with(emu::MachineStop::asked);  // the present slice may be longer than that
  });
  world.connect(world.channel("serial0"),
                [&](std::span<const uint8_t> bytes) { end.console.append(bytes.begin(), bytes.end()); });
  std::mt19937 random(seed);
  constexpr uint64_t kLimit = 20'000'000'000;
  while (machine.icount() < kLimit) {
    uint64_t stop = machine.icount() + 1 + (slice != 0 ? random() % slice : 1'000'000'000);
    if (!coming.empty()) stop = std::min(stop, coming.begin()->first);
    const emu::MachineStop why = machine.run(stop);
    if (why == emu::MachineStop::shutdown) break;
    REQUIRE((why == emu::MachineStop::limit || why == emu::MachineStop::asked));
    while (!coming.empty() && coming.begin()->first <= machine.icount()) {
      world.post(net, coming.begin()->second);
      coming.erase(coming.begin());
      ++end.frames_in;
    }
  }
  end.icount = machine.icount();
  end.digest = machine.digest();
  return end;
}

}  // namespace

TEST_CASE("network: SeaBIOS runs each card's boot ROM, and iPXE asks for an address through the card") {
  for (const std::string nic : {"ne2k", "virtio"}) {
    CAPTURE(nic);
    tools::RunOptions options;
    options.nic = nic;
    options.mac = "52:54:00:ab:cd:ef";
    tools::MachineSetup setup = tools::set_up_machine(options, 1767225600);
    emu::Machine& machine = setup.pc->machine();
    Frame first;
    machine.world().connect(machine.world().channel("net0"), [&](std::span<const uint8_t> frame) {
      if (first.empty()) first.assign(frame.begin(), frame.end());
      machine.stop_with(emu::MachineStop::asked);
    });
    CHECK(machine.run(20'000'000'000) == emu::MachineStop::asked);
    REQUIRE(first.size() > 282);
    CHECK(std::all_of(first.begin(), first.begin() + 6, [](uint8_t byte) { return byte == 0xff; }));
    CHECK(Frame(first.begin() + 6, first.begin() + 12) == Frame{0x52, 0x54, 0, 0xab, 0xcd, 0xef});
    // UDP from port 68 to port 67, with BOOTP's cookie.
    CHECK(Frame(first.begin() + 34, first.begin() + 38) == Frame{0, 68, 0, 67});
    CHECK(Frame(first.begin() + 278, first.begin() + 282) == Frame{0x63, 0x82, 0x53, 0x63});
  }
}

TEST_SUITE("long") {
  TEST_CASE("network: Debian pings through each card, and slices change nothing") {
    for (const std::string nic : {"ne2k", "virtio"}) {
      CAPTURE(nic);
      const End whole = ping(nic, 0, 0);
      CAPTURE(whole.console);
      CHECK(whole.console.find("3 packets transmitted, 3 packets received, 0% packet loss") != std::string::npos);
      CHECK(whole.frames_in >= 4);
      const End sliced = ping(nic, 300'000, 7);
      CHECK(sliced.icount == whole.icount);
      CHECK(sliced.console == whole.console);
      CHECK(sliced.digest == whole.digest);
    }
  }
}
