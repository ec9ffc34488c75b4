#include "devices/segment_coalescer.h"

#include <algorithm>
#include <cstring>

#include "devices/big_endian.h"
#include "devices/ethernet.h"

namespace understudy::devices {

namespace {

// RFC 791, section 3.1, and RFC 9293, section 3.1.
constexpr size_t kIp = kEthernetHeader, kIpHeader = 20, kTcp = kIp + kIpHeader, kTcpHeader = 20;
constexpr size_t kIpLength = kIp + 2, kIpFragment = kIp + 6, kIpChecksum = kIp + 10, kIpAddresses = kIp + 12;
constexpr size_t kTcpSequence = kTcp + 4, kTcpAck = kTcp + 8, kTcpOffset = kTcp + 12, kTcpFlags = kTcp + 13,
                 kTcpWindow = kTcp + 14, kTcpChecksum = kTcp + 16, kTcpUrgent = kTcp + 18;
constexpr uint8_t kProtocolTcp = 6, kPush = 0x08, kAck = 0x10;
constexpr uint16_t kDontFragment = 0x4000;

// The sum of RFC 1071, which does not care about byte order, of the host's.
uint64_t sum_of(std::span<const uint8_t> bytes, uint64_t sum = 0) {
  size_t at = 0;
  for (; at + 4 <= bytes.size(); at += 4) {
    uint32_t word;
    std::memcpy(&word, &bytes[at], sizeof word);
    sum += word;
  }
  uint8_t rest[4] = {};
  std::copy(bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.end(), rest);
  uint32_t word;
  std::memcpy(&word, rest, sizeof word);
  return sum + word;
}

uint16_t folded(uint64_t sum) {
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

uint16_t ip_sum(std::span<const uint8_t> frame) { return folded(sum_of(frame.subspan(kIp, kIpHeader))); }

uint16_t tcp_sum(std::span<const uint8_t> frame) {
  const size_t length = frame.size() - kTcp;
  const uint8_t pseudo[4] = {0, kProtocolTcp, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)};
  return folded(sum_of(frame.subspan(kTcp), sum_of(frame.subspan(kIpAddresses, 8), sum_of(pseudo))));
}

void put_complement(uint8_t* to, uint16_t sum) {
  sum = static_cast<uint16_t>(~sum);
  std::memcpy(to, &sum, sizeof sum);
}

size_t data_at(std::span<const uint8_t> frame) { return kTcp + size_t{4} * (frame[kTcpOffset] >> 4); }

// A segment that can begin or continue a long one.
bool is_plain_data(std::span<const uint8_t> f) {
  if (f.size() <= kTcp + kTcpHeader || be16(&f[12]) != 0x0800 || f[kIp] != 0x45) return false;
  if (be16(&f[kIpLength]) != f.size() - kIp || (be16(&f[kIpFragment]) & ~kDontFragment) != 0) return false;
  if (f[kIp + 9] != kProtocolTcp || (f[kTcpOffset] & 0x0f) != 0 || be16(&f[kTcpUrgent]) != 0) return false;
  if ((f[kTcpFlags] | kPush) != (kAck | kPush)) return false;
  if (data_at(f) < kTcp + kTcpHeader || data_at(f) >= f.size()) return false;
  return ip_sum(f) == 0xffff && tcp_sum(f) == 0xffff;
}

bool equal(std::span<const uint8_t> a, std::span<const uint8_t> b, size_t from, size_t to) {
  return std::equal(a.begin() + static_cast<std::ptrdiff_t>(from), a.begin() + static_cast<std::ptrdiff_t>(to),
                    b.begin() + static_cast<std::ptrdiff_t>(from));
}

}  // namespace

// Of two that are plain data.
bool SegmentCoalescer::follows(std::span<const uint8_t> frame) const {
  const size_t data = data_at(frame);
  if (data != data_at(pending_) || pending_.size() + frame.size() - data > kMaxBytes) return false;
  const uint32_t next = be32(&pending_[kTcpSequence]) + static_cast<uint32_t>(pending_.size() - data);
  // Ethernet addresses, type of service; time to live, addresses, ports; acknowledgement and offset; options.
  return be32(&frame[kTcpSequence]) == next && equal(pending_, frame, 0, kIpLength) &&
         equal(pending_, frame, kIpFragment, kIpChecksum) && equal(pending_, frame, kIpAddresses, kTcpSequence) &&
         equal(pending_, frame, kTcpAck, kTcpFlags) && equal(pending_, frame, kTcp + kTcpHeader, data);
}

void SegmentCoalescer::add(std::span<const uint8_t> frame) {
  if (!is_plain_data(frame)) {
    flush();
    return sink_(frame);
  }
  if (pending_.empty() || !follows(frame)) {
    flush();
    pending_.assign(frame.begin(), frame.end());
    return;
  }
  pending_.insert(pending_.end(), frame.begin() + static_cast<std::ptrdiff_t>(data_at(frame)), frame.end());
  pending_[kTcpFlags] |= frame[kTcpFlags];
  std::copy_n(&frame[kTcpWindow], 2, &pending_[kTcpWindow]);
  has_grown_ = true;
}

void SegmentCoalescer::flush() {
  if (pending_.empty()) return;
  if (has_grown_) {
    put16(&pending_[kIpLength], static_cast<uint32_t>(pending_.size() - kIp));
    put16(&pending_[kIpChecksum], 0);
    put_complement(&pending_[kIpChecksum], ip_sum(pending_));
    put16(&pending_[kTcpChecksum], 0);
    put_complement(&pending_[kTcpChecksum], tcp_sum(pending_));
  }
  sink_(pending_);
  pending_.clear();
  has_grown_ = false;
}

}  // namespace understudy::devices
