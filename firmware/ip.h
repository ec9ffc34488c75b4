// A host on Ethernet with one fixed IPv4 address: ARP (RFC 826), IPv4 without options of its own and without fragments
// (RFC 791), echo (RFC 792), and a door for TCP. It only ever answers: a reply goes back to the hardware address that
// the question came from, so no route, gateway or ARP table is needed. What does not check out is dropped silently.
#pragma once
#include "nic.h"

enum {
  kProtocolTcp = 6,
  kIpHeader = 20,
  kEthernetHeader = 14,
  kIpPayloadLimit = kFrameLimit - kEthernetHeader - kIpHeader
};

static inline uint16_t load16(const uint8_t* p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline uint32_t load32(const uint8_t* p) { return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }
static inline void store16(uint8_t* p, uint16_t v) { p[0] = (uint8_t)(v >> 8), p[1] = (uint8_t)v; }
static inline void store32(uint8_t* p, uint32_t v) { store16(p, (uint16_t)(v >> 16)), store16(p + 2, (uint16_t)v); }

struct Peer {
  uint32_t ip;
  uint8_t mac[kMacBytes];
};

extern uint32_t ip_address;  // in the host's byte order

void ip_start(const struct Nic* nic, uint32_t address);  // says so to everyone on the wire
void ip_input(const uint8_t* frame, size_t length);
// Where the next datagram's payload goes, up to kIpPayloadLimit bytes; null while the card is full.
uint8_t* ip_payload(void);
void ip_send(const struct Peer* to, uint8_t protocol, size_t payload_bytes);
// The Internet checksum (RFC 1071) over the bytes and, for TCP, the pseudo-header; 0 if the sum inside is right.
uint16_t ip_checksum(const void* data, size_t count);
uint16_t ip_tcp_checksum(uint32_t from, uint32_t to, const void* segment, size_t count);

// Provided by the TCP side.
void tcp_input(const struct Peer* from, const uint8_t* segment, size_t count);
