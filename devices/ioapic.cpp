#include "devices/ioapic.h"

#include <utility>

namespace understudy::devices {

namespace {
constexpr uint64_t kSelectOffset = 0x00;
constexpr uint64_t kWindowOffset = 0x10;
constexpr uint32_t kVersion = 0x11;

constexpr unsigned kIdRegister = 0;
constexpr unsigned kVersionRegister = 1;
constexpr unsigned kArbitrationRegister = 2;
constexpr unsigned kFirstRedirection = 0x10;

constexpr uint64_t kLogical = 1u << 11;
constexpr uint64_t kDeliveryStatus = 1u << 12;
constexpr uint64_t kRemoteIrr = 1u << 14;
constexpr uint64_t kLevel = 1u << 15;
constexpr uint64_t kMasked = 1u << 16;
constexpr uint64_t kReadOnly = kDeliveryStatus | kRemoteIrr;
constexpr uint64_t kWritable = (0xff00'0000'0001'ffff) & ~kReadOnly;

DeliveryMode mode_of(uint64_t entry) { return static_cast<DeliveryMode>(entry >> 8 & 7); }
// Only fixed and lowest-priority interrupts have a level; the rest act on the edge whatever the trigger bit says.
bool is_level(uint64_t entry) {
  const DeliveryMode mode = mode_of(entry);
  return (entry & kLevel) != 0 && (mode == DeliveryMode::kFixed || mode == DeliveryMode::kLowestPriority);
}
}  // namespace

IoApic::IoApic(std::function<bool(const ApicMessage&)> send) : send_(std::move(send)) { reset(); }

void IoApic::reset() {
  state_ = {};
  state_.redirection.fill(kMasked);
}

void IoApic::visit_state(emu::StateVisitor& visitor) {
  visitor.value("selected", state_.selected);
  visitor.value("id", state_.id);
  visitor.value("levels", state_.levels);
  visitor.value("redirection", state_.redirection);
}

void IoApic::set_irq(unsigned pin, bool level) {
  if (pin >= kPins) return;
  const uint32_t bit = 1u << pin;
  const bool rising = level && (state_.levels & bit) == 0;
  state_.levels = level ? state_.levels | bit : state_.levels & ~bit;
  const uint64_t entry = state_.redirection[pin];
  if (is_level(entry))
    service_level(pin);
  else if (rising && (entry & kMasked) == 0)
    send(entry);
}

bool IoApic::send(uint64_t entry) const {
  ApicMessage message;
  message.vector = static_cast<uint8_t>(entry);
  message.mode = mode_of(entry);
  message.level_triggered = is_level(entry);
  message.logical = (entry & kLogical) != 0;
  message.destination = static_cast<uint8_t>(entry >> 56);
  return send_ && send_(message);
}

void IoApic::service_level(unsigned pin) {
  uint64_t& entry = state_.redirection[pin];
  if (!is_level(entry) || (entry & (kMasked | kRemoteIrr)) != 0 || (state_.levels >> pin & 1) == 0) return;
  if (send(entry)) entry |= kRemoteIrr;
}

void IoApic::end_of_interrupt(uint8_t vector) {
  for (unsigned pin = 0; pin < kPins; ++pin) {
    uint64_t& entry = state_.redirection[pin];
    if (static_cast<uint8_t>(entry) != vector || (entry & kRemoteIrr) == 0) continue;
    entry &= ~kRemoteIrr;
    service_level(pin);
  }
}

void IoApic::retry() {
  for (unsigned pin = 0; pin < kPins; ++pin) service_level(pin);
}

uint64_t IoApic::mmio_read(uint64_t offset, unsigned size) {
  if (offset == kSelectOffset) return state_.selected;
  if (offset == kWindowOffset && size == 4) return read_register();
  return 0;
}

void IoApic::mmio_write(uint64_t offset, unsigned size, uint64_t value) {
  if (offset == kSelectOffset)
    state_.selected = static_cast<uint8_t>(value);
  else if (offset == kWindowOffset && size == 4)
    write_register(static_cast<uint32_t>(value));
}

uint32_t IoApic::read_register() const {
  switch (state_.selected) {
    case kIdRegister:
    case kArbitrationRegister:  // loaded with the id, and nobody arbitrates
      return static_cast<uint32_t>(state_.id) << 24;
    case kVersionRegister:
      return kVersion | (kPins - 1) << 16;
    default:
      break;
  }
  const unsigned index = state_.selected - kFirstRedirection;
  if (state_.selected < kFirstRedirection || index / 2 >= kPins) return 0;
  return static_cast<uint32_t>(state_.redirection[index / 2] >> (index % 2 * 32));
}

void IoApic::write_register(uint32_t value) {
  if (state_.selected == kIdRegister) state_.id = value >> 24 & 0xf;
  const unsigned index = state_.selected - kFirstRedirection;
  if (state_.selected < kFirstRedirection || index / 2 >= kPins) return;
  uint64_t& entry = state_.redirection[index / 2];
  const unsigned shift = index % 2 * 32;
  const uint64_t half = 0xffffffffull << shift;
  const uint64_t writable = kWritable & half;
  entry = (entry & ~writable) | (static_cast<uint64_t>(value) << shift & writable);
  // Making a pin edge-triggered drops its remote IRR: how kernels end an interrupt without an EOI register.
  if (!is_level(entry)) entry &= ~kRemoteIrr;
  service_level(index / 2);
}

}  // namespace understudy::devices
