#include "devices/ide_channel.h"

#include <algorithm>
#include <stdexcept>

#include "devices/ata_disk.h"
#include "devices/atapi_cd.h"

namespace understudy::devices {

namespace {
constexpr uint16_t kControlOffset = 0x206;
constexpr uint8_t kControlNien = 0x02;
constexpr uint8_t kControlSrst = 0x04;
constexpr uint8_t kControlHob = 0x80;
constexpr uint8_t kExecuteDiagnostic = 0x90;

// Bus master registers.
constexpr unsigned kBmCommand = 0;
constexpr unsigned kBmStatus = 2;
constexpr unsigned kBmTable = 4;
constexpr uint8_t kBmStart = 0x01;
constexpr uint8_t kBmToMemory = 0x08;
constexpr uint8_t kBmActive = 0x01;
constexpr uint8_t kBmError = 0x02;
constexpr uint8_t kBmInterrupt = 0x04;
constexpr uint8_t kBmDriveCapable = 0x60;
}  // namespace

IdeChannel::IdeChannel(std::string name, uint16_t base, const emu::Clock& clock, emu::EventQueue& events,
                       emu::DmaMemory& dma, emu::IrqLine line)
    : name_(std::move(name)),
      base_(base),
      dma_(dma),
      line_(line),
      block_ports_{BlockPort(clock, events, name_ + ".master.done"), BlockPort(clock, events, name_ + ".slave.done")} {}

void IdeChannel::attach(emu::PortBus& ports) {
  ports.attach(base_, base_, *this, 4);
  ports.attach(base_ + 1, base_ + 7, *this, 1);
  ports.attach(base_ + kControlOffset, base_ + kControlOffset, *this, 1);
}

void IdeChannel::attach_disk(unsigned unit, BlockBackend& image, std::string serial) {
  if (drives_.at(unit) != nullptr) throw std::logic_error("ide: two drives at one place");
  block_ports_[unit].connect(&image);
  drives_[unit] = std::make_unique<AtaDisk>(block_ports_[unit], *this, std::move(serial));
}

void IdeChannel::attach_cdrom(unsigned unit, BlockBackend* disc, std::string serial) {
  if (drives_.at(unit) != nullptr) throw std::logic_error("ide: two drives at one place");
  block_ports_[unit].connect(disc);
  drives_[unit] = std::make_unique<AtapiCd>(block_ports_[unit], *this, std::move(serial));
}

void IdeChannel::set_delay_ns(uint64_t delay_ns) {
  for (BlockPort& port : block_ports_) port.set_delay_ns(delay_ns);
}

void IdeChannel::reset() {
  state_ = {};
  for (const auto& drive : drives_)
    if (drive != nullptr) drive->power_on();
  line_.set(false);
}

void IdeChannel::visit_state(emu::StateVisitor& visitor) {
  visitor.begin(name_);
  visitor.value("select", state_.select);
  visitor.value("control", state_.control);
  visitor.value("line", state_.line);
  visitor.value("bm_command", state_.bm_command);
  visitor.value("bm_status", state_.bm_status);
  visitor.value("bm_table", state_.bm_table);
  visitor.value("bm_next", state_.bm_next);
  visitor.value("bm_address", state_.bm_address);
  visitor.value("bm_left", state_.bm_left);
  visitor.value("bm_last", state_.bm_last);
  state_.select &= 1;
  for (unsigned unit = 0; unit < 2; ++unit) {
    if (drives_[unit] == nullptr) continue;
    visitor.begin(unit == 0 ? "master" : "slave");
    block_ports_[unit].visit_state(visitor);
    drives_[unit]->visit_state(visitor);
    visitor.end();
  }
  visitor.end();
}

void IdeChannel::state_loaded() {
  for (const auto& drive : drives_)
    if (drive != nullptr) drive->state_loaded();
}

// INTRQ belongs to the selected drive; the bus master notes its rising edges.
void IdeChannel::interrupt_changed() {
  const AtaDrive* drive = selected();
  const bool level = drive != nullptr && drive->interrupt() && (state_.control & kControlNien) == 0;
  if (level && !state_.line) state_.bm_status |= kBmInterrupt;
  if (level == state_.line) return;
  state_.line = level;
  line_.set(level);
}

uint32_t IdeChannel::port_read(uint16_t port, unsigned size) {
  AtaDrive* drive = selected();
  if (drive == nullptr) return 0;
  if (port == base_) return drive->read_data(size);
  if (port == base_ + kControlOffset) return drive->status();
  const unsigned reg = port - base_;
  if (reg == kAtaStatus) {
    const uint8_t status = drive->status();
    drive->clear_interrupt();
    return status;
  }
  return drive->read_register(reg, (state_.control & kControlHob) != 0);
}

void IdeChannel::port_write(uint16_t port, unsigned size, uint32_t value) {
  if (port == base_) {
    if (AtaDrive* drive = selected()) drive->write_data(size, value);
    return;
  }
  const auto byte = static_cast<uint8_t>(value);
  if (port == base_ + kControlOffset) return write_control(byte);
  if ((state_.control & kControlSrst) != 0) return;  // the drives are held in reset
  state_.control &= static_cast<uint8_t>(~kControlHob);
  const unsigned reg = port - base_;
  if (reg == kAtaStatus) return write_command(byte);
  for (const auto& drive : drives_)
    if (drive != nullptr) drive->write_register(reg, byte);
  if (reg == kAtaDevice) {
    state_.select = (byte & kAtaDeviceSelect) != 0 ? 1 : 0;
    interrupt_changed();
  }
}

void IdeChannel::write_control(uint8_t value) {
  const bool was_reset = (state_.control & kControlSrst) != 0;
  const bool now_reset = (value & kControlSrst) != 0;
  state_.control = value & (kControlHob | kControlSrst | kControlNien);
  if (now_reset && !was_reset) {
    for (const auto& drive : drives_)
      if (drive != nullptr) drive->hold_reset();
    state_.select = 0;
  } else if (was_reset && !now_reset) {
    for (const auto& drive : drives_)
      if (drive != nullptr) drive->release_reset();
  }
  interrupt_changed();
}

void IdeChannel::write_command(uint8_t command) {
  if (command != kExecuteDiagnostic) {
    if (AtaDrive* drive = selected()) drive->write_command(command);
    return;
  }
  // Both drives diagnose themselves; device 0 reports (or device 1 when it is alone).
  if (const AtaDrive* drive = selected(); drive != nullptr && (drive->status() & (kAtaStatusBsy | kAtaStatusDrq)) != 0)
    return;
  state_.select = drives_[0] != nullptr ? 0 : 1;
  for (unsigned unit = 0; unit < 2; ++unit)
    if (drives_[unit] != nullptr) drives_[unit]->diagnose(unit == state_.select);
  interrupt_changed();
}

uint8_t IdeChannel::bus_master_read(unsigned offset) const {
  switch (offset) {
    case kBmCommand:
      return state_.bm_command;
    case kBmStatus:
      return state_.bm_status;
    case kBmTable:
    case kBmTable + 1:
    case kBmTable + 2:
    case kBmTable + 3:
      return static_cast<uint8_t>(state_.bm_table >> (8 * (offset - kBmTable)));
    default:
      return 0;
  }
}

void IdeChannel::bus_master_write(unsigned offset, uint8_t value) {
  switch (offset) {
    case kBmCommand: {
      const bool was_on = (state_.bm_command & kBmStart) != 0;
      state_.bm_command = value & (kBmStart | kBmToMemory);
      const bool now_on = (value & kBmStart) != 0;
      if (was_on == now_on) return;
      state_.bm_left = 0;
      state_.bm_last = false;
      if (!now_on) {
        state_.bm_status &= static_cast<uint8_t>(~kBmActive);
        return;
      }
      state_.bm_status |= kBmActive;
      state_.bm_next = state_.bm_table;
      pump();
      return;
    }
    case kBmStatus:
      state_.bm_status = static_cast<uint8_t>((value & kBmDriveCapable) | (state_.bm_status & kBmActive) |
                                              (state_.bm_status & ~value & (kBmError | kBmInterrupt)));
      return;
    case kBmTable:
    case kBmTable + 1:
    case kBmTable + 2:
    case kBmTable + 3: {
      const unsigned shift = 8 * (offset - kBmTable);
      state_.bm_table = ((state_.bm_table & ~(0xffu << shift)) | static_cast<uint32_t>(value) << shift) & ~3u;
      return;
    }
    default:
      return;
  }
}

// Fetches the next PRD entry; false when the table has ended. Byte 7 bit 7 marks the last entry.
bool IdeChannel::next_prd() {
  if (state_.bm_last) return false;
  std::array<uint8_t, 8> entry{};
  dma_.dma_read(state_.bm_next, entry);
  state_.bm_next += 8;
  state_.bm_address = static_cast<uint32_t>(entry[0] & 0xfe) | static_cast<uint32_t>(entry[1]) << 8 |
                      static_cast<uint32_t>(entry[2]) << 16 | static_cast<uint32_t>(entry[3]) << 24;
  const uint32_t count = static_cast<uint32_t>(entry[4] & 0xfe) | static_cast<uint32_t>(entry[5]) << 8;
  state_.bm_left = count != 0 ? count : 0x10000;
  state_.bm_last = (entry[7] & 0x80) != 0;
  return true;
}

// Moves data while a drive asks for it and the table has room. Active falls at the end of the table; a drive that still
// has data then waits, without an interrupt, until it is reset or the bus master is started anew.
void IdeChannel::pump() {
  while ((state_.bm_status & kBmActive) != 0) {
    AtaDrive* drive = nullptr;
    for (const auto& candidate : drives_)
      if (drive == nullptr && candidate != nullptr && candidate->wants_dma()) drive = candidate.get();
    if (drive == nullptr) return;
    if (state_.bm_left == 0 && !next_prd()) {
      state_.bm_status &= static_cast<uint8_t>(~kBmActive);
      return;
    }
    const std::span<uint8_t> window = drive->dma_window();
    const auto length = static_cast<uint32_t>(std::min<size_t>(window.size(), state_.bm_left));
    const std::span<uint8_t> part = window.first(length);
    if (drive->dma_to_memory())
      dma_.dma_write(state_.bm_address, part);
    else
      dma_.dma_read(state_.bm_address, part);
    state_.bm_address += length;
    state_.bm_left -= length;
    if (state_.bm_left == 0 && state_.bm_last) state_.bm_status &= static_cast<uint8_t>(~kBmActive);
    drive->dma_moved(length);
  }
}

}  // namespace understudy::devices
