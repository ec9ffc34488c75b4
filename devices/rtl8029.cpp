#include "devices/rtl8029.h"

#include <algorithm>

namespace understudy::devices {

namespace {
constexpr uint64_t kDataPort = 0x10;
constexpr uint64_t kResetPort = 0x18;
constexpr uint64_t kNsPerByte = 800;
constexpr uint16_t kMemoryBase = 0x4000;
// Page 0, where a DP8390 has nothing: "PC".
constexpr uint8_t kId0 = 0x50, kId1 = 0x43;
// Page 3.
constexpr unsigned k9346Command = 1, kConfig2 = 5, kConfig3 = 6, kChipId0 = 14, kChipId1 = 15;
constexpr uint8_t kEepromWritable = 0xce, kEepromMode = 0xc0;  // EEM1 and EEM0 both set: configuration is writable
}  // namespace

Rtl8029::Rtl8029(PciBus& pci, uint8_t devfn, const emu::Clock& clock, emu::EventQueue& events, emu::World& world,
                 const MacAddress& mac)
    : PciDevice(pci, devfn,
                {.vendor = 0x10ec,
                 .device = 0x8029,
                 .class_code = 0x020000,
                 .revision = 0,
                 .header_type = 0,
                 .interrupt_pin = 1}),
      core_(clock, events, "ne2k.sent", *this),
      clock_(clock),
      events_(events),
      world_(world),
      arrived_event_(events.add("ne2k.arrived", [this](uint64_t) { arrived(); })),
      channel_(world.add_channel("net0", [this](std::span<const uint8_t> frame) { arrive(frame); })) {
  add_io_bar(0, 32, 4);
  // The PROM's 16 bytes appear twice each: it is eight bits wide on a sixteen-bit bus. 57h marks such a card.
  for (unsigned i = 0; i < 16; ++i)
    prom_[2 * i] = prom_[2 * i + 1] = i < mac.size() ? mac[i] : static_cast<uint8_t>(i < 14 ? 0 : 0x57);
}

void Rtl8029::reset() {
  PciDevice::reset();
  state_ = {};
  events_.cancel(arrived_event_);
  arriving_.clear();
  core_.power_on();
}

// The whole of a frame is there when its last byte has come.
void Rtl8029::arrive(std::span<const uint8_t> frame) {
  if (!is_ethernet_frame(frame)) return;
  const bool idle = arriving_.empty();
  if (!arriving_.push(frame)) {
    ++state_.dropped;
    return;
  }
  if (idle) bring_next();
}

void Rtl8029::bring_next() {
  const size_t on_wire = std::max(arriving_.front().size(), kEthernetMinFrame) + kEthernetWireOverhead;
  events_.schedule(arrived_event_, clock_.now_ns() + on_wire * kNsPerByte);
}

void Rtl8029::arrived() {
  if (arriving_.empty()) return;
  core_.receive(arriving_.front());
  arriving_.pop();
  if (!arriving_.empty()) bring_next();
}

void Rtl8029::visit_state(emu::StateVisitor& visitor) {
  PciDevice::visit_state(visitor);
  visitor.value("memory", state_.memory);
  visitor.value("eeprom_command", state_.eeprom_command);
  visitor.value("config2", state_.config2);
  visitor.value("config3", state_.config3);
  visitor.value("dropped", state_.dropped);
  arriving_.visit_state(visitor, "arriving");
  visitor.begin("core");
  core_.visit_state(visitor);
  visitor.end();
}

uint8_t Rtl8029::load(uint16_t address) const {
  if (address < prom_.size()) return prom_[address];
  const unsigned at = address - kMemoryBase;
  return address >= kMemoryBase && at < kMemoryBytes ? state_.memory[at] : 0xff;
}

void Rtl8029::store(uint16_t address, uint8_t value) {
  const unsigned at = address - kMemoryBase;
  if (address >= kMemoryBase && at < kMemoryBytes) state_.memory[at] = value;
}

uint64_t Rtl8029::window_read(unsigned, uint64_t offset, unsigned size) {
  if (offset >= kResetPort) {
    core_.reset();
    return 0;
  }
  if (offset >= kDataPort) return core_.data_read(size);
  uint64_t value = 0;
  for (unsigned i = 0; i < size; ++i)
    value |= static_cast<uint64_t>(read_register(static_cast<unsigned>(offset + i) & 15)) << (8 * i);
  return value;
}

void Rtl8029::window_write(unsigned, uint64_t offset, unsigned size, uint64_t value) {
  if (offset >= kResetPort) return;  // ends the reset that the read began
  if (offset >= kDataPort) return core_.data_write(size, static_cast<uint32_t>(value));
  for (unsigned i = 0; i < size; ++i)
    write_register(static_cast<unsigned>(offset + i) & 15, static_cast<uint8_t>(value >> (8 * i)));
}

uint8_t Rtl8029::read_register(unsigned reg) {
  if (core_.page() == 0 && reg == 10) return kId0;
  if (core_.page() == 0 && reg == 11) return kId1;
  if (core_.page() != 3 || reg == 0) return core_.read(reg);
  switch (reg) {
    case k9346Command:
      return state_.eeprom_command;
    case kConfig2:
      return state_.config2;
    case kConfig3:
      return state_.config3;
    case kChipId0:
      return 0x29;
    case kChipId1:
      return 0x80;
    default:
      return 0;
  }
}

void Rtl8029::write_register(unsigned reg, uint8_t value) {
  if (core_.page() != 3 || reg == 0) return core_.write(reg, value);
  const bool writable = (state_.eeprom_command & kEepromMode) == kEepromMode;
  if (reg == k9346Command) state_.eeprom_command = value & kEepromWritable;
  if (reg == kConfig2 && writable) state_.config2 = value;
  if (reg == kConfig3 && writable) state_.config3 = value;
}

}  // namespace understudy::devices
