#include <doctest/doctest.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <random>

#include "devices/host_net_user.h"
#include "tests/fake_guest.h"
#include "tests/host_sockets.h"

using namespace understudy::devices;
using namespace understudy::net_test;

namespace {

constexpr uint32_t kGuest = ip4(10, 0, 2, 15), kHost = ip4(10, 0, 2, 2);

struct Rig {
  explicit Rig(const UserNetOptions& options = {}) : net(options, inbox.receiver()), guest(net, inbox) {}
  Inbox inbox;
  HostNetUser net;
  FakeGuest guest;
};

// A folder that goes away again.
struct Folder {
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "understudy-net-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::filesystem::path path;
};

HostForward forward(bool udp, uint16_t host_port, uint16_t guest_port) {
  return {udp, {htonl(INADDR_LOOPBACK)}, host_port, {htonl(kGuest)}, guest_port};
}

// RFC 2131: a BOOTP header, its cookie, options.
Bytes dhcp(unsigned message, View more_options = {}) {
  Bytes p;
  put32(p, 0x01010600), put32(p, 0x12345678), put32(p, 0);
  for (int i = 0; i < 4; ++i) put32(p, 0);
  put(p, FakeGuest::kMac);
  p.resize(236);
  put32(p, 0x63825363);
  put8(p, 53), put8(p, 1), put8(p, message), put(p, more_options), put8(p, 255);
  return p;
}
std::optional<Bytes> dhcp_option(View p, uint8_t code) {
  for (size_t at = 240; at + 1 < p.size() && p[at] != 255; at += size_t{2} + p[at + 1]) {
    if (p[at] == code && at + 2 + p[at + 1] <= p.size()) {
      const View value = p.subspan(at + 2, p[at + 1]);
      return Bytes(value.begin(), value.end());
    }
  }
  return {};
}
Bytes u32(uint32_t value) {
  Bytes b;
  put32(b, value);
  return b;
}

Bytes tftp(unsigned operation, std::string_view name) {
  Bytes p;
  put16(p, operation), put(p, text(name)), put8(p, 0), put(p, text("octet")), put8(p, 0);
  return p;
}
// Reads a file as a network boot does (RFC 1350). Nothing at an error message.
std::optional<Bytes> tftp_read(FakeGuest& guest, unsigned port, std::string_view name) {
  guest.send_udp(port, kHost, 69, tftp(1, name));
  Bytes file;
  for (unsigned block = 1;; ++block) {
    const auto reply = guest.wait_udp(port);
    if (!reply || reply->payload.size() < 4 || get16(reply->payload, 0) != 3) return {};
    if (get16(reply->payload, 2) != block) return {};
    put(file, View(reply->payload).subspan(4));
    Bytes ack;
    put16(ack, 4), put16(ack, block);
    guest.send_udp(port, kHost, reply->source_port, ack);
    if (reply->payload.size() < 4 + 512) return file;
  }
}

}  // namespace

TEST_SUITE("host-net") {
  TEST_CASE("user network: ARP and ping") {
    Rig rig;
    const auto host = rig.guest.arp(kHost);
    REQUIRE(host);
    CHECK((*host)[0] == 0x52);
    CHECK(rig.guest.ping(kHost));
    CHECK(rig.guest.ping(ip4(10, 0, 2, 3)));
    CHECK(rig.net.counts().frames_out >= 3);
    CHECK(rig.net.counts().in_bad_size == 0);
  }

  TEST_CASE("user network: DHCP gives an address, a router, a name server and a boot file") {
    UserNetOptions options;
    options.bootfile = "menu.ipxe";
    Rig rig(options);
    auto ask = [&](unsigned message, View more) {
      rig.net.send(ethernet(kBroadcast, FakeGuest::kMac, 0x0800,
                            ip_packet(udp_packet({0, 0xffffffff, 68, 67, dhcp(message, more)}))));
      return rig.guest.wait_udp(68);
    };
    const auto offer = ask(1, {});
    REQUIRE(offer);
    REQUIRE(offer->payload.size() >= 241);
    CHECK(get32(offer->payload, 4) == 0x12345678);
    CHECK(get32(offer->payload, 16) == kGuest);
    CHECK(get32(offer->payload, 20) == kHost);
    CHECK(dhcp_option(offer->payload, 53) == Bytes{2});
    CHECK(dhcp_option(offer->payload, 1) == u32(ip4(255, 255, 255, 0)));
    CHECK(dhcp_option(offer->payload, 3) == u32(kHost));
    CHECK(dhcp_option(offer->payload, 6) == u32(ip4(10, 0, 2, 3)));
    CHECK(std::string(reinterpret_cast<const char*>(&offer->payload[108])) == "menu.ipxe");
    Bytes wanted{50, 4};
    put32(wanted, kGuest);
    const auto acknowledged = ask(3, wanted);
    REQUIRE(acknowledged);
    CHECK(dhcp_option(acknowledged->payload, 53) == Bytes{5});
  }

  TEST_CASE("user network: TFTP reads files of its folder, and no others") {
    Folder folder;
    Bytes contents(1300);
    std::minstd_rand random(1);
    for (uint8_t& byte : contents) byte = static_cast<uint8_t>(random());
    std::ofstream(folder.path / "boot.bin", std::ios::binary)
        .write(reinterpret_cast<const char*>(contents.data()), static_cast<std::streamsize>(contents.size()));
    std::filesystem::create_directory(folder.path / "inner");
    std::ofstream(folder.path / "inner" / "empty");
    UserNetOptions options;
    options.tftp_root = folder.path;
    Rig rig(options);
    CHECK(tftp_read(rig.guest, 2000, "boot.bin") == contents);
    CHECK(tftp_read(rig.guest, 2001, "/boot.bin") == contents);
    CHECK(tftp_read(rig.guest, 2002, "inner/empty") == Bytes{});
    CHECK(!tftp_read(rig.guest, 2003, "missing"));
    CHECK(!tftp_read(rig.guest, 2004, "../" + folder.path.filename().string() + "/boot.bin"));
  }

  TEST_CASE("user network: a forwarded TCP port, both ways and closed") {
    const uint16_t port = free_port(SOCK_STREAM);
    UserNetOptions options;
    options.forwards = {forward(false, port, 22)};
    Rig rig(options);
    HostSocket client = HostSocket::connected(SOCK_STREAM, port);
    FakeTcp tcp(rig.guest, 22);
    REQUIRE(tcp.accept());
    REQUIRE(client.send(text("hello guest")));
    CHECK(tcp.receive(11) == text("hello guest"));
    tcp.send(text("hello host"));
    CHECK(client.receive_all(10) == text("hello host"));
    client.close();
    CHECK(tcp.receive(1).empty());
    CHECK(tcp.closed());
  }

  TEST_CASE("user network: a forwarded UDP port") {
    const uint16_t port = free_port(SOCK_DGRAM);
    UserNetOptions options;
    options.forwards = {forward(true, port, 53)};
    Rig rig(options);
    REQUIRE(rig.guest.arp(kHost));  // libslirp learns where the guest is
    HostSocket client = HostSocket::connected(SOCK_DGRAM, port);
    REQUIRE(client.send(text("ask")));
    const auto asked = rig.guest.wait_udp(53);
    REQUIRE(asked);
    CHECK(asked->payload == text("ask"));
    rig.guest.send_udp(53, asked->source, asked->source_port, text("answer"));
    CHECK(client.receive() == text("answer"));
  }

  TEST_CASE("user network: the guest reaches servers on the host's loopback, unless restricted") {
    HostSocket server = HostSocket::bound(SOCK_STREAM);
    HostSocket datagrams = HostSocket::bound(SOCK_DGRAM);
    {
      Rig rig;
      FakeTcp tcp(rig.guest, 40000);
      REQUIRE(tcp.connect(kHost, server.port()));
      HostSocket client = server.accept();
      tcp.send(text("GET"));
      CHECK(client.receive_all(3) == text("GET"));
      Bytes page(20000);
      std::minstd_rand random(2);
      for (uint8_t& byte : page) byte = static_cast<uint8_t>(random());
      REQUIRE(client.send(page));
      client.close();
      CHECK(tcp.receive(page.size()) == page);
      tcp.close();
      rig.guest.send_udp(40001, kHost, datagrams.port(), text("ping"));
      sockaddr_in from{};
      CHECK(datagrams.receive(&from) == text("ping"));
      REQUIRE(datagrams.send_to(text("pong"), from));
      const auto reply = rig.guest.wait_udp(40001);
      REQUIRE(reply);
      CHECK(reply->payload == text("pong"));
      CHECK(reply->source == kHost);
      FakeTcp refused(rig.guest, 40002);
      CHECK(!refused.connect(kHost, free_port(SOCK_STREAM)));
    }
    const uint16_t port = free_port(SOCK_STREAM);
    UserNetOptions options;
    options.restricted = true;
    options.forwards = {forward(false, port, 80)};
    Rig rig(options);
    CHECK(rig.guest.ping(kHost));
    FakeTcp tcp(rig.guest, 40003);
    CHECK(!tcp.connect(kHost, server.port()));
    HostSocket client = HostSocket::connected(SOCK_STREAM, port);
    FakeTcp http(rig.guest, 80);
    CHECK(http.accept());
  }

  TEST_CASE("user network: a guest cannot use up this process's descriptors") {
    HostSocket server = HostSocket::bound(SOCK_DGRAM);
    Rig rig;
    constexpr unsigned kFlows = UserStack::kMaxSockets + 100;
    auto open_descriptors = [] {
      const std::filesystem::directory_iterator all("/proc/self/fd");
      return std::distance(begin(all), end(all));
    };
    const auto before = open_descriptors();
    for (unsigned i = 0; i < kFlows; ++i) rig.guest.send_udp(20000 + i, kHost, server.port(), text("x"));
    REQUIRE(rig.guest.arp(kHost));  // frames are taken in order: all the others are through
    CHECK(rig.net.counts().out_refused == 100);
    CHECK(open_descriptors() - before == UserStack::kMaxSockets);
    CHECK(rig.guest.arp(ip4(10, 0, 2, 3)));
  }

  TEST_CASE("user network: a sender never waits, and what finds no room is counted") {
    std::mutex mutex;
    std::condition_variable changed;
    bool entered = false, go_on = false;
    HostNetUser net({}, [&](View) {
      std::unique_lock lock(mutex);
      entered = true;
      changed.notify_all();
      return changed.wait_for(lock, kPatience, [&] { return go_on; });
    });
    const Bytes question = arp_frame(kBroadcast, {1, FakeGuest::kMac, kGuest, kHost});
    net.send(question);
    {
      std::unique_lock lock(mutex);
      REQUIRE(changed.wait_for(lock, kPatience, [&] { return entered; }));
    }
    for (size_t i = 0; i < FrameQueue::kMaxFrames + 5; ++i) net.send(question);
    CHECK(net.counts().out_queue_full == 5);
    net.send(Bytes(kMinFrame - 1));
    net.send(Bytes(kMaxFrame + 1));
    CHECK(net.counts().out_bad_size == 2);
    const std::lock_guard lock(mutex);
    go_on = true;
    changed.notify_all();
  }

  TEST_CASE("user network: frames that the machine has no room for are counted") {
    Inbox inbox;
    unsigned calls = 0;  // on one thread
    HostNetUser net({}, [&](View frame) { return ++calls > 2 && inbox.put(frame); });
    for (int i = 0; i < 4; ++i) net.send(arp_frame(kBroadcast, {1, FakeGuest::kMac, kGuest, kHost}));
    REQUIRE(inbox.take());
    REQUIRE(inbox.take());
    CHECK(net.counts().in_queue_full == 2);
    CHECK(net.counts().frames_in >= 1);
  }

  TEST_CASE("user network: broken frames from the guest are survived") {
    Folder folder;
    UserNetOptions options;
    options.tftp_root = folder.path;
    options.restricted = true;  // what happens to be well formed goes no further
    Rig rig(options);
    REQUIRE(rig.guest.arp(kHost));
    const Bytes option_that_ends_late{12, 250, 'x'};
    const Ip packets[] = {udp_packet({0, 0xffffffff, 68, 67, dhcp(1)}),
                          udp_packet({kGuest, kHost, 68, 67, dhcp(3, option_that_ends_late)}),
                          udp_packet({kGuest, kHost, 2000, 69, tftp(1, "file")}),
                          udp_packet({kGuest, kHost, 2000, 69, tftp(2, "file")}),
                          tcp_packet({kGuest, kHost, 2001, 80, 1, 0, kSyn, {}}),
                          tcp_packet({kGuest, kHost, 2002, 22, 1, 1, kAck | kPsh, text("data")}),
                          {kIcmp, kGuest, kHost, Bytes(30, 8)}};
    std::minstd_rand random(3);
    auto any = [&](size_t below) { return random() % below; };
    for (int i = 0; i < 5000; ++i) {
      Bytes packet = ip_packet(packets[any(std::size(packets))]);
      for (size_t n = any(4); n > 0; --n) packet[any(packet.size())] ^= static_cast<uint8_t>(random());
      if (any(3) == 0) packet[6] = 0x20;  // more fragments follow
      if (any(3) == 0) packet.resize(any(packet.size()) + 1);
      if (packet.size() >= 20) {
        packet[10] = packet[11] = 0;
        const unsigned sum = checksum({View(packet).first(std::min<size_t>(packet.size(), 4u * (packet[0] & 15)))});
        packet[10] = static_cast<uint8_t>(sum >> 8), packet[11] = static_cast<uint8_t>(sum);
      }
      rig.net.send(ethernet(kBroadcast, FakeGuest::kMac, any(9) == 0 ? 0x0806 : 0x0800, packet));
      if (i % 500 == 0) REQUIRE(rig.guest.arp(kHost));
    }
    CHECK(rig.guest.ping(kHost));
    CHECK(rig.net.counts().out_queue_full == 0);
  }

  TEST_CASE("user network: an IPv6 router answers, unless the guest is restricted") {
    // RFC 4861, section 4.1: from the link-local address of FakeGuest::kMac to all routers.
    const Mac all_routers{0x33, 0x33, 0, 0, 0, 2};
    const Bytes source{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0, 0xff, 0xfe, 0x12, 0x34, 0x56};
    const Bytes target{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2};
    Bytes icmp;
    put16(icmp, 133 << 8), put16(icmp, 0), put32(icmp, 0), put16(icmp, 0x0101), put(icmp, FakeGuest::kMac);
    Bytes length_and_protocol;
    put32(length_and_protocol, static_cast<uint32_t>(icmp.size())), put32(length_and_protocol, 58);
    const unsigned sum = checksum({source, target, length_and_protocol, icmp});
    icmp[2] = static_cast<uint8_t>(sum >> 8), icmp[3] = static_cast<uint8_t>(sum);
    Bytes packet;
    put32(packet, 0x60000000), put16(packet, static_cast<unsigned>(icmp.size())), put8(packet, 58), put8(packet, 255);
    put(packet, source), put(packet, target), put(packet, icmp);
    const Bytes solicitation = ethernet(all_routers, FakeGuest::kMac, 0x86dd, packet);
    auto prefix_of_router = [](View f) -> std::optional<Bytes> {
      if (f.size() < 14 + 40 + 16 || get16(f, 12) != 0x86dd || f[14 + 6] != 58 || f[14 + 40] != 134) return {};
      for (size_t at = 14 + 40 + 16; at + 32 <= f.size() && f[at + 1] != 0; at += size_t{8} * f[at + 1])
        if (f[at] == 3)
          return Bytes(f.begin() + static_cast<std::ptrdiff_t>(at) + 16,
                       f.begin() + static_cast<std::ptrdiff_t>(at) + 24);
      return {};
    };
    Rig rig;
    rig.net.send(solicitation);
    CHECK(rig.guest.wait(prefix_of_router) == Bytes{0xfe, 0xc0, 0, 0, 0, 0, 0, 0});
    UserNetOptions options;
    options.restricted = true;
    unsigned others = 0;  // on one thread
    Inbox inbox;
    HostNetUser restricted(options, [&](View f) {
      if (read_arp(f)) return inbox.put(f);
      ++others;
      return true;
    });
    restricted.send(solicitation);
    restricted.send(arp_frame(kBroadcast, {1, FakeGuest::kMac, kGuest, kHost}));
    REQUIRE(inbox.take());
    CHECK(others == 0);
  }

  TEST_CASE("user network: what cannot be set up is said in one line") {
    auto refusal = [](const UserNetOptions& options) -> std::string {
      try {
        HostNetUser net(options, [](View) { return true; });
      } catch (const HostNetError& error) {
        return error.what();
      }
      return "";
    };
    HostSocket taken = HostSocket::bound(SOCK_STREAM);
    UserNetOptions options;
    options.forwards = {forward(false, taken.port(), 22)};
    CHECK(refusal(options) == "user network: hostfwd=tcp:127.0.0.1:" + std::to_string(taken.port()) +
                                  "-10.0.2.15:22: Address already in use");
    options = {};
    options.tftp_root = "/nowhere/at/all";
    CHECK(refusal(options) == "TFTP folder /nowhere/at/all: No such file or directory");
    options.tftp_root = "/dev/null";
    CHECK(refusal(options) == "TFTP folder /dev/null: is not a folder");
    options = {};
    options.bootfile = std::string(128, 'x');
    CHECK(refusal(options) == "user network: the boot file's name is longer than 127 bytes");
  }

  TEST_CASE("frame queue: bounded, in order, readable while frames wait") {
    FrameQueue queue;
    for (unsigned i = 0; i < FrameQueue::kMaxFrames; ++i) CHECK(queue.push(Bytes{static_cast<uint8_t>(i), 1}));
    CHECK(!queue.push(Bytes{0}));
    Bytes frame;
    REQUIRE(queue.pop(frame));
    CHECK(frame == Bytes{0, 1});
    CHECK(queue.push(Bytes{99}));
    unsigned left = 0;
    while (queue.pop(frame)) ++left;
    CHECK(left == FrameQueue::kMaxFrames);
    CHECK(frame == Bytes{99});
  }
}
