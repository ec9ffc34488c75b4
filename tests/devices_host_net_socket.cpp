#include <doctest/doctest.h>

#include <random>

#include "devices/host_net_socket.h"
#include "tests/fake_guest.h"
#include "tests/host_sockets.h"

using namespace understudy::devices;
using namespace understudy::net_test;

namespace {

// Counts a back end's links as they come and go.
class Links {
 public:
  std::function<void(bool)> listener() {
    return [this](bool up) {
      const std::lock_guard lock(mutex_);
      (up ? ups_ : downs_)++;
      changed_.notify_all();
    };
  }
  bool wait_ups(unsigned count) { return wait(ups_, count); }
  bool wait_downs(unsigned count) { return wait(downs_, count); }

 private:
  bool wait(const unsigned& counter, unsigned count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return counter >= count; });
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  unsigned ups_ = 0, downs_ = 0;
};

struct TcpRig {
  explicit TcpRig(HostNetTcp::Role role, const std::string& address, size_t room = 4096)
      : inbox(room), net({role, address, std::chrono::milliseconds(5), links.listener()}, inbox.receiver()) {}
  Links links;
  Inbox inbox;
  HostNetTcp net;
};
std::string at(uint16_t port) { return "127.0.0.1:" + std::to_string(port); }

Bytes frame_of(size_t size, uint8_t fill) { return Bytes(size, fill); }
Bytes on_wire(View frame) {
  Bytes b;
  put32(b, static_cast<uint32_t>(frame.size())), put(b, frame);
  return b;
}

}  // namespace

TEST_SUITE("host-net") {
  TEST_CASE("socket network: two guests meet over TCP, and again after one has gone") {
    TcpRig listener(HostNetTcp::Role::listen, "127.0.0.1:0");
    for (unsigned round = 1; round <= 2; ++round) {
      TcpRig other(HostNetTcp::Role::connect, at(listener.net.port()));
      REQUIRE(other.links.wait_ups(1));
      REQUIRE(listener.links.wait_ups(round));
      std::minstd_rand random(round);
      for (int i = 0; i < 300; ++i) {
        const Bytes there = frame_of(kMinFrame + random() % (kMaxFrame - kMinFrame + 1), static_cast<uint8_t>(i));
        const Bytes back = frame_of(kMaxFrame, static_cast<uint8_t>(i + 1));
        listener.net.send(there);
        other.net.send(back);
        REQUIRE(other.inbox.take() == there);
        REQUIRE(listener.inbox.take() == back);
      }
    }
    REQUIRE(listener.links.wait_downs(2));
    listener.net.send(frame_of(60, 1));
    const HostNetCounts counts = listener.net.counts();
    CHECK(counts.frames_out == 600);
    CHECK(counts.frames_in == 600);
    CHECK(counts.bytes_in == 600 * kMaxFrame);
    CHECK(counts.out_no_link == 1);
    CHECK(counts.links_cut == 0);
  }

  TEST_CASE("socket network: the one that connects waits for the other to be there, and for its return") {
    HostSocket place = HostSocket::bound(SOCK_STREAM);
    const uint16_t port = place.port();
    place.close();
    TcpRig rig(HostNetTcp::Role::connect, at(port));
    rig.net.send(frame_of(60, 1));
    CHECK(rig.net.counts().out_no_link == 1);
    for (unsigned round = 1; round <= 3; ++round) {
      HostSocket server = HostSocket::bound(SOCK_STREAM, port);
      HostSocket peer = server.accept();
      REQUIRE(rig.links.wait_ups(round));
      rig.net.send(frame_of(60, static_cast<uint8_t>(round)));
      CHECK(peer.receive_all(64) == on_wire(frame_of(60, static_cast<uint8_t>(round))));
      server.close();
      peer.close();
      REQUIRE(rig.links.wait_downs(round));
    }
  }

  TEST_CASE("socket network: frames arrive whole however the stream is cut") {
    TcpRig rig(HostNetTcp::Role::listen, "127.0.0.1:0");
    HostSocket peer = HostSocket::connected(SOCK_STREAM, rig.net.port());
    Bytes stream;
    for (int i = 0; i < 20; ++i)
      put(stream, on_wire(frame_of(kMinFrame + static_cast<size_t>(i), static_cast<uint8_t>(i))));
    for (const uint8_t byte : stream) REQUIRE(peer.send(View(&byte, 1)));
    for (int i = 0; i < 20; ++i)
      CHECK(rig.inbox.take() == frame_of(kMinFrame + static_cast<size_t>(i), static_cast<uint8_t>(i)));
  }

  TEST_CASE("socket network: a length that no frame has ends the connection") {
    TcpRig rig(HostNetTcp::Role::listen, "127.0.0.1:0");
    const uint32_t lengths[] = {0, 1, kMinFrame - 1, kMaxFrame + 1, 0x7fffffff, 0xffffffff};
    unsigned cut = 0;
    for (const uint32_t length : lengths) {
      HostSocket peer = HostSocket::connected(SOCK_STREAM, rig.net.port());
      Bytes stream = on_wire(frame_of(60, 7));
      put32(stream, length);
      REQUIRE(peer.send(stream));
      CHECK(rig.inbox.take() == frame_of(60, 7));
      CHECK(peer.receive().empty());  // the end of the stream
      REQUIRE(rig.links.wait_downs(++cut));
      CHECK(rig.net.counts().links_cut == cut);
    }
  }

  TEST_CASE("socket network: a peer that does not read costs frames, not time") {
    TcpRig rig(HostNetTcp::Role::listen, "127.0.0.1:0");
    HostSocket peer = HostSocket::connected(SOCK_STREAM, rig.net.port());
    REQUIRE(rig.links.wait_ups(1));
    const Bytes frame = frame_of(kMaxFrame, 3);
    uint64_t sent = 0;
    // The host's socket buffers hold a few megabytes.
    for (; rig.net.counts().out_queue_full == 0 && sent < 100'000; ++sent) rig.net.send(frame);
    REQUIRE(rig.net.counts().out_queue_full == 1);
    for (uint64_t i = 0; i + 1 < sent; ++i) REQUIRE(peer.receive_all(4 + kMaxFrame) == on_wire(frame));
    CHECK(rig.net.counts().frames_out == sent - 1);
    rig.net.send(frame_of(60, 4));
    CHECK(peer.receive_all(64) == on_wire(frame_of(60, 4)));
  }

  TEST_CASE("socket network: frames without room are counted") {
    TcpRig rig(HostNetTcp::Role::listen, "127.0.0.1:0", 3);
    HostSocket peer = HostSocket::connected(SOCK_STREAM, rig.net.port());
    for (int i = 0; i < 5; ++i) REQUIRE(peer.send(on_wire(frame_of(60, 1))));
    peer.close();
    REQUIRE(rig.links.wait_downs(1));
    CHECK(rig.net.counts().frames_in == 3);
    CHECK(rig.net.counts().in_queue_full == 2);
    rig.net.send(frame_of(kMinFrame - 1, 0));
    rig.net.send(frame_of(kMaxFrame + 1, 0));
    CHECK(rig.net.counts().out_bad_size == 2);
  }

  TEST_CASE("socket network: UDP between two peers, and nobody else") {
    HostSocket place_a = HostSocket::bound(SOCK_DGRAM), place_b = HostSocket::bound(SOCK_DGRAM);
    const uint16_t port_a = place_a.port(), port_b = place_b.port();
    place_a.close();
    place_b.close();
    Inbox inbox_a, inbox_b;
    HostNetUdp a({at(port_b), at(port_a)}, inbox_a.receiver());
    a.send(frame_of(60, 1));  // nobody is there yet, which the next frame must not suffer for
    HostNetUdp b({at(port_a), at(port_b)}, inbox_b.receiver());
    a.send(frame_of(100, 2));
    CHECK(inbox_b.take() == frame_of(100, 2));
    HostSocket stranger(SOCK_DGRAM);
    REQUIRE(stranger.send_to(frame_of(60, 66), loopback(port_a)));
    b.send(frame_of(kMaxFrame, 3));
    b.send(frame_of(kMaxFrame + 1, 4));
    CHECK(inbox_a.take() == frame_of(kMaxFrame, 3));
    CHECK(b.counts().out_bad_size == 1);
    CHECK(b.counts().frames_out == 1);
  }

  TEST_CASE("socket network: datagrams that are no frames are counted") {
    HostSocket peer = HostSocket::bound(SOCK_DGRAM);
    const uint16_t port = free_port(SOCK_DGRAM);
    Inbox inbox;
    HostNetUdp net({at(peer.port()), at(port)}, inbox.receiver());
    const sockaddr_in to = loopback(port);
    for (const size_t size : {size_t{0}, kMinFrame - 1, kMaxFrame + 1, size_t{9000}, kMinFrame})
      REQUIRE(peer.send_to(frame_of(size, 5), to));
    CHECK(inbox.take() == frame_of(kMinFrame, 5));
    CHECK(net.counts().in_bad_size == 4);
  }

  TEST_CASE("socket network: addresses that are none are refused in one line") {
    auto refusal = [](const std::string& address) -> std::string {
      try {
        HostNetTcp net({HostNetTcp::Role::listen, address, std::chrono::milliseconds(5), {}},
                       [](View) { return true; });
      } catch (const HostNetError& error) {
        return error.what();
      }
      return "";
    };
    CHECK(refusal("nothing") == "network socket 'nothing': want ADDRESS:PORT");
    CHECK(refusal("127.0.0.1:") == "network socket '127.0.0.1:': want ADDRESS:PORT");
    CHECK(refusal("127.0.0.1:70000") == "network socket '127.0.0.1:70000': '70000' is not a port (0 to 65535)");
    CHECK(refusal("127.0.0.1:1x") == "network socket '127.0.0.1:1x': '1x' is not a port (0 to 65535)");
    HostSocket taken = HostSocket::bound(SOCK_STREAM);
    CHECK(refusal(at(taken.port())) == "network socket " + at(taken.port()) + ": Address already in use");
    CHECK(refusal(":0").empty());
    CHECK(resolve(":80").family() == AF_INET);
    CHECK(resolve("[::1]:80").family() == AF_INET6);
  }
}
