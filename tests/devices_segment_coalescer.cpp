// Segments that become one, and those that must not.
#include <doctest/doctest.h>

#include <random>

#include "devices/segment_coalescer.h"
#include "tests/net_frames.h"

using namespace understudy::devices;
using namespace understudy::net_test;

namespace {

constexpr Mac kGuest{0x52, 0x54, 0x00, 0x12, 0x34, 0x56}, kGateway{0x52, 0x55, 0x0a, 0x00, 0x02, 0x02};
constexpr size_t kIpAt = 14, kTcpAt = 34;

Bytes bytes_of(size_t size, unsigned seed) {
  Bytes bytes(size);
  std::minstd_rand random(seed + 1);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random() >> 8);
  return bytes;
}

Bytes segment(uint32_t sequence, View data, unsigned flags = kAck, unsigned port = 80) {
  const Tcp tcp{ip4(10, 0, 2, 15), ip4(10, 0, 2, 2), port, 4321, sequence, 77, flags, Bytes(data.begin(), data.end())};
  return ethernet(kGateway, kGuest, 0x0800, ip_packet(tcp_packet(tcp)));
}

void put_checksum(Bytes& frame, size_t at, unsigned sum) {
  frame[at] = static_cast<uint8_t>(sum >> 8), frame[at + 1] = static_cast<uint8_t>(sum);
}

// A frame with one byte changed, and right checksums all the same.
Bytes changed(Bytes frame, size_t at, uint8_t value) {
  frame[at] = value;
  put_checksum(frame, kIpAt + 10, 0);
  put_checksum(frame, kIpAt + 10, checksum({View(frame).subspan(kIpAt, 20)}));
  put_checksum(frame, kTcpAt + 16, 0);
  const Ip ip{kTcp, get32(frame, 26), get32(frame, 30), {}};
  put_checksum(frame, kTcpAt + 16, pseudo_checksum(ip, View(frame).subspan(kTcpAt)));
  return frame;
}

struct Rig {
  std::vector<Bytes> out;
  SegmentCoalescer coalescer{[this](View frame) { out.emplace_back(frame.begin(), frame.end()); }};
  void add(const Bytes& frame) { coalescer.add(frame); }
};

}  // namespace

TEST_CASE("segment coalescing: data behind data becomes one segment, of any sizes") {
  for (const size_t odd : {size_t{1448}, size_t{1}, size_t{999}}) {
    Rig rig;
    const Bytes data = bytes_of(3000 + odd, 1);
    const View all(data);
    rig.add(segment(0xfffffc00, all.first(1000)));
    rig.add(changed(segment(0xfffffc00 + 1000, all.subspan(1000, odd)), kTcpAt + 14, 0x12));
    rig.add(segment(0xfffffc00 + 1000 + static_cast<uint32_t>(odd), all.subspan(1000 + odd), kAck | kPsh));
    CHECK(rig.out.empty());
    rig.coalescer.flush();
    REQUIRE(rig.out.size() == 1);
    const auto tcp = read_tcp(rig.out[0]);  // its checksums are right
    REQUIRE(tcp);
    CHECK(tcp->sequence == 0xfffffc00);
    CHECK(tcp->acknowledged == 77);
    CHECK(tcp->flags == (kAck | kPsh));
    CHECK(tcp->payload == data);
    CHECK(rig.out[0].size() == 54 + data.size());
    CHECK(get16(rig.out[0], kTcpAt + 14) == 32768);  // the newest window
    rig.coalescer.flush();
    CHECK(rig.out.size() == 1);
  }
}

TEST_CASE("segment coalescing: what stands alone goes through unchanged") {
  Rig rig;
  const Bytes one = segment(100, bytes_of(1400, 2));
  rig.add(one);
  rig.coalescer.flush();
  CHECK(rig.out == std::vector<Bytes>{one});
}

TEST_CASE("segment coalescing: what a receiver could tell apart is not put together, and keeps its order") {
  const Bytes data = bytes_of(500, 3);
  const Bytes first = segment(1000, data), next = segment(1500, data);
  std::vector<Bytes> others;
  for (const unsigned flags : {kAck | kFin, kAck | kRst, kSyn, kAck | 0x20u, kAck | 0x40u, kAck | 0x80u, 0u})
    others.push_back(segment(1500, data, flags));
  others.push_back(segment(1500, {}));                 // an acknowledgement
  others.push_back(segment(1501, data));               // behind a gap
  others.push_back(segment(1499, data));               // one byte twice
  others.push_back(segment(900, data));                // an older one
  others.push_back(segment(1500, data, kAck, 81));     // another connection
  others.push_back(changed(next, 3, 0x99));            // to another station
  others.push_back(changed(next, kIpAt + 1, 3));       // congestion experienced
  others.push_back(changed(next, kIpAt + 6, 0x40));    // one that must not be fragmented behind one that may
  others.push_back(changed(next, kIpAt + 6, 0x20));    // a fragment
  others.push_back(changed(next, kIpAt + 8, 63));      // time to live
  others.push_back(changed(next, kTcpAt + 11, 78));    // acknowledges more
  others.push_back(changed(next, kTcpAt + 12, 0x60));  // with an option
  others.push_back(changed(next, kTcpAt + 19, 1));     // urgent
  for (const size_t at : {kIpAt + 11, kTcpAt + 17, size_t{200}}) {  // damaged
    others.push_back(next);
    others.back()[at] ^= 1;
  }
  others.push_back(next);  // padded
  others.back().push_back(0);
  others.push_back(next);  // cut
  others.back().pop_back();
  others.push_back(changed(next, kIpAt, 0x46));  // with IP options
  others.push_back(changed(next, kIpAt + 9, 17));
  others.push_back(changed(next, kTcpAt + 12, 0xf0));
  others.push_back(changed(next, kTcpAt + 12, 0x40));
  others.push_back(ethernet(kGateway, kGuest, 0x86dd, Bytes(60)));
  others.push_back(Bytes(14));
  others.push_back(Bytes(kTcpAt + 20));
  for (size_t i = 0; i < others.size(); ++i) {
    CAPTURE(i);
    Rig rig;
    rig.add(first);
    rig.add(others[i]);
    rig.coalescer.flush();
    CHECK(rig.out == std::vector<Bytes>{first, others[i]});
    Rig reverse;
    reverse.add(others[i]);
    reverse.add(next);
    reverse.coalescer.flush();
    CHECK(reverse.out == std::vector<Bytes>{others[i], next});
  }
}

TEST_CASE("segment coalescing: TCP options that are the same do not keep segments apart") {
  const auto with_option = [](uint32_t sequence, View data) {
    Bytes padded(4, 1);  // four NOPs
    padded.insert(padded.end(), data.begin(), data.end());
    return changed(segment(sequence, padded), kTcpAt + 12, 0x60);
  };
  Rig rig;
  const Bytes data = bytes_of(2000, 4);
  rig.add(with_option(5, View(data).first(1200)));
  rig.add(with_option(5 + 1200, View(data).subspan(1200)));
  rig.coalescer.flush();
  REQUIRE(rig.out.size() == 1);
  CHECK(read_tcp(rig.out[0])->payload == data);
}

TEST_CASE("segment coalescing: a long segment has its bounds") {
  Rig rig;
  const Bytes data = bytes_of(100 * 1400, 5);
  for (uint32_t i = 0; i < 100; ++i) rig.add(segment(i * 1400, View(data).subspan(size_t{i} * 1400, 1400)));
  rig.coalescer.flush();
  Bytes got;
  for (const Bytes& frame : rig.out) {
    CHECK(frame.size() <= SegmentCoalescer::kMaxBytes);
    const auto tcp = read_tcp(frame);
    REQUIRE(tcp);
    CHECK(tcp->sequence == got.size());
    got.insert(got.end(), tcp->payload.begin(), tcp->payload.end());
  }
  CHECK(got == data);
  CHECK(rig.out.size() == 5);
}

TEST_CASE("segment coalescing: any mixture of two connections arrives in each one's order") {
  std::minstd_rand random(7);
  for (unsigned round = 0; round < 200; ++round) {
    CAPTURE(round);
    Rig rig;
    Bytes sent[2], got[2];
    size_t frames = 0;
    for (unsigned i = 0; i < 60; ++i) {
      const unsigned which = random() / 64 % 8 == 0;
      const Bytes data = bytes_of(random() / 64 % 3 == 0 ? 1 + random() / 64 % 1448 : 1448, round * 100 + i);
      rig.add(segment(static_cast<uint32_t>(sent[which].size()), data, random() / 64 % 5 == 0 ? kAck | kPsh : kAck,
                      80 + which));
      sent[which].insert(sent[which].end(), data.begin(), data.end());
      ++frames;
      if (random() / 64 % 16 == 0) rig.coalescer.flush();
    }
    rig.coalescer.flush();
    for (const Bytes& frame : rig.out) {
      const auto tcp = read_tcp(frame);
      REQUIRE(tcp);
      Bytes& to = got[tcp->source_port - 80];
      REQUIRE(tcp->sequence == to.size());
      to.insert(to.end(), tcp->payload.begin(), tcp->payload.end());
    }
    CHECK(got[0] == sent[0]);
    CHECK(got[1] == sent[1]);
    CHECK(rig.out.size() < frames);
  }
}

TEST_CASE("segment coalescing: damaged frames of any kind go through, each as it came") {
  std::minstd_rand random(11);
  for (unsigned round = 0; round < 20'000; ++round) {
    CAPTURE(round);
    Rig rig;
    Bytes frame = segment(1000, bytes_of(random() / 64 % 100, round));
    for (unsigned n = 1 + random() / 64 % 3; n > 0; --n)
      frame[random() / 64 % frame.size()] = static_cast<uint8_t>(random() / 64);
    if (random() / 64 % 4 == 0) frame.resize(random() / 64 % (frame.size() + 40));
    rig.add(segment(900, bytes_of(100, round)));
    rig.add(frame);
    rig.coalescer.flush();
    REQUIRE(!rig.out.empty());
    if (rig.out.size() == 1)
      CHECK(read_tcp(rig.out[0]));
    else
      CHECK(rig.out[1] == frame);
  }
}
