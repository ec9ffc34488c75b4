#include "ip.h"

#include "ring.h"

enum { kTypeIp = 0x0800, kTypeArp = 0x0806, kArpBytes = 28, kArpRequest = 1, kArpReply = 2 };
enum { kProtocolIcmp = 1, kEchoRequest = 8, kTimeToLive = 64 };
enum { kDontFragment = 0x4000, kFragmentBits = 0x3fff };

uint32_t ip_address;
static const struct Nic* nic;

static uint64_t add_words(const void* data, size_t count) {
  const uint8_t* p = data;
  uint64_t sum = 0;
  for (; count >= 16; count -= 16, p += 16) {
    const uint32_t* w = (const uint32_t*)p;
    sum += (uint64_t)w[0] + w[1] + w[2] + w[3];
  }
  for (; count >= 2; count -= 2, p += 2) sum += *(const uint16_t*)p;
  return count ? sum + *p : sum;
}

// In the bytes' own order, as it is stored.
static uint16_t fold(uint64_t sum) {
  uint32_t half = (uint32_t)sum + (uint32_t)(sum >> 32);
  half += half < (uint32_t)sum;
  half = (half & 0xffff) + (half >> 16);
  half = (half & 0xffff) + (half >> 16);
  return (uint16_t)~half;
}

static uint16_t swap(uint16_t v) { return (uint16_t)(v << 8 | v >> 8); }

uint16_t ip_checksum(const void* data, size_t count) { return swap(fold(add_words(data, count))); }

uint16_t ip_tcp_checksum(uint32_t from, uint32_t to, const void* segment, size_t count) {
  uint8_t pseudo[12];
  store32(pseudo, from);
  store32(pseudo + 4, to);
  store16(pseudo + 8, kProtocolTcp);
  store16(pseudo + 10, (uint16_t)count);
  return swap(fold(add_words(pseudo, sizeof pseudo) + add_words(segment, count)));
}

// ---- frames out ----
static void ethernet_header(uint8_t* frame, const uint8_t* to, uint16_t type) {
  memcpy(frame, to, kMacBytes);
  memcpy(frame + kMacBytes, nic->mac, kMacBytes);
  store16(frame + 2 * kMacBytes, type);
}

static void arp_send(uint16_t operation, const uint8_t* to_mac, uint32_t to_ip) {
  static const uint8_t kHead[] = {0, 1, kTypeIp >> 8, kTypeIp & 255, kMacBytes, 4};
  uint8_t* frame = nic->frame();
  if (!frame) return;
  ethernet_header(frame, to_mac, kTypeArp);
  uint8_t* arp = frame + kEthernetHeader;
  memcpy(arp, kHead, sizeof kHead);
  store16(arp + 6, operation);
  memcpy(arp + 8, nic->mac, kMacBytes);
  store32(arp + 14, ip_address);
  memcpy(arp + 18, to_mac, kMacBytes);
  store32(arp + 24, to_ip);
  nic->transmit(kEthernetHeader + kArpBytes);
}

uint8_t* ip_payload(void) {
  uint8_t* frame = nic->frame();
  return frame ? frame + kEthernetHeader + kIpHeader : NULL;
}

void ip_send(const struct Peer* to, uint8_t protocol, size_t payload_bytes) {
  static uint16_t identification;
  uint8_t* frame = nic->frame();
  ethernet_header(frame, to->mac, kTypeIp);
  uint8_t* ip = frame + kEthernetHeader;
  ip[0] = 0x45;
  ip[1] = 0;
  store16(ip + 2, (uint16_t)(kIpHeader + payload_bytes));
  store16(ip + 4, ++identification);
  store16(ip + 6, kDontFragment);
  ip[8] = kTimeToLive;
  ip[9] = protocol;
  store16(ip + 10, 0);
  store32(ip + 12, ip_address);
  store32(ip + 16, to->ip);
  store16(ip + 10, ip_checksum(ip, kIpHeader));
  nic->transmit(kEthernetHeader + kIpHeader + payload_bytes);
}

// ---- frames in ----
static void arp_input(const uint8_t* arp, size_t count) {
  if (count < kArpBytes || load16(arp) != 1 || load16(arp + 2) != kTypeIp || arp[4] != kMacBytes || arp[5] != 4) return;
  if (load16(arp + 6) == kArpRequest && load32(arp + 24) == ip_address) arp_send(kArpReply, arp + 8, load32(arp + 14));
}

static void icmp_input(const struct Peer* from, const uint8_t* message, size_t count) {
  if (count < 8 || message[0] != kEchoRequest || message[1] != 0 || ip_checksum(message, count) != 0) return;
  uint8_t* reply = ip_payload();
  if (!reply) return;
  copy_bytes(reply, message, count);
  reply[0] = 0;
  store16(reply + 2, 0);
  store16(reply + 2, ip_checksum(reply, count));
  ip_send(from, kProtocolIcmp, count);
}

static bool is_host(uint32_t ip) { return ip >> 28 < 0xe && ip >> 24 != 0 && ip >> 24 != 127 && ip != ip_address; }

void ip_input(const uint8_t* frame, size_t length) {
  if (length < kEthernetHeader || length > kFrameLimit) return;
  const uint8_t* data = frame + kEthernetHeader;
  size_t count = length - kEthernetHeader;
  if (load16(frame + 2 * kMacBytes) == kTypeArp) return arp_input(data, count);
  if (load16(frame + 2 * kMacBytes) != kTypeIp || memcmp(frame, nic->mac, kMacBytes) != 0 || (frame[kMacBytes] & 1))
    return;
  if (count < kIpHeader || data[0] >> 4 != 4) return;
  const size_t header = 4u * (data[0] & 15), total = load16(data + 2);
  if (header < kIpHeader || total < header || total > count || ip_checksum(data, header) != 0) return;
  if ((load16(data + 6) & kFragmentBits) || load32(data + 16) != ip_address) return;
  struct Peer from = {.ip = load32(data + 12)};
  if (!is_host(from.ip)) return;
  memcpy(from.mac, frame + kMacBytes, kMacBytes);
  if (data[9] == kProtocolIcmp) icmp_input(&from, data + header, total - header);
  if (data[9] == kProtocolTcp) tcp_input(&from, data + header, total - header);
}

void ip_start(const struct Nic* card, uint32_t address) {
  static const uint8_t kEveryone[kMacBytes] = {255, 255, 255, 255, 255, 255};
  nic = card;
  ip_address = address;
  arp_send(kArpRequest, kEveryone, address);
  nic->flush();
}
