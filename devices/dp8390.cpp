#include "devices/dp8390.h"

#include <algorithm>

#include "devices/ethernet.h"

namespace understudy::devices {

namespace {

constexpr uint64_t kNsPerByte = 800;  // 10 Mbit/s

// Command register.
constexpr uint8_t kStop = 0x01;
constexpr uint8_t kStart = 0x02;
constexpr uint8_t kTransmit = 0x04;
constexpr unsigned kRemoteShift = 3;
constexpr uint8_t kRemoteMask = 0x38;
constexpr uint8_t kRemoteAbort = 0x20;
constexpr unsigned kRemoteNone = 0;
constexpr unsigned kRemoteRead = 1;
constexpr unsigned kRemoteWrite = 2;
constexpr unsigned kRemoteSend = 3;

// Interrupt status and mask.
constexpr uint8_t kReceived = 0x01;
constexpr uint8_t kTransmitted = 0x02;
constexpr uint8_t kReceiveError = 0x04;
constexpr uint8_t kOverwrite = 0x10;
constexpr uint8_t kCounterHigh = 0x20;
constexpr uint8_t kRemoteComplete = 0x40;
constexpr uint8_t kResetStatus = 0x80;

// Receive status.
constexpr uint8_t kRsrReceived = 0x01;
constexpr uint8_t kRsrCrcError = 0x02;
constexpr uint8_t kRsrMissed = 0x10;
constexpr uint8_t kRsrGroup = 0x20;
constexpr uint8_t kRsrDisabled = 0x40;

// Receive configuration.
constexpr uint8_t kAcceptBroadcast = 0x04;
constexpr uint8_t kAcceptMulticast = 0x08;
constexpr uint8_t kPromiscuous = 0x10;
constexpr uint8_t kMonitor = 0x20;

// Transmit configuration and status.
constexpr uint8_t kInhibitCrc = 0x01;
constexpr uint8_t kLoopbackMask = 0x06;
constexpr uint8_t kTsrTransmitted = 0x01;
constexpr uint8_t kTsrCarrierLost = 0x10;
constexpr uint8_t kTsrNoHeartbeat = 0x40;

// Data configuration.
constexpr uint8_t kWordTransfer = 0x01;
constexpr uint8_t kByteOrder = 0x02;
constexpr uint8_t kLongAddress = 0x04;

enum Counter : unsigned { kAlignmentErrors, kCrcErrors, kMissedPackets };
constexpr uint8_t kCounterLimit = 0xc0;

// What is longer than any frame, loopback's in words included, goes nowhere but takes its time.
constexpr size_t kLongestFetch = 4096;

constexpr unsigned kPageBytes = 256;
constexpr unsigned kHeaderBytes = 4;

uint8_t low(uint16_t value) { return static_cast<uint8_t>(value); }
uint8_t high(uint16_t value) { return static_cast<uint8_t>(value >> 8); }
void set_low(uint16_t& field, uint8_t value) { field = static_cast<uint16_t>((field & 0xff00) | value); }
void set_high(uint16_t& field, uint8_t value) { field = static_cast<uint16_t>((field & 0x00ff) | value << 8); }

}  // namespace

Dp8390::Dp8390(const emu::Clock& clock, emu::EventQueue& events, const std::string& event_name, Card& card)
    : clock_(clock),
      events_(events),
      sent_event_(events.add(event_name, [this](uint64_t) { transmitted(); })),
      card_(card) {}

void Dp8390::power_on() {
  state_ = {};
  reset();
}

void Dp8390::reset() {
  events_.cancel(sent_event_);
  state_.command = static_cast<uint8_t>((state_.command & ~(kTransmit | kStart | kRemoteMask)) | kStop | kRemoteAbort);
  state_.started = false;
  state_.remote_left = 0;
  state_.sending.clear();
  state_.has_next = false;
  state_.next.clear();
  state_.interrupt_status = kResetStatus;
  state_.interrupt_mask = 0;
  state_.data_config &= static_cast<uint8_t>(~kLongAddress);
  state_.transmit_config &= static_cast<uint8_t>(~kLoopbackMask);
  update_interrupt();
}

// --- registers

uint8_t Dp8390::read(unsigned reg) {
  if (reg == 0) return state_.command;
  switch (page()) {
    case 0:
      return read_page0(reg);
    case 1:
      if (reg <= 6) return state_.physical[reg - 1];
      if (reg == 7) return state_.current;
      return reg < 16 ? state_.multicast[reg - 8] : 0xff;
    case 2:
      return read_page2(reg);
    default:
      return 0;
  }
}

uint8_t Dp8390::read_page0(unsigned reg) {
  switch (reg) {
    case 1:
      return low(state_.local_address);
    case 2:
      return high(state_.local_address);
    case 3:
      return state_.boundary;
    case 4:
      return state_.transmit_status;
    case 6:
      return read_fifo();
    case 7:
      return state_.interrupt_status;
    case 8:
      return low(state_.remote_address);
    case 9:
      return high(state_.remote_address);
    case 12:
      return state_.receive_status;
    case 13:
    case 14:
    case 15:
      return take_counter(reg - 13);
    default:
      return 0;  // NCR: no collisions; reserved
  }
}

// Bits that do not exist read as ones (RTL8029AS, page 2).
uint8_t Dp8390::read_page2(unsigned reg) const {
  switch (reg) {
    case 1:
      return state_.page_start;
    case 2:
      return state_.page_stop;
    case 3:
      return state_.remote_next_packet;
    case 4:
      return state_.transmit_page;
    case 5:
      return state_.current;
    case 12:
      return state_.receive_config | 0xc0;
    case 13:
      return state_.transmit_config | 0xe0;
    case 14:
      return state_.data_config | 0x80;
    case 15:
      return state_.interrupt_mask | 0x80;
    default:
      return 0;
  }
}

void Dp8390::write(unsigned reg, uint8_t value) {
  if (reg == 0) return write_command(value);
  switch (page()) {
    case 0:
      return write_page0(reg, value);
    case 1:
      if (reg <= 6)
        state_.physical[reg - 1] = value;
      else if (reg == 7)
        state_.current = value;
      else if (reg < 16)
        state_.multicast[reg - 8] = value;
      return;
    case 2:
      if (reg == 3) state_.remote_next_packet = value;
      return;
    default:
      return;
  }
}

void Dp8390::write_page0(unsigned reg, uint8_t value) {
  switch (reg) {
    case 1:
      state_.page_start = value;
      return;
    case 2:
      state_.page_stop = value;
      return;
    case 3:
      state_.boundary = value;
      // The ring has room again: an overflow's share in RST goes.
      if (state_.started) state_.interrupt_status &= static_cast<uint8_t>(~kResetStatus);
      return;
    case 4:
      state_.transmit_page = value;
      state_.renewed = true;
      return;
    case 5:
      set_low(state_.transmit_count, value);
      state_.renewed = true;
      return;
    case 6:
      set_high(state_.transmit_count, value);
      state_.renewed = true;
      return;
    case 7:
      state_.interrupt_status &= static_cast<uint8_t>(~value | kResetStatus);
      return update_interrupt();
    case 8:
      return set_low(state_.remote_start, value);
    case 9:
      return set_high(state_.remote_start, value);
    case 10:
      return set_low(state_.remote_count, value);
    case 11:
      return set_high(state_.remote_count, value);
    case 12:
      state_.receive_config = value & 0x3f;
      return;
    case 13:
      state_.transmit_config = value & 0x1f;
      return;
    case 14:
      state_.data_config = value & 0x7f;
      return;
    case 15:
      state_.interrupt_mask = value & 0x7f;
      return update_interrupt();
    default:
      return;
  }
}

void Dp8390::write_command(uint8_t value) {
  const bool sending = (state_.command & kTransmit) != 0;
  // TXP is cleared by the end of a transmission only, and stays off when the command stops the controller.
  state_.command = static_cast<uint8_t>(value & ~kTransmit) | (sending ? kTransmit : 0);
  if ((value & kStop) != 0) {
    state_.started = false;
    state_.interrupt_status |= kResetStatus;
  } else {
    if ((value & kStart) != 0) {
      state_.started = true;
      state_.interrupt_status &= static_cast<uint8_t>(~kResetStatus);
    }
    if ((value & kTransmit) != 0 && state_.started) command_transmission(sending);
  }
  if ((value & kRemoteAbort) != 0)
    state_.remote_left = 0;
  else if (const unsigned direction = (value & kRemoteMask) >> kRemoteShift; direction != kRemoteNone)
    start_remote(direction);
}

void Dp8390::command_transmission(bool busy) {
  if (!busy) {
    state_.sending_count = state_.transmit_count;
    state_.sending = fetch();
    start_sending();
  } else if (state_.renewed && !state_.has_next) {
    state_.has_next = true;
    state_.next_count = state_.transmit_count;
    state_.next = fetch();
  }
  state_.renewed = false;
}

uint8_t Dp8390::take_counter(unsigned counter) {
  const uint8_t value = state_.counters[counter];
  state_.counters[counter] = 0;
  return value;
}

// A tally counter stops at 192 and asks to be read from 128 on (datasheet, "Network Tally Counter Registers").
void Dp8390::tally(unsigned counter) {
  uint8_t& value = state_.counters[counter];
  if (value < kCounterLimit) ++value;
  if ((value & 0x80) != 0) raise(kCounterHigh);
}

void Dp8390::raise(uint8_t causes) {
  state_.interrupt_status |= causes;
  update_interrupt();
}

void Dp8390::update_interrupt() { card_.interrupt((state_.interrupt_status & state_.interrupt_mask & 0x7f) != 0); }

// --- remote DMA

// Send Packet is a remote read whose address and length come from the packet at the boundary.
void Dp8390::start_remote(unsigned direction) {
  state_.remote_direction = static_cast<uint8_t>(direction);
  state_.remote_address = state_.remote_start;
  state_.remote_left = state_.remote_count;
  if (direction == kRemoteSend) {
    const auto header = static_cast<uint16_t>(state_.boundary << 8);
    state_.remote_address = header;
    state_.remote_next_packet = card_.load(static_cast<uint16_t>(header + 1));
    state_.remote_left = static_cast<uint16_t>(card_.load(static_cast<uint16_t>(header + 2)) |
                                               card_.load(static_cast<uint16_t>(header + 3)) << 8);
  }
  if (state_.remote_left == 0) remote_done();
}

// One byte: the address follows the receive ring, and the last one ends the transfer.
void Dp8390::remote_moved() {
  ++state_.remote_address;
  if (state_.remote_address == static_cast<uint16_t>(state_.page_stop << 8))
    state_.remote_address = static_cast<uint16_t>(state_.page_start << 8);
  if (--state_.remote_left == 0) remote_done();
}

void Dp8390::remote_done() {
  if (state_.remote_direction == kRemoteSend) state_.boundary = state_.remote_next_packet;
  raise(kRemoteComplete);
}

uint32_t Dp8390::data_read(unsigned size) {
  const unsigned width = (state_.data_config & kWordTransfer) != 0 ? 2 : 1;
  uint32_t value = 0;
  for (unsigned at = 0; at < size; at += width)
    for (unsigned i = 0; i < width; ++i) {
      uint32_t byte = 0xff;
      if (state_.remote_left != 0 && state_.remote_direction != kRemoteWrite) {
        byte = card_.load(state_.remote_address);
        remote_moved();
      }
      if (at + i < size) value |= byte << (8 * (at + i));
    }
  return value;
}

void Dp8390::data_write(unsigned size, uint32_t value) {
  const unsigned width = (state_.data_config & kWordTransfer) != 0 ? 2 : 1;
  for (unsigned at = 0; at < size; at += width)
    for (unsigned i = 0; i < width; ++i) {
      if (state_.remote_left == 0 || state_.remote_direction != kRemoteWrite) return;
      card_.store(state_.remote_address, static_cast<uint8_t>(at + i < size ? value >> (8 * (at + i)) : 0));
      remote_moved();
    }
}

// --- reception

bool Dp8390::loopback() const { return (state_.transmit_config & kLoopbackMask) != 0; }

// Section 8, "Receive Configuration Register" and "Multicast Address Registers": the filter bit's number is the six
// most significant bits of the address's CRC, which the reflected CRC holds least significant and reversed.
bool Dp8390::accepts(std::span<const uint8_t> destination) const {
  destination = destination.first(6);
  if (!is_group_address(destination))
    return (state_.receive_config & kPromiscuous) != 0 || std::ranges::equal(destination, state_.physical);
  if (std::ranges::all_of(destination, [](uint8_t byte) { return byte == 0xff; }))
    return (state_.receive_config & kAcceptBroadcast) != 0;
  if ((state_.receive_config & kAcceptMulticast) == 0) return false;
  const uint32_t crc = ethernet_crc(destination);
  unsigned index = 0;
  for (unsigned bit = 0; bit < 6; ++bit) index = index << 1 | (crc >> bit & 1);
  return (state_.multicast[index / 8] >> index % 8 & 1) != 0;
}

void Dp8390::missed(uint8_t more_status) {
  state_.receive_status = kRsrMissed | more_status;
  tally(kMissedPackets);
}

uint8_t Dp8390::page_after(uint8_t page) const {
  const auto next = static_cast<uint8_t>(page + 1);
  return next == state_.page_stop ? state_.page_start : next;
}

// Buffers from CURR up to the boundary. CURR never catches up with the boundary by receiving, so the two are only equal
// when the driver has made them so, in an empty ring.
unsigned Dp8390::free_pages() const {
  const unsigned ring = state_.page_stop > state_.page_start ? state_.page_stop - state_.page_start : 0;
  if (state_.current < state_.boundary) return state_.boundary - state_.current;
  const unsigned used = state_.current - state_.boundary;
  return used < ring ? ring - used : 0;
}

// Section 7, "Packet Reception": a header of status, next packet and byte count, then the frame with its check
// sequence, over as many buffers as it takes; when they would reach the boundary the frame is dropped.
void Dp8390::receive(std::span<const uint8_t> frame) {
  if (!is_ethernet_frame(frame) || !state_.started || loopback() || !accepts(frame)) return;
  const uint8_t group = is_group_address(frame) ? kRsrGroup : 0;
  if ((state_.receive_config & kMonitor) != 0) return missed(group | kRsrDisabled);

  std::vector<uint8_t> packet(kHeaderBytes);
  packet.insert(packet.end(), frame.begin(), frame.end());
  packet.resize(kHeaderBytes + std::max(frame.size(), kEthernetMinFrame));
  const uint32_t check = ~ethernet_crc(std::span(packet).subspan(kHeaderBytes));
  for (unsigned i = 0; i < kEthernetCheckBytes; ++i) packet.push_back(static_cast<uint8_t>(check >> (8 * i)));

  const auto pages = static_cast<unsigned>((packet.size() + kPageBytes - 1) / kPageBytes);
  if (pages >= free_pages()) {
    missed(group);
    return raise(kOverwrite | kResetStatus);
  }
  uint8_t next = state_.current;
  for (unsigned i = 0; i < pages; ++i) next = page_after(next);
  state_.receive_status = kRsrReceived | group;
  const auto length = static_cast<uint16_t>(packet.size() - kHeaderBytes);
  packet[0] = state_.receive_status;
  packet[1] = next;
  packet[2] = low(length);
  packet[3] = high(length);
  uint8_t page = state_.current;
  for (size_t at = 0; at < packet.size(); ++at) {
    if (at != 0 && at % kPageBytes == 0) page = page_after(page);
    state_.local_address = static_cast<uint16_t>(page << 8 | at % kPageBytes);
    card_.store(state_.local_address, packet[at]);
  }
  state_.current = next;
  raise(kReceived);
}

// --- transmission

std::vector<uint8_t> Dp8390::fetch() const {
  std::vector<uint8_t> bytes(std::min<size_t>(state_.transmit_count, kLongestFetch));
  const auto start = static_cast<uint16_t>(state_.transmit_page << 8);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = card_.load(static_cast<uint16_t>(start + i));
  return bytes;
}

void Dp8390::start_sending() {
  state_.command |= kTransmit;
  state_.transmit_status = 0;
  events_.schedule(sent_event_, clock_.now_ns() + (state_.sending_count + kEthernetWireOverhead) * kNsPerByte);
}

void Dp8390::transmitted() {
  state_.command &= static_cast<uint8_t>(~kTransmit);
  std::vector<uint8_t> frame = std::move(state_.sending);
  state_.sending.clear();
  if (loopback()) {
    looped_back(frame);
  } else {
    // The driver's own check sequence, when the chip makes none, is not part of what the world gets.
    if ((state_.transmit_config & kInhibitCrc) != 0)
      frame.resize(frame.size() - std::min(frame.size(), kEthernetCheckBytes));
    if (is_ethernet_frame(frame)) card_.transmit(frame);
    state_.transmit_status = kTsrTransmitted;
    raise(kTransmitted);
  }
  if (!state_.has_next) return;
  state_.has_next = false;
  state_.sending_count = state_.next_count;
  state_.sending = std::move(state_.next);
  state_.next.clear();
  start_sending();
}

// Section 12, "Loopback Diagnostics", and application note AN-937: the packet, byte-wide whatever WTS says, comes back
// into the FIFO but never into memory. The one CRC circuit cannot make and check a sequence at once, so a frame to our
// address whose sequence the chip made looks wrong to the receiver.
void Dp8390::looped_back(std::span<const uint8_t> fetched) {
  const bool words = (state_.data_config & kWordTransfer) != 0;
  const size_t stride = words ? 2 : 1;
  const size_t lane = words && (state_.data_config & kByteOrder) == 0 ? 1 : 0;
  std::vector<uint8_t> packet(fetched.size() / stride);
  for (size_t i = 0; i < packet.size(); ++i) packet[i] = fetched[i * stride + lane];
  const bool own_check = (state_.transmit_config & kInhibitCrc) != 0;
  const uint32_t check = ~ethernet_crc(packet);
  // A frame with its right sequence leaves this residue.
  const bool good = own_check && check == 0x2144df1c;
  if (!own_check)
    for (unsigned i = 0; i < kEthernetCheckBytes; ++i) packet.push_back(static_cast<uint8_t>(check >> (8 * i)));

  // The FIFO is a ring of eight bytes; the byte count follows the packet: low, high, and high again.
  const auto length = static_cast<uint16_t>(packet.size());
  size_t at = 0;
  for (const uint8_t byte : packet) state_.fifo[at++ % 8] = byte;
  for (const uint8_t byte : {low(length), high(length), high(length)}) state_.fifo[at++ % 8] = byte;
  state_.fifo_next = 0;

  // Mode 1 never looks at the transceiver, mode 2 not at its collision line.
  const unsigned mode = (state_.transmit_config & kLoopbackMask) >> 1;
  state_.transmit_status = kTsrTransmitted;
  if (mode == 1) state_.transmit_status |= kTsrCarrierLost;
  if (mode != 3) state_.transmit_status |= kTsrNoHeartbeat;
  const bool matches = packet.size() >= 6 && accepts(packet);
  state_.receive_status = matches && !good ? kRsrCrcError : kRsrReceived;
  if (matches && !good) {
    tally(kCrcErrors);
    raise(kTransmitted | kReceiveError);
  } else {
    raise(kTransmitted);
  }
}

// Only meaningful after a loopback packet; the real chip would hang when read at another time.
uint8_t Dp8390::read_fifo() {
  const uint8_t value = state_.fifo[state_.fifo_next & 7];
  state_.fifo_next = (state_.fifo_next + 1) & 7;
  return value;
}

void Dp8390::visit_state(emu::StateVisitor& visitor) {
  visitor.value("command", state_.command);
  visitor.value("started", state_.started);
  visitor.value("page_start", state_.page_start);
  visitor.value("page_stop", state_.page_stop);
  visitor.value("boundary", state_.boundary);
  visitor.value("current", state_.current);
  visitor.value("transmit_page", state_.transmit_page);
  visitor.value("transmit_count", state_.transmit_count);
  visitor.value("transmit_status", state_.transmit_status);
  visitor.value("interrupt_status", state_.interrupt_status);
  visitor.value("interrupt_mask", state_.interrupt_mask);
  visitor.value("receive_config", state_.receive_config);
  visitor.value("receive_status", state_.receive_status);
  visitor.value("transmit_config", state_.transmit_config);
  visitor.value("data_config", state_.data_config);
  visitor.value("physical", state_.physical);
  visitor.value("multicast", state_.multicast);
  visitor.value("counters", state_.counters);
  visitor.value("local_address", state_.local_address);
  visitor.value("remote_start", state_.remote_start);
  visitor.value("remote_count", state_.remote_count);
  visitor.value("remote_address", state_.remote_address);
  visitor.value("remote_left", state_.remote_left);
  visitor.value("remote_direction", state_.remote_direction);
  visitor.value("remote_next_packet", state_.remote_next_packet);
  visitor.value("sending_count", state_.sending_count);
  visitor.sequence("sending", state_.sending, kLongestFetch);
  visitor.value("renewed", state_.renewed);
  visitor.value("has_next", state_.has_next);
  visitor.value("next_count", state_.next_count);
  visitor.sequence("next", state_.next, kLongestFetch);
  visitor.value("fifo", state_.fifo);
  visitor.value("fifo_next", state_.fifo_next);
}

}  // namespace understudy::devices
