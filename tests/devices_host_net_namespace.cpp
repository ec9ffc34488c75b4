// What needs a network of its own: TAP devices, and a name server at the port where one is. Runs in a network and a
// mount namespace that end with the process; a host that does not permit them skips the suite.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <thread>

#include "devices/host_net_tap.h"
#include "devices/host_net_user.h"
#include "tests/fake_guest.h"
#include "tests/host_sockets.h"

using namespace understudy::devices;
using namespace understudy::net_test;

namespace {

[[noreturn]] void skip(const char* what) {
  std::fprintf(stderr, "skipped: %s: %s\n", what, std::strerror(errno));
  std::_Exit(77);
}

ifreq interface_request(const std::string& name) {
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  return request;
}
void request(unsigned long what, ifreq& with) {
  const HostFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  REQUIRE(::ioctl(fd.get(), what, &with) == 0);
}
void set_up(const std::string& name, bool up) {
  ifreq r = interface_request(name);
  r.ifr_flags = static_cast<short>(up ? IFF_UP : 0);
  request(SIOCSIFFLAGS, r);
}
sockaddr_in address(uint32_t ip, uint16_t port = 0) {
  sockaddr_in a = loopback(port);
  a.sin_addr.s_addr = htonl(ip);
  return a;
}
void set_address(const std::string& name, uint32_t ip) {
  ifreq r = interface_request(name);
  const sockaddr_in a = address(ip), mask = address(0xffffff00);
  std::memcpy(&r.ifr_addr, &a, sizeof a);
  request(SIOCSIFADDR, r);
  std::memcpy(&r.ifr_netmask, &mask, sizeof mask);
  request(SIOCSIFNETMASK, r);
}

void delete_interface(const std::string& name) {
  struct {
    nlmsghdr header;
    ifinfomsg link;
  } message{};
  message.header = {sizeof message, RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0};
  message.link.ifi_index = static_cast<int>(::if_nametoindex(name.c_str()));
  const HostFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  REQUIRE(::send(fd.get(), &message, sizeof message, 0) == sizeof message);
  struct {
    nlmsghdr header;
    nlmsgerr result;
    char original[256];
  } reply{};
  REQUIRE(::recv(fd.get(), &reply, sizeof reply, 0) > 0);
  REQUIRE(reply.header.nlmsg_type == NLMSG_ERROR);
  REQUIRE(reply.result.error == 0);
}

void enter_namespaces() {
  static bool inside = false;
  if (inside) return;
  const uid_t user = ::geteuid();
  const gid_t group = ::getegid();
  if (::unshare(CLONE_NEWNET | CLONE_NEWNS | (user != 0 ? CLONE_NEWUSER : 0)) != 0) skip("unshare");
  if (user != 0) {
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << "0 " << user << " 1";
    std::ofstream("/proc/self/gid_map") << "0 " << group << " 1";
  }
  if (::mount("none", "/", "none", MS_REC | MS_PRIVATE, nullptr) != 0) skip("mount namespace");
  set_up("lo", true);
  inside = true;
}
void need_tap() {
  enter_namespaces();
  if (!HostFd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC))) skip("/dev/net/tun");
}

std::string refusal(const std::string& name) {
  try {
    HostNetTap net(name, [](View) { return true; });
  } catch (const HostNetError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_SUITE("netns") {
  TEST_CASE("TAP: the guest and the host's kernel talk") {
    need_tap();
    constexpr uint32_t kHost = ip4(192, 0, 2, 1), kGuest = ip4(192, 0, 2, 2);
    Inbox inbox;
    HostNetTap net("understudy0", inbox.receiver());
    FakeGuest guest(net, inbox, kGuest, kHost);
    net.send(arp_frame(kBroadcast, {1, FakeGuest::kMac, kGuest, kHost}));
    CHECK(net.counts().out_no_link == 1);  // the interface is down
    set_address("understudy0", kHost);
    set_up("understudy0", true);
    REQUIRE(guest.arp(kHost));
    CHECK(guest.ping(kHost));

    HostSocket server(SOCK_DGRAM);
    const sockaddr_in here = address(kHost, 7000);
    REQUIRE(::bind(server.fd(), as_sockaddr(here), sizeof here) == 0);
    guest.send_udp(5000, kHost, 7000, text("from the guest"));
    sockaddr_in from{};
    CHECK(server.receive(&from) == text("from the guest"));
    CHECK(ntohl(from.sin_addr.s_addr) == kGuest);
    REQUIRE(server.send_to(Bytes(1472, 0x5a), from));
    const auto reply = guest.wait_udp(5000);
    REQUIRE(reply);
    CHECK(reply->payload == Bytes(1472, 0x5a));
    CHECK(net.counts().frames_in > 0);
    CHECK(net.counts().out_no_link == 1);
    net.send(Bytes(kMaxFrame + 1));
    CHECK(net.counts().out_bad_size == 1);
  }

  TEST_CASE("TAP: frames that the kernel sends too large are counted") {
    need_tap();
    Inbox inbox;
    HostNetTap net("understudy1", inbox.receiver());
    FakeGuest guest(net, inbox, ip4(192, 0, 2, 2), ip4(192, 0, 2, 1));
    set_address("understudy1", ip4(192, 0, 2, 1));
    ifreq mtu = interface_request("understudy1");
    mtu.ifr_mtu = 3000;
    request(SIOCSIFMTU, mtu);
    set_up("understudy1", true);
    REQUIRE(guest.arp(ip4(192, 0, 2, 1)));
    HostSocket server(SOCK_DGRAM);
    const sockaddr_in there = address(ip4(192, 0, 2, 2), 5000);
    REQUIRE(server.send_to(text("first"), there));
    REQUIRE(guest.wait_udp(5000));
    REQUIRE(server.send_to(Bytes(2000, 1), there));
    REQUIRE(server.send_to(text("last"), there));
    const auto next = guest.wait_udp(5000);
    REQUIRE(next);
    CHECK(next->payload == text("last"));
    CHECK(net.counts().in_bad_size == 1);
  }

  TEST_CASE("TAP: what cannot be opened is said in one line") {
    need_tap();
    CHECK(refusal("") == "TAP device '': not an interface name");
    CHECK(refusal("name/with") == "TAP device 'name/with': not an interface name");
    CHECK(refusal("sixteen_letters_") == "TAP device 'sixteen_letters_': not an interface name");
    CHECK(refusal("tap%d") == "TAP device 'tap%d': not an interface name");
    CHECK(refusal("lo") == "TAP device lo: Invalid argument; the interface exists and is no TAP device");
    HostNetTap taken("understudy2", [](View) { return true; });
    CHECK(refusal("understudy2") == "TAP device understudy2: Device or resource busy; another program has it open");
    std::string said;
    std::thread([&] {
      // Capabilities are a thread's own.
      __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
      __user_cap_data_struct none[2]{};
      if (::syscall(SYS_capset, &header, none) == 0) said = refusal("understudy3");
    }).join();
    CHECK(
        said ==
        "TAP device understudy3: Operation not permitted; as root: ip tuntap add dev understudy3 mode tap user USER && "
        "ip link set understudy3 up");
  }

  TEST_CASE("TAP: an interface that goes away ends nothing but the network") {
    need_tap();
    Inbox inbox;
    HostNetTap net("understudy4", inbox.receiver());
    set_up("understudy4", true);
    delete_interface("understudy4");
    net.send(Bytes(60));
    CHECK(net.counts().out_no_link == 1);
  }

  TEST_CASE("user network: broken IPv6 frames from the guest are survived") {
    enter_namespaces();  // what happens to be well formed reaches nothing
    Inbox inbox;
    HostNetUser net({}, inbox.receiver());
    FakeGuest guest(net, inbox);
    const Bytes source{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0, 0xff, 0xfe, 0x12, 0x34, 0x56};
    const Bytes hosts[] = {{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2},
                           {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 2},
                           {0xfe, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2},
                           {0xfe, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3}};
    constexpr uint8_t kProtocols[] = {58, 17, 6, 0, 44, 43};
    constexpr uint8_t kMessages[] = {128, 133, 134, 135, 136, 1};
    std::minstd_rand random(5);
    auto any = [&](size_t below) { return random() % below; };
    for (int i = 0; i < 5000; ++i) {
      const uint8_t protocol = kProtocols[any(std::size(kProtocols))];
      const Bytes& target = hosts[any(std::size(hosts))];
      Bytes inner(any(100));
      for (uint8_t& byte : inner) byte = any(3) == 0 ? static_cast<uint8_t>(random()) : uint8_t{0};
      size_t sum_at = 2;
      if (protocol == 58 && inner.size() > 8) inner[0] = kMessages[any(std::size(kMessages))], inner[1] = 0;
      if (protocol == 17) sum_at = 6;
      if (protocol == 6) sum_at = 16;
      if (protocol == 17 && inner.size() > 8) inner[4] = 0, inner[5] = static_cast<uint8_t>(inner.size());
      if (protocol == 6 && inner.size() > 20) inner[12] = static_cast<uint8_t>(0x50 + 16 * any(3));
      if (inner.size() >= sum_at + 2) {
        inner[sum_at] = inner[sum_at + 1] = 0;
        Bytes length_and_protocol;
        put32(length_and_protocol, static_cast<uint32_t>(inner.size())), put32(length_and_protocol, protocol);
        const unsigned sum = checksum({source, target, length_and_protocol, inner});
        inner[sum_at] = static_cast<uint8_t>(sum >> 8), inner[sum_at + 1] = static_cast<uint8_t>(sum);
      }
      Bytes packet;
      put32(packet, 0x60000000), put16(packet, static_cast<unsigned>(any(8) == 0 ? random() & 0xffff : inner.size()));
      put8(packet, protocol), put8(packet, 255), put(packet, source), put(packet, target), put(packet, inner);
      if (any(8) == 0) packet.resize(any(packet.size()) + 1);
      net.send(ethernet({0x33, 0x33, 0, 0, 0, 2}, FakeGuest::kMac, 0x86dd, packet));
      if (i % 500 == 0) REQUIRE(guest.arp(ip4(10, 0, 2, 2)));
    }
    CHECK(guest.ping(ip4(10, 0, 2, 2)));
    CHECK(net.counts().out_queue_full == 0);
    CHECK(net.counts().out_refused > 0);  // pings to all routers
  }

  TEST_CASE("user network: the guest's name server is the host's") {
    enter_namespaces();
    char path[] = "/tmp/understudy-resolv-XXXXXX";
    HostFd file(::mkstemp(path));
    REQUIRE(file);
    const std::string_view line = "nameserver 127.0.0.1\n";
    REQUIRE(::write(file.get(), line.data(), line.size()) == static_cast<ssize_t>(line.size()));
    const bool mounted = ::mount(path, "/etc/resolv.conf", nullptr, MS_BIND, nullptr) == 0;
    if (!mounted) skip("/etc/resolv.conf");
    HostSocket server = HostSocket::bound(SOCK_DGRAM, 53);
    {
      Inbox inbox;
      HostNetUser net({}, inbox.receiver());
      FakeGuest guest(net, inbox);
      // RFC 1035, section 4: a question for the address of "a.test", and its answer.
      Bytes question;
      put16(question, 0xbeef), put16(question, 0x0100), put16(question, 1), put16(question, 0), put32(question, 0);
      put8(question, 1), put(question, text("a")), put8(question, 4), put(question, text("test")), put8(question, 0);
      put16(question, 1), put16(question, 1);
      guest.send_udp(3000, ip4(10, 0, 2, 3), 53, question);
      sockaddr_in from{};
      CHECK(server.receive(&from) == question);
      Bytes answer = question;
      answer[2] = 0x81, answer[3] = 0x80, answer[7] = 1;
      put16(answer, 0xc00c), put16(answer, 1), put16(answer, 1), put32(answer, 60), put16(answer, 4);
      put32(answer, ip4(192, 0, 2, 77));
      REQUIRE(server.send_to(answer, from));
      const auto reply = guest.wait_udp(3000);
      REQUIRE(reply);
      CHECK(reply->source == ip4(10, 0, 2, 3));
      CHECK(reply->source_port == 53);
      CHECK(reply->payload == answer);
    }
    ::umount2("/etc/resolv.conf", MNT_DETACH);
    ::unlink(path);
  }
}
