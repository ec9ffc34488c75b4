#include <arpa/inet.h>
#include <doctest/doctest.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>

#include "emu/machine.h"
#include "tests/fake_guest.h"
#include "tests/host_sockets.h"
#include "tools/net_link.h"
#include "tools/net_options.h"
#include "tools/serial_backend.h"

using namespace understudy;
using namespace understudy::tools;
using namespace understudy::net_test;

namespace {

std::string refusal(const std::string& spec) {
  try {
    parse_net(spec);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}
const std::string kWanted =
    ": want user[,hostfwd=RULE][,tftp=FOLDER][,bootfile=NAME][,restrict=on], tap:NAME, socket:listen=ADDRESS:PORT, "
    "socket:connect=ADDRESS:PORT, socket:udp=ADDRESS:PORT,local=ADDRESS:PORT, hub:ADDRESS[,epoch=N] or none";

}  // namespace

TEST_SUITE("net-options") {
  TEST_CASE("--net user: everything it knows") {
    const NetOptions parsed = parse_net(
        "user,hostfwd=tcp:127.0.0.2:2222-10.0.2.16:22,hostfwd=udp::53-:5353,tftp=/srv/a,,b,bootfile=x=y,restrict=on");
    const auto* user = std::get_if<devices::UserNetOptions>(&parsed);
    REQUIRE(user != nullptr);
    REQUIRE(user->forwards.size() == 2);
    CHECK(!user->forwards[0].udp);
    CHECK(ntohl(user->forwards[0].host_address.s_addr) == ip4(127, 0, 0, 2));
    CHECK(user->forwards[0].host_port == 2222);
    CHECK(ntohl(user->forwards[0].guest_address.s_addr) == ip4(10, 0, 2, 16));
    CHECK(user->forwards[0].guest_port == 22);
    CHECK(user->forwards[1].udp);
    CHECK(ntohl(user->forwards[1].host_address.s_addr) == ip4(127, 0, 0, 1));
    CHECK(user->forwards[1].host_port == 53);
    CHECK(ntohl(user->forwards[1].guest_address.s_addr) == ip4(10, 0, 2, 15));
    CHECK(user->forwards[1].guest_port == 5353);
    CHECK(user->tftp_root == "/srv/a,b");
    CHECK(user->bootfile == "x=y");
    CHECK(user->restricted);
    const NetOptions plain = parse_net("user,restrict=off");
    CHECK(!std::get<devices::UserNetOptions>(plain).restricted);
    CHECK(std::get<devices::UserNetOptions>(plain).forwards.empty());
  }

  TEST_CASE("--net: the others") {
    CHECK(std::holds_alternative<NoNet>(parse_net("none")));
    CHECK(std::get<TapNet>(parse_net("tap:tap0")).name == "tap0");
    const auto listen = std::get<devices::HostNetTcp::Options>(parse_net("socket:listen=127.0.0.1:4000"));
    CHECK(listen.role == devices::HostNetTcp::Role::listen);
    CHECK(listen.address == "127.0.0.1:4000");
    CHECK(listen.retry.count() > 0);
    const auto connect = std::get<devices::HostNetTcp::Options>(parse_net("socket:connect=[::1]:4000"));
    CHECK(connect.role == devices::HostNetTcp::Role::connect);
    CHECK(connect.address == "[::1]:4000");
    const auto udp = std::get<devices::HostNetUdp::Options>(parse_net("socket:udp=127.0.0.1:1,local=127.0.0.1:2"));
    CHECK(udp.peer == "127.0.0.1:1");
    CHECK(udp.local == "127.0.0.1:2");
    const auto hub = std::get<HubNet>(parse_net("hub:tcp://127.0.0.1:5"));
    CHECK(hub.address == "tcp://127.0.0.1:5");
    CHECK(hub.epoch == 1);
    const auto left = std::get<HubNet>(parse_net("hub:ipc:///tmp/a,,b,epoch=7,node=left,key=l.secret,peer=h.public"));
    CHECK(left.address == "ipc:///tmp/a,b");
    CHECK(left.epoch == 7);
    CHECK(left.node == "left");
    CHECK(left.key_file == "l.secret");
    CHECK(left.peer_file == "h.public");
    CHECK_FALSE(left.insecure);
    CHECK(std::get<HubNet>(parse_net("hub:tcp://10.0.0.1:5,insecure")).insecure);
  }

  TEST_CASE("--net: what is wrong is said in one line") {
    for (const std::string spec : {"", "usr", "none,x", "User", "tap", "socket"})
      CHECK(refusal(spec) == "--net " + spec + kWanted);
    for (const std::string part : {"", "hostfw=1", "tftp", "tftp=", "bootfile=", "restrict", "restrict=yes"})
      CHECK(refusal("user," + part) ==
            "--net user: '" + part + "' is not hostfwd=RULE, tftp=FOLDER, bootfile=NAME or restrict=on|off");
    for (const std::string rule : {"", "tcp", "tcp:", "tcp::80", "tcp::80-", "tcp::80-:", "tcp::80-:0", "tcp::0-:80",
                                   "tcp::65536-:80", "tcp::80-:80x", "tcp:localhost:80-:80", "tcp:1.2.3:80-:80",
                                   "sctp::80-:80", "tcp:[::1]:80-:80", "tcp::-1-:80", "tcp::80:80"})
      CHECK(refusal("user,hostfwd=" + rule) ==
            "--net user: hostfwd=" + rule +
                ": want tcp:HOSTADDR:PORT-GUESTADDR:PORT or udp:..., with IPv4 addresses and ports from 1 to 65535");
    for (const std::string part : {"", "epoch", "epoch=0", "epoch=-1", "epoch=1x", "node=", "secure", "key=", "peer="})
      CHECK(refusal("hub:ipc:///tmp/x," + part).starts_with("--net hub:"));
    CHECK(refusal("hub:ipc:///tmp/x,key=a") ==
          "--net hub:ipc:///tmp/x,key=a: key=FILE and peer=FILE, the hub's public key, need each other");
    for (const std::string spec :
         {"socket:", "socket:listn=:1", "socket:listen=:1,x", "socket:udp=:1", "socket:udp=:1,locl=:2"})
      CHECK(refusal(spec) == "--net " + spec +
                                 ": want socket:listen=ADDRESS:PORT, socket:connect=ADDRESS:PORT or "
                                 "socket:udp=ADDRESS:PORT,local=ADDRESS:PORT");
  }

  TEST_CASE("net link: a card's frames reach the peer, the peer's frames wake the machine, and both are captured") {
    emu::Machine machine(1 << 20, {});
    std::vector<Bytes> at_card;
    const emu::ChannelId card =
        machine.world().add_channel("net0", [&](View frame) { at_card.emplace_back(frame.begin(), frame.end()); });
    HostSocket peer = HostSocket::bound(SOCK_DGRAM);
    const uint16_t port = free_port(SOCK_DGRAM);
    const std::string capture =
        (std::filesystem::temp_directory_path() / ("understudy-link-" + std::to_string(::getpid()))).string();
    const Bytes out(60, 1), in(70, 2);
    {
      Wakeup wakeup;
      NetLink link("socket:udp=127.0.0.1:" + std::to_string(peer.port()) + ",local=127.0.0.1:" + std::to_string(port),
                   capture, machine, wakeup);
      machine.world().emit(card, out);
      CHECK(peer.receive() == out);
      REQUIRE(peer.send_to(in, loopback(port)));
      wakeup.wait_until(std::chrono::steady_clock::now() + kPatience);
      emu::Input input;
      REQUIRE(machine.world().take(input));
      CHECK(input.channel == card);
      machine.world().deliver(input);
      REQUIRE(at_card.size() == 1);
      CHECK(at_card[0] == in);
      REQUIRE(link.counts());
      CHECK(link.counts()->frames_out == 1);
    }
    machine.world().emit(card, out);  // to nobody
    CHECK(std::filesystem::file_size(capture) == 24 + 2 * 16 + out.size() + in.size());
    std::filesystem::remove(capture);
  }

  TEST_CASE("net link: a machine without a card has none") {
    emu::Machine machine(1 << 20, {});
    Wakeup wakeup;
    CHECK(!NetLink("none", "", machine, wakeup).counts());
    CHECK_THROWS_WITH_AS(NetLink("user", "", machine, wakeup), "--net user: needs a network card", UsageError);
    CHECK_THROWS_WITH_AS(NetLink("none", "x.pcap", machine, wakeup), "--pcap x.pcap: needs a network card", UsageError);
    machine.world().add_channel("net0");
    CHECK_THROWS_WITH_AS(NetLink("socket:listen=nowhere", "", machine, wakeup),
                         "--net: network socket 'nowhere': want ADDRESS:PORT", UsageError);
    CHECK_THROWS_WITH_AS(NetLink("none", "/nowhere/x", machine, wakeup),
                         "--pcap: capture file /nowhere/x: No such file or directory", UsageError);
    CHECK(!NetLink("none", "", machine, wakeup).counts());
  }
}
