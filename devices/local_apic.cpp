#include "devices/local_apic.h"

#include <algorithm>
#include <bit>

namespace understudy::devices {

namespace {
constexpr uint32_t kLvtMasked = 1u << 16;
constexpr uint32_t kLvtPeriodic = 1u << 17;
constexpr uint32_t kLvtLevel = 1u << 15;
constexpr uint32_t kLvtRemoteIrr = 1u << 14;
constexpr uint32_t kSpuriousEnable = 1u << 8;
constexpr uint32_t kVersion = 0x14;
constexpr uint32_t kErrorSendIllegalVector = 1u << 5;
constexpr uint32_t kErrorReceiveIllegalVector = 1u << 6;
constexpr uint32_t kErrorIllegalRegister = 1u << 7;
// Vectors 0..15 belong to the CPU; a message that carries one is an error (section 11.5.2).
constexpr unsigned kFirstLegalVector = 16;
// MAXPHYADDR of the CPU model is 40.
constexpr uint64_t kBaseAddressBits = 0xff'ffff'f000;

// Register numbers: the offset divided by 16.
enum Register : unsigned {
  kId = 0x02,
  kVersionRegister = 0x03,
  kTpr = 0x08,
  kApr = 0x09,
  kPpr = 0x0a,
  kEoi = 0x0b,
  kRemoteRead = 0x0c,
  kLogicalDestination = 0x0d,
  kDestinationFormat = 0x0e,
  kSpurious = 0x0f,
  kIsr = 0x10,
  kTmr = 0x18,
  kIrr = 0x20,
  kEsr = 0x28,
  kIcrLow = 0x30,
  kIcrHigh = 0x31,
  kLvtFirst = 0x32,
  kLvtLast = 0x37,
  kInitialCount = 0x38,
  kCurrentCount = 0x39,
  kDivideConfig = 0x3e,
};

// What a guest can store in each LVT entry: timer, thermal, performance, LINT0, LINT1, error (figure 11-8).
constexpr std::array<uint32_t, 6> kLvtWritable = {0x300ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff};

bool test(const std::array<uint32_t, 8>& bits, unsigned vector) { return (bits[vector / 32] >> vector % 32 & 1) != 0; }
void set(std::array<uint32_t, 8>& bits, unsigned vector) { bits[vector / 32] |= 1u << vector % 32; }
void clear(std::array<uint32_t, 8>& bits, unsigned vector) { bits[vector / 32] &= ~(1u << vector % 32); }
int highest(const std::array<uint32_t, 8>& bits) {
  for (int i = 7; i >= 0; --i)
    if (bits[i] != 0) return i * 32 + std::bit_width(bits[i]) - 1;
  return -1;
}

DeliveryMode lvt_mode(uint32_t lvt) { return static_cast<DeliveryMode>(lvt >> 8 & 7); }
}  // namespace

LocalApic::LocalApic(const emu::Clock& clock, emu::EventQueue& events)
    : clock_(clock),
      events_(events),
      timer_event_(events.add("local_apic.timer", [this](uint64_t due_ns) { timer_due(due_ns); })) {
  reset_registers();
}

// --- reset and state

void LocalApic::reset() {
  const uint64_t old_base = state_.base_msr;
  state_ = {};
  reset_registers();
  if (state_.base_msr != old_base && wiring_.base_change) wiring_.base_change();
  update_output();
}

// Power-on, INIT and a global disable all leave this; the id, the base and the levels at the pins stay.
void LocalApic::reset_registers() {
  State fresh;
  fresh.base_msr = state_.base_msr;
  fresh.id = state_.id;
  fresh.lint_level = state_.lint_level;
  fresh.lvt.fill(kLvtMasked);
  fresh.lvt[kLvtLint0] = static_cast<uint32_t>(DeliveryMode::kExtInt) << 8;
  state_ = fresh;
  timer_.reset();
  events_.cancel(timer_event_);
}

void LocalApic::visit_state(emu::StateVisitor& v) {
  v.value("base_msr", state_.base_msr);
  v.value("id", state_.id);
  v.value("tpr", state_.tpr);
  v.value("logical_id", state_.logical_id);
  v.value("destination_format", state_.destination_format);
  v.value("spurious", state_.spurious);
  v.value("error_status", state_.error_status);
  v.value("error_pending", state_.error_pending);
  v.value("icr_low", state_.icr_low);
  v.value("icr_high", state_.icr_high);
  v.value("lvt", state_.lvt);
  v.value("in_service", state_.in_service);
  v.value("trigger_mode", state_.trigger_mode);
  v.value("requested", state_.requested);
  v.value("lint_level", state_.lint_level);
  v.value("ext_int", state_.ext_int);
  timer_.visit_state(v);
}

void LocalApic::state_loaded() {
  state_.base_msr = (state_.base_msr & (kBaseAddressBits | kBaseEnable)) | kBaseBsp;
  if (wiring_.base_change) wiring_.base_change();
}

// --- the CPU's side

uint8_t LocalApic::processor_priority() const {
  const int in_service = highest(state_.in_service);
  const unsigned service_class = in_service < 0 ? 0 : static_cast<unsigned>(in_service) & 0xf0;
  return static_cast<uint8_t>((state_.tpr & 0xf0) >= service_class ? state_.tpr : service_class);
}

int LocalApic::deliverable_vector() const {
  if (!software_enabled()) return -1;
  const int vector = highest(state_.requested);
  return vector >= 0 && (vector >> 4) > (processor_priority() >> 4) ? vector : -1;
}

bool LocalApic::ext_int_pending() const {
  if (state_.lint_level[kLint0] == 0) return false;
  if (!globally_enabled() || state_.ext_int) return true;
  const uint32_t lint0 = state_.lvt[kLvtLint0];
  return (lint0 & kLvtMasked) == 0 && lvt_mode(lint0) == DeliveryMode::kExtInt;
}

bool LocalApic::interrupt_pending() const { return ext_int_pending() || deliverable_vector() >= 0; }

int LocalApic::acknowledge() {
  int vector = deliverable_vector();
  if (vector >= 0) {
    clear(state_.requested, static_cast<unsigned>(vector));
    set(state_.in_service, static_cast<unsigned>(vector));
  } else if (ext_int_pending()) {
    if (wiring_.pic_acknowledge) vector = wiring_.pic_acknowledge();
  }
  update_output();
  return vector;
}

void LocalApic::set_cr8(uint8_t value) {
  state_.tpr = static_cast<uint8_t>((value & 0xf) << 4);
  update_output();
}

void LocalApic::set_base_msr(uint64_t value) {
  const uint64_t next = (value & (kBaseAddressBits | kBaseEnable)) | kBaseBsp;
  if (next == state_.base_msr) return;
  const bool was_enabled = globally_enabled();
  state_.base_msr = next;
  // Section 11.4.3: a disabled APIC forgets; enabling it again finds the power-on state.
  if (was_enabled && !globally_enabled()) reset_registers();
  if (wiring_.base_change) wiring_.base_change();
  update_output();
}

void LocalApic::update_output() { wiring_.interrupt.set(interrupt_pending()); }

// --- the board's side

void LocalApic::enable_virtual_wire() {
  write_spurious(state_.spurious | kSpuriousEnable);
  write_lvt(kLvtLint0, kLvtLevel | static_cast<uint32_t>(DeliveryMode::kExtInt) << 8);
  write_lvt(kLvtLint1, kLvtLevel | static_cast<uint32_t>(DeliveryMode::kNmi) << 8);
  update_output();
}

void LocalApic::set_irq(unsigned pin, bool level) {
  if (pin > kLint1) return;
  const bool rising = level && state_.lint_level[pin] == 0;
  state_.lint_level[pin] = level;
  if (pin == kLint0 && !level) state_.ext_int = false;
  if (!globally_enabled()) {
    if (pin == kLint1 && rising && wiring_.nmi) wiring_.nmi();
  } else if (rising) {
    const uint32_t lvt = state_.lvt[kLvtLint0 + pin];
    if (lvt_mode(lvt) == DeliveryMode::kFixed && (lvt & kLvtLevel) != 0)
      service_level_lint(pin);
    else
      deliver_local(kLvtLint0 + pin);
  }
  update_output();
}

// --- the APIC bus

bool LocalApic::is_destination(uint8_t destination, bool logical) const {
  if (!logical) return destination == 0xff || destination == state_.id;
  if (state_.destination_format == 0xf) return (destination & state_.logical_id) != 0;
  if (state_.destination_format != 0) return false;
  const unsigned cluster = destination >> 4;
  return (cluster == 0xf || cluster == state_.logical_id >> 4) && (destination & state_.logical_id & 0xf) != 0;
}

bool LocalApic::receive(const ApicMessage& message) {
  return is_destination(message.destination, message.logical) &&
         deliver(message.vector, message.mode, message.level_triggered);
}

bool LocalApic::deliver(uint8_t vector, DeliveryMode mode, bool level_triggered) {
  if (!globally_enabled()) return false;
  switch (mode) {
    case DeliveryMode::kFixed:
    case DeliveryMode::kLowestPriority:
      if (!accept(vector, level_triggered)) return false;
      break;
    case DeliveryMode::kNmi:
      if (wiring_.nmi) wiring_.nmi();
      break;
    case DeliveryMode::kInit:
      reset_registers();
      if (wiring_.init) wiring_.init();
      break;
    case DeliveryMode::kExtInt:
      state_.ext_int = true;
      break;
    case DeliveryMode::kSmi:
    case DeliveryMode::kReserved:
    case DeliveryMode::kStartup:
      break;
  }
  update_output();
  return true;
}

bool LocalApic::accept(uint8_t vector, bool level_triggered) {
  if (!software_enabled()) return false;
  if (vector < kFirstLegalVector) {
    raise_error(kErrorReceiveIllegalVector);
    return false;
  }
  set(state_.requested, vector);
  if (level_triggered)
    set(state_.trigger_mode, vector);
  else
    clear(state_.trigger_mode, vector);
  return true;
}

// An interrupt from one of the LVT's own sources, edge-triggered. ExtINT is a level and is looked at elsewhere.
void LocalApic::deliver_local(unsigned entry) {
  const uint32_t lvt = state_.lvt[entry];
  if ((lvt & kLvtMasked) != 0) return;
  const bool fixed_only = entry == kLvtTimer || entry == kLvtError;
  const DeliveryMode mode = fixed_only ? DeliveryMode::kFixed : lvt_mode(lvt);
  if (mode == DeliveryMode::kFixed || mode == DeliveryMode::kNmi || mode == DeliveryMode::kInit)
    deliver(static_cast<uint8_t>(lvt), mode, false);
}

// A level-triggered LINT pin in fixed mode asks again after each EOI for as long as it is high.
void LocalApic::service_level_lint(unsigned pin) {
  uint32_t& lvt = state_.lvt[kLvtLint0 + pin];
  if (state_.lint_level[pin] == 0 || lvt_mode(lvt) != DeliveryMode::kFixed) return;
  if ((lvt & kLvtLevel) == 0 || (lvt & (kLvtMasked | kLvtRemoteIrr)) != 0) return;
  if (accept(static_cast<uint8_t>(lvt), true)) lvt |= kLvtRemoteIrr;
}

void LocalApic::end_of_interrupt() {
  const int in_service = highest(state_.in_service);
  if (in_service < 0) return;
  const auto vector = static_cast<uint8_t>(in_service);
  clear(state_.in_service, vector);
  if (test(state_.trigger_mode, vector)) {
    for (unsigned pin : {kLint0, kLint1}) {
      uint32_t& lvt = state_.lvt[kLvtLint0 + pin];
      if ((lvt & kLvtRemoteIrr) == 0 || static_cast<uint8_t>(lvt) != vector) continue;
      lvt &= ~kLvtRemoteIrr;
      service_level_lint(pin);
    }
    if (wiring_.end_of_interrupt) wiring_.end_of_interrupt(vector);
  }
}

// With one CPU an inter-processor interrupt goes to ourselves or to nobody (section 11.6.1).
void LocalApic::send_ipi() {
  const uint32_t command = state_.icr_low;
  const auto vector = static_cast<uint8_t>(command);
  const auto mode = static_cast<DeliveryMode>(command >> 8 & 7);
  const bool asserted = (command & 1u << 14) != 0;
  const bool logical = (command & 1u << 11) != 0;
  if (mode == DeliveryMode::kExtInt) return;             // reserved in an ICR
  if (mode == DeliveryMode::kInit && !asserted) return;  // arbitration ids are synchronised: nothing to do
  if ((mode == DeliveryMode::kFixed || mode == DeliveryMode::kLowestPriority) && vector < kFirstLegalVector) {
    raise_error(kErrorSendIllegalVector);
    return;
  }
  bool to_us = false;
  switch (command >> 18 & 3) {
    case 0:
      to_us = is_destination(static_cast<uint8_t>(state_.icr_high >> 24), logical);
      break;
    case 1:
    case 2:
      to_us = true;
      break;
    default:
      break;
  }
  if (to_us) deliver(vector, mode, false);
}

// The error interrupt comes once per kind of error until ESR is written: an error entry with an illegal vector of its
// own must not chase its tail.
void LocalApic::raise_error(uint32_t bit) {
  if ((state_.error_pending & bit) != 0) return;
  state_.error_pending |= bit;
  deliver_local(kLvtError);
}

// --- the timer

void LocalApic::reschedule_timer(uint64_t after_ns) {
  const bool masked = (state_.lvt[kLvtTimer] & kLvtMasked) != 0;
  events_.schedule(timer_event_, masked ? ApicTimer::kNever : timer_.next_expiry(after_ns));
}

void LocalApic::timer_due(uint64_t due_ns) {
  deliver_local(kLvtTimer);
  reschedule_timer(std::max(clock_.now_ns(), due_ns + kMinPeriodicGapNs - 1));
}

// --- registers

uint64_t LocalApic::mmio_read(uint64_t offset, unsigned size) {
  if (offset >= kWindowBytes || !globally_enabled()) return ~0ull;
  const unsigned byte = offset & 0xf;
  if (byte >= 4) return 0;
  const uint64_t value = static_cast<uint64_t>(read_register(static_cast<unsigned>(offset >> 4))) >> (8 * byte);
  return size >= 8 ? value : value & ((1ull << (8 * size)) - 1);
}

void LocalApic::mmio_write(uint64_t offset, unsigned size, uint64_t value) {
  if (offset >= kWindowBytes || !globally_enabled() || size < 4 || (offset & 0xf) != 0) return;
  write_register(static_cast<unsigned>(offset >> 4), static_cast<uint32_t>(value));
  update_output();
}

uint32_t LocalApic::read_register(unsigned index) {
  if (index >= kIsr && index < kIsr + 8) return state_.in_service[index - kIsr];
  if (index >= kTmr && index < kTmr + 8) return state_.trigger_mode[index - kTmr];
  if (index >= kIrr && index < kIrr + 8) return state_.requested[index - kIrr];
  if (index >= kLvtFirst && index <= kLvtLast) return state_.lvt[index - kLvtFirst];
  switch (index) {
    case kId:
      return static_cast<uint32_t>(state_.id) << 24;
    case kVersionRegister:
      return kVersion | (kLvtCount - 1) << 16;
    case kTpr:
      return state_.tpr;
    case kPpr:
      return processor_priority();
    case kLogicalDestination:
      return static_cast<uint32_t>(state_.logical_id) << 24;
    case kDestinationFormat:
      return static_cast<uint32_t>(state_.destination_format) << 28 | 0x0fffffff;
    case kSpurious:
      return state_.spurious;
    case kEsr:
      return state_.error_status;
    case kIcrLow:
      return state_.icr_low;
    case kIcrHigh:
      return state_.icr_high;
    case kInitialCount:
      return timer_.initial_count();
    case kCurrentCount:
      return timer_.current_count(clock_.now_ns());
    case kDivideConfig:
      return timer_.divide_config();
    case kApr:         // arbitration and remote reads need a second APIC
    case kRemoteRead:  //
    case kEoi:
      return 0;
    default:
      raise_error(kErrorIllegalRegister);
      update_output();
      return 0;
  }
}

void LocalApic::write_register(unsigned index, uint32_t value) {
  if (index >= kIsr && index < kIrr + 8) return;
  if (index >= kLvtFirst && index <= kLvtLast) return write_lvt(index - kLvtFirst, value);
  switch (index) {
    case kId:
      state_.id = static_cast<uint8_t>(value >> 24);
      if (wiring_.accepting) wiring_.accepting();
      break;
    case kTpr:
      state_.tpr = static_cast<uint8_t>(value);
      break;
    case kEoi:
      end_of_interrupt();
      break;
    case kLogicalDestination:
      state_.logical_id = static_cast<uint8_t>(value >> 24);
      if (wiring_.accepting) wiring_.accepting();
      break;
    case kDestinationFormat:
      state_.destination_format = static_cast<uint8_t>(value >> 28);
      if (wiring_.accepting) wiring_.accepting();
      break;
    case kSpurious:
      write_spurious(value);
      break;
    case kEsr:
      state_.error_status = state_.error_pending;
      state_.error_pending = 0;
      break;
    case kIcrLow:
      state_.icr_low = value & 0xccfff;  // the delivery status always reads idle
      send_ipi();
      break;
    case kIcrHigh:
      state_.icr_high = value & 0xff000000;
      break;
    case kInitialCount:
      timer_.set_initial_count(value, clock_.now_ns());
      reschedule_timer(clock_.now_ns());
      break;
    case kDivideConfig:
      timer_.set_divide_config(value, clock_.now_ns());
      reschedule_timer(clock_.now_ns());
      break;
    case kVersionRegister:
    case kApr:
    case kPpr:
    case kRemoteRead:
    case kCurrentCount:
      break;
    default:
      raise_error(kErrorIllegalRegister);
  }
}

void LocalApic::write_lvt(unsigned entry, uint32_t value) {
  const uint32_t remote_irr = (value & kLvtLevel) != 0 ? state_.lvt[entry] & kLvtRemoteIrr : 0;
  value = (value & kLvtWritable[entry]) | remote_irr;
  if ((state_.spurious & kSpuriousEnable) == 0) value |= kLvtMasked;  // section 11.4.7.2
  state_.lvt[entry] = value;
  if (entry == kLvtTimer) {
    timer_.set_periodic((value & kLvtPeriodic) != 0, clock_.now_ns());
    reschedule_timer(clock_.now_ns());
  } else if (entry == kLvtLint0 || entry == kLvtLint1) {
    service_level_lint(entry - kLvtLint0);
  }
}

void LocalApic::write_spurious(uint32_t value) {
  const bool was_enabled = (state_.spurious & kSpuriousEnable) != 0;
  state_.spurious = value & 0x3ff;
  const bool is_enabled = (state_.spurious & kSpuriousEnable) != 0;
  if (was_enabled && !is_enabled) {
    for (uint32_t& lvt : state_.lvt) lvt |= kLvtMasked;
    reschedule_timer(clock_.now_ns());
  }
  if (!was_enabled && is_enabled && wiring_.accepting) wiring_.accepting();
}

}  // namespace understudy::devices
