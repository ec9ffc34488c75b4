// A guest made of raw frames, at the end of a back end: it answers ARP, and has as much of UDP and TCP as a test needs.
// It waits for frames, not for time; a deadline only ends a test that has failed.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>

#include "devices/host_net.h"
#include "tests/net_frames.h"

namespace understudy::net_test {

constexpr std::chrono::seconds kPatience{20};

// Where a back end's thread puts what it received.
class Inbox {
 public:
  explicit Inbox(size_t capacity = 4096) : capacity_(capacity) {}
  devices::FrameReceiver receiver() {
    return [this](View frame) { return put(frame); };
  }
  bool put(View frame) {
    const std::lock_guard lock(mutex_);
    if (frames_.size() >= capacity_) return false;
    frames_.emplace_back(frame.begin(), frame.end());
    arrived_.notify_all();
    return true;
  }
  std::optional<Bytes> take(std::chrono::steady_clock::time_point until) {
    std::unique_lock lock(mutex_);
    if (!arrived_.wait_until(lock, until, [this] { return !frames_.empty(); })) return {};
    Bytes frame = std::move(frames_.front());
    frames_.pop_front();
    return frame;
  }
  std::optional<Bytes> take() { return take(std::chrono::steady_clock::now() + kPatience); }

 private:
  size_t capacity_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Bytes> frames_;
};

class FakeGuest {
 public:
  static constexpr Mac kMac{0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

  FakeGuest(devices::HostNetwork& net, Inbox& inbox, uint32_t ip = ip4(10, 0, 2, 15),
            uint32_t gateway = ip4(10, 0, 2, 2))
      : net_(net), inbox_(inbox), ip_(ip), gateway_(gateway) {}

  // The first frame that `match` makes something of; others are dropped, but ARP is answered. Nothing at the deadline.
  template <typename Match>
  auto wait(Match match, std::chrono::steady_clock::duration patience = kPatience) -> decltype(match(View{})) {
    const auto until = std::chrono::steady_clock::now() + patience;
    while (const auto frame = inbox_.take(until)) {
      if (const auto arp = read_arp(*frame); arp && arp->operation == 1 && arp->target_ip == ip_)
        net_.send(arp_frame(arp->sender, {2, kMac, ip_, arp->sender_ip}, arp->sender));
      if (auto found = match(View(*frame))) return found;
    }
    return {};
  }

  std::optional<Mac> arp(uint32_t target) {
    net_.send(arp_frame(kBroadcast, {1, kMac, ip_, target}));
    return wait([&](View f) -> std::optional<Mac> {
      const auto reply = read_arp(f);
      if (!reply || reply->operation != 2 || reply->sender_ip != target) return {};
      return reply->sender;
    });
  }
  void send(const Ip& packet) {
    if (gateway_mac_ == Mac{}) gateway_mac_ = arp(gateway_).value_or(kBroadcast);
    net_.send(ethernet(gateway_mac_, kMac, 0x0800, ip_packet(packet)));
  }
  void send_udp(unsigned port, uint32_t target, unsigned target_port, View payload) {
    send(udp_packet({ip_, target, port, target_port, Bytes(payload.begin(), payload.end())}));
  }
  std::optional<Udp> wait_udp(unsigned port) {
    return wait([&](View f) -> std::optional<Udp> {
      auto udp = read_udp(f);
      if (!udp || udp->target_port != port) return {};
      return udp;
    });
  }
  // Whether an echo comes back with what was sent.
  bool ping(uint32_t target) {
    Bytes icmp;
    put16(icmp, 0x0800), put16(icmp, 0), put16(icmp, 0x4242), put16(icmp, 7), put(icmp, text("twelve bytes"));
    const unsigned sum = checksum({icmp});
    icmp[2] = static_cast<uint8_t>(sum >> 8), icmp[3] = static_cast<uint8_t>(sum);
    send({kIcmp, ip_, target, icmp});
    icmp[0] = 0;
    return wait([&](View f) -> std::optional<bool> {
             const auto ip = read_ip(f);
             if (!ip || ip->protocol != kIcmp || ip->source != target || ip->payload.size() != icmp.size()) return {};
             if (checksum({ip->payload}) != 0 || ip->payload[0] != 0) return {};
             return std::equal(icmp.begin() + 4, icmp.end(), ip->payload.begin() + 4);
           })
        .value_or(false);
  }
  uint32_t ip() const { return ip_; }

 private:
  devices::HostNetwork& net_;
  Inbox& inbox_;
  uint32_t ip_, gateway_;
  Mac gateway_mac_{};
};

// One TCP connection of a FakeGuest. In order, one segment at a time.
class FakeTcp {
 public:
  FakeTcp(FakeGuest& guest, unsigned port) : guest_(guest), port_(port) {}

  // SYN to the established state; false when it was refused.
  bool connect(uint32_t target, unsigned target_port) {
    peer_ = target, peer_port_ = target_port;
    emit(kSyn, {});
    const auto reply = segment();
    if (!reply || (reply->flags & (kSyn | kAck | kRst)) != (kSyn | kAck) || reply->acknowledged != sequence_ + 1)
      return false;
    ++sequence_;
    expected_ = reply->sequence + 1;
    emit(kAck, {});
    return true;
  }
  // Waits for somebody who connects to our port.
  bool accept() {
    const auto syn = guest_.wait([&](View f) -> std::optional<Tcp> {
      auto tcp = read_tcp(f);
      if (!tcp || tcp->target_port != port_ || tcp->flags != kSyn) return {};
      return tcp;
    });
    if (!syn) return false;
    peer_ = syn->source, peer_port_ = syn->source_port;
    expected_ = syn->sequence + 1;
    emit(kSyn | kAck, {});
    ++sequence_;
    const auto reply = segment();
    if (!reply || (reply->flags & kAck) == 0 || reply->acknowledged != sequence_) return false;
    take(*reply);
    return true;
  }
  void send(View bytes) {
    emit(kAck | kPsh, bytes);
    sequence_ += static_cast<uint32_t>(bytes.size());
  }
  // Until `size` bytes have come, or the other end has closed.
  Bytes receive(size_t size) {
    while (received_.size() < size && !closed_) {
      const auto next = segment();
      if (!next || (next->flags & kRst) != 0) break;
      take(*next);
      if (!next->payload.empty() || (next->flags & kFin) != 0) emit(kAck, {});
    }
    Bytes got(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(std::min(size, received_.size())));
    received_.erase(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(got.size()));
    return got;
  }
  bool closed() const { return closed_; }
  void close() {
    emit(kFin | kAck, {});
    ++sequence_;
  }

 private:
  void emit(unsigned flags, View bytes) {
    guest_.send(tcp_packet(
        {guest_.ip(), peer_, port_, peer_port_, sequence_, expected_, flags, Bytes(bytes.begin(), bytes.end())}));
  }
  std::optional<Tcp> segment() {
    return guest_.wait([&](View f) -> std::optional<Tcp> {
      auto tcp = read_tcp(f);
      if (!tcp || tcp->target_port != port_ || tcp->source != peer_ || tcp->source_port != peer_port_) return {};
      return tcp;
    });
  }
  // Data and FIN of a segment that is the next one.
  void take(const Tcp& tcp) {
    if (tcp.sequence != expected_) return;
    received_.insert(received_.end(), tcp.payload.begin(), tcp.payload.end());
    expected_ += static_cast<uint32_t>(tcp.payload.size());
    if ((tcp.flags & kFin) != 0) ++expected_, closed_ = true;
  }

  FakeGuest& guest_;
  unsigned port_;
  uint32_t peer_ = 0;
  unsigned peer_port_ = 0;
  uint32_t sequence_ = 1000, expected_ = 0;
  Bytes received_;
  bool closed_ = false;
};

}  // namespace understudy::net_test
