// Ethernet frames as tests build and read them: ARP, IPv4, ICMP, UDP, TCP. Readers check lengths and checksums and give
// nothing for a frame that is something else.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace understudy::net_test {

using Bytes = std::vector<uint8_t>;
using View = std::span<const uint8_t>;
using Mac = std::array<uint8_t, 6>;

constexpr Mac kBroadcast{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
constexpr uint32_t ip4(unsigned a, unsigned b, unsigned c, unsigned d) { return a << 24 | b << 16 | c << 8 | d; }

inline void put8(Bytes& to, unsigned value) { to.push_back(static_cast<uint8_t>(value)); }
inline void put16(Bytes& to, unsigned value) { put8(to, value >> 8), put8(to, value); }
inline void put32(Bytes& to, uint32_t value) { put16(to, value >> 16), put16(to, value & 0xffff); }
inline void put(Bytes& to, View bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }
inline unsigned get16(View from, size_t at) { return static_cast<unsigned>(from[at]) << 8 | from[at + 1]; }
inline uint32_t get32(View from, size_t at) { return get16(from, at) << 16 | get16(from, at + 2); }
inline Bytes text(std::string_view s) { return {s.begin(), s.end()}; }

// The Internet checksum (RFC 1071) of `parts` one after the other, each of even length but the last.
inline unsigned checksum(std::initializer_list<View> parts) {
  uint32_t sum = 0;
  for (const View part : parts)
    for (size_t i = 0; i < part.size(); ++i) sum += i % 2 == 0 ? part[i] << 8 : part[i];
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

inline Bytes ethernet(const Mac& to, const Mac& from, unsigned type, View payload) {
  Bytes f;
  put(f, to), put(f, from), put16(f, type), put(f, payload);
  return f;
}

struct Arp {
  unsigned operation;
  Mac sender;
  uint32_t sender_ip;
  uint32_t target_ip;
};
inline Bytes arp_frame(const Mac& to, const Arp& arp, const Mac& target = {}) {
  Bytes p;
  put16(p, 1), put16(p, 0x0800), put8(p, 6), put8(p, 4), put16(p, arp.operation);
  put(p, arp.sender), put32(p, arp.sender_ip), put(p, target), put32(p, arp.target_ip);
  return ethernet(to, arp.sender, 0x0806, p);
}
inline std::optional<Arp> read_arp(View f) {
  if (f.size() < 42 || get16(f, 12) != 0x0806 || get16(f, 16) != 0x0800) return {};
  Arp arp{get16(f, 20), {}, get32(f, 28), get32(f, 38)};
  std::copy_n(f.begin() + 22, 6, arp.sender.begin());
  return arp;
}

constexpr unsigned kIcmp = 1, kTcp = 6, kUdp = 17;
struct Ip {
  unsigned protocol;
  uint32_t source, target;
  Bytes payload;
};
inline Bytes ip_packet(const Ip& ip) {
  Bytes p;
  put16(p, 0x4500), put16(p, static_cast<unsigned>(20 + ip.payload.size())), put16(p, 1), put16(p, 0);
  put8(p, 64), put8(p, ip.protocol), put16(p, 0), put32(p, ip.source), put32(p, ip.target);
  const unsigned sum = checksum({p});
  p[10] = static_cast<uint8_t>(sum >> 8), p[11] = static_cast<uint8_t>(sum);
  put(p, ip.payload);
  return p;
}
inline std::optional<Ip> read_ip(View f) {
  if (f.size() < 34 || get16(f, 12) != 0x0800 || f[14] != 0x45 || checksum({f.subspan(14, 20)}) != 0) return {};
  const size_t length = get16(f, 16);
  if (length < 20 || f.size() < 14 + length) return {};
  const View payload = f.subspan(34, length - 20);
  return Ip{f[23], get32(f, 26), get32(f, 30), Bytes(payload.begin(), payload.end())};
}
inline unsigned pseudo_checksum(const Ip& ip, View segment) {
  Bytes pseudo;
  put32(pseudo, ip.source), put32(pseudo, ip.target), put16(pseudo, ip.protocol);
  put16(pseudo, static_cast<unsigned>(segment.size()));
  return checksum({pseudo, segment});
}

struct Udp {
  uint32_t source, target;
  unsigned source_port, target_port;
  Bytes payload;
};
inline Ip udp_packet(const Udp& udp) {
  Ip ip{kUdp, udp.source, udp.target, {}};
  put16(ip.payload, udp.source_port), put16(ip.payload, udp.target_port);
  put16(ip.payload, static_cast<unsigned>(8 + udp.payload.size())), put16(ip.payload, 0), put(ip.payload, udp.payload);
  const unsigned sum = pseudo_checksum(ip, ip.payload);
  ip.payload[6] = static_cast<uint8_t>(sum >> 8), ip.payload[7] = static_cast<uint8_t>(sum);
  return ip;
}
inline std::optional<Udp> read_udp(View f) {
  const auto ip = read_ip(f);
  if (!ip || ip->protocol != kUdp || ip->payload.size() < 8 || get16(ip->payload, 4) != ip->payload.size()) return {};
  if (get16(ip->payload, 6) != 0 && pseudo_checksum(*ip, ip->payload) != 0) return {};
  const View p = ip->payload;
  return Udp{ip->source, ip->target, get16(p, 0), get16(p, 2), Bytes(p.begin() + 8, p.end())};
}

constexpr unsigned kFin = 1, kSyn = 2, kRst = 4, kPsh = 8, kAck = 16;
struct Tcp {
  uint32_t source, target;
  unsigned source_port, target_port;
  uint32_t sequence, acknowledged;
  unsigned flags;
  Bytes payload;
};
inline Ip tcp_packet(const Tcp& tcp) {
  Ip ip{kTcp, tcp.source, tcp.target, {}};
  Bytes& p = ip.payload;
  put16(p, tcp.source_port), put16(p, tcp.target_port), put32(p, tcp.sequence), put32(p, tcp.acknowledged);
  put16(p, 0x5000 | tcp.flags), put16(p, 32768), put32(p, 0), put(p, tcp.payload);
  const unsigned sum = pseudo_checksum(ip, p);
  p[16] = static_cast<uint8_t>(sum >> 8), p[17] = static_cast<uint8_t>(sum);
  return ip;
}
inline std::optional<Tcp> read_tcp(View f) {
  const auto ip = read_ip(f);
  if (!ip || ip->protocol != kTcp || ip->payload.size() < 20 || pseudo_checksum(*ip, ip->payload) != 0) return {};
  const View p = ip->payload;
  const size_t header = size_t{4} * (p[12] >> 4);
  if (header < 20 || header > p.size()) return {};
  return Tcp{ip->source,  ip->target,  get16(p, 0), get16(p, 2),
             get32(p, 4), get32(p, 8), p[13],       Bytes(p.begin() + static_cast<std::ptrdiff_t>(header), p.end())};
}

}  // namespace understudy::net_test
