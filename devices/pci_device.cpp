#include "devices/pci_device.h"

#include <algorithm>
#include <bit>
#include <stdexcept>

#include "devices/option_rom.h"
#include "devices/pci_bus.h"

namespace understudy::devices {

namespace {
constexpr uint8_t kCommand = 0x04;
constexpr uint8_t kStatus = 0x06;
constexpr uint8_t kBar0 = 0x10;
constexpr uint8_t kRomBar = 0x30;
constexpr uint8_t kRomEnable = 0x01;
constexpr unsigned kRomWindow = 0xff;
constexpr size_t kSmallestRom = 2048;
constexpr uint8_t kCommandIo = 0x01;
constexpr uint8_t kCommandMemory = 0x02;
// Both in the high byte of the command register and the low byte of the status register (PCI 2.3).
constexpr uint8_t kCommandInterruptDisable = 0x04;
constexpr uint8_t kStatusInterrupt = 0x08;
// Error bits 8 and 11..15 of the status register are cleared by writing ones.
constexpr uint8_t kStatusHighClearable = 0xf9;
}  // namespace

PciDevice::PciDevice(PciBus& bus, uint8_t devfn, const PciIdentity& identity) : bus_(bus), devfn_(devfn) {
  define32(0x00, identity.vendor | static_cast<uint32_t>(identity.device) << 16, 0);
  // Status: fast back-to-back capable, medium DEVSEL timing. Command: I/O, memory, bus master, parity, SERR#, INTx off.
  define32(kCommand, 0x02800000, 0x0547);
  define32(0x08, identity.revision | identity.class_code << 8, 0);
  define32(0x0c, static_cast<uint32_t>(identity.header_type) << 16, 0xff00);
  // The subsystem identity by which SeaBIOS recognises a virtual machine and looks for fw_cfg.
  define32(0x2c, 0x11001af4, 0);
  define32(0x3c, static_cast<uint32_t>(identity.interrupt_pin) << 8, 0xff);
  bus_.add(*this);
}

PciDevice::~PciDevice() { bus_.remove(*this); }

void PciDevice::define8(uint8_t offset, uint8_t value, uint8_t writable) {
  defaults_[offset] = config_[offset] = value;
  writable_[offset] = writable;
}

void PciDevice::define32(uint8_t offset, uint32_t value, uint32_t writable) {
  for (unsigned i = 0; i < 4; ++i)
    define8(static_cast<uint8_t>(offset + i), static_cast<uint8_t>(value >> (8 * i)),
            static_cast<uint8_t>(writable >> (8 * i)));
}

void PciDevice::add_io_bar(unsigned bar, uint32_t length, unsigned max_width) {
  if (bar >= kBars || length < 4 || length > 256 || (length & (length - 1)) != 0)
    throw std::logic_error("pci: bad I/O BAR");
  define32(static_cast<uint8_t>(kBar0 + 4 * bar), 0x01, ~(length - 1));
  windows_.push_back(std::make_unique<Window>(*this, bar, true, length, max_width));
}

void PciDevice::add_memory_bar(unsigned bar, uint32_t length) {
  if (bar >= kBars || length < 16 || (length & (length - 1)) != 0) throw std::logic_error("pci: bad memory BAR");
  define32(static_cast<uint8_t>(kBar0 + 4 * bar), 0, ~(length - 1));
  windows_.push_back(std::make_unique<Window>(*this, bar, false, length, 8));
}

void PciDevice::add_io_window(unsigned index, uint32_t length, unsigned max_width) {
  if (index < kBars) throw std::logic_error("pci: a chip's own window takes the index of a BAR");
  windows_.push_back(std::make_unique<Window>(*this, index, true, length, max_width));
}

void PciDevice::set_rom(std::vector<uint8_t> image) {
  image =
      option_rom_for(std::move(image), static_cast<uint16_t>(config32(0)), static_cast<uint16_t>(config32(0) >> 16));
  image.resize(std::bit_ceil(std::max(image.size(), kSmallestRom)), 0xff);
  rom_ = std::move(image);
  const auto length = static_cast<uint32_t>(rom_.size());
  define32(kRomBar, 0, ~(length - 1) | kRomEnable);
  windows_.push_back(std::make_unique<Window>(*this, kRomWindow, false, length, 8));
}

uint64_t PciDevice::rom_read(uint64_t offset, unsigned size) const {
  uint64_t value = 0;
  for (unsigned i = 0; i < size; ++i) value |= static_cast<uint64_t>(rom_[offset + i]) << (8 * i);
  return value;
}

uint32_t PciDevice::config_read(uint8_t offset, unsigned size) const {
  uint32_t value = 0;
  for (unsigned i = 0; i < size; ++i) {
    const uint32_t byte = offset + i < config_.size() ? config_[offset + i] : 0xffu;
    value |= byte << (8 * i);
  }
  return value;
}

uint32_t PciDevice::guest_config_read(uint8_t offset, unsigned size) {
  config_reading(offset, size);
  return config_read(offset, size);
}

void PciDevice::config_write(uint8_t offset, unsigned size, uint32_t value) {
  for (unsigned i = 0; i < size && offset + i < config_.size(); ++i) {
    const unsigned at = offset + i;
    const auto byte = static_cast<uint8_t>(value >> (8 * i));
    config_[at] = static_cast<uint8_t>((config_[at] & ~writable_[at]) | (byte & writable_[at]));
    if (at == kStatus + 1u) config_[at] &= static_cast<uint8_t>(~(byte & kStatusHighClearable));
  }
  config_written(offset, size);
  for (const auto& window : windows_)
    if (window->wanted != base_of(window->index)) {
      bus_.update_windows();
      break;
    }
  if (offset <= kCommand + 1 && offset + size > kCommand) bus_.intx_changed();
}

bool PciDevice::intx_asserted() const {
  return (config_[kStatus] & kStatusInterrupt) != 0 && (config_[kCommand + 1] & kCommandInterruptDisable) == 0;
}

void PciDevice::set_intx(bool level) {
  const uint8_t before = config_[kStatus];
  config_[kStatus] = static_cast<uint8_t>((before & ~kStatusInterrupt) | (level ? kStatusInterrupt : 0));
  if (config_[kStatus] != before) bus_.intx_changed();
}

void PciDevice::reset() {
  config_ = defaults_;
  bus_.update_windows();
  bus_.intx_changed();
}

void PciDevice::visit_state(emu::StateVisitor& visitor) { visitor.value("config", config_); }

void PciDevice::state_loaded() { bus_.update_windows(); }

uint64_t PciDevice::base_of(unsigned index) const {
  if (index != kRomWindow) return window_base(index);
  const uint32_t bar = config32(kRomBar);
  const bool enabled = (bar & kRomEnable) != 0 && (config_[kCommand] & kCommandMemory) != 0;
  return enabled ? bar & ~(kSmallestRom - 1) : 0;
}

uint64_t PciDevice::window_base(unsigned index) const {
  if (index >= kBars) return 0;
  const uint32_t bar = config32(static_cast<uint8_t>(kBar0 + 4 * index));
  const bool io = (bar & 1) != 0;
  const uint8_t enable = io ? kCommandIo : kCommandMemory;
  if ((config_[kCommand] & enable) == 0) return 0;
  return bar & (io ? ~0x3u : ~0xfu);
}

uint64_t PciDevice::window_read(unsigned, uint64_t, unsigned) { return ~0ull; }

void PciDevice::window_write(unsigned, uint64_t, unsigned, uint64_t) {}

PciDevice::Window::Window(PciDevice& owner_, unsigned index_, bool io_, uint64_t length_, unsigned max_width_)
    : owner(owner_), index(index_), io(io_), length(length_), max_width(max_width_) {}

uint32_t PciDevice::Window::port_read(uint16_t port, unsigned size) {
  return static_cast<uint32_t>(mmio_read(port - wanted, size));
}

void PciDevice::Window::port_write(uint16_t port, unsigned size, uint32_t value) {
  mmio_write(port - wanted, size, value);
}

// An access that starts inside the window may stretch past its end on the port bus: those bytes belong to nobody.
uint64_t PciDevice::Window::mmio_read(uint64_t offset, unsigned size) {
  if (index == kRomWindow) return owner.rom_read(offset, size);
  if (offset + size <= length) return owner.window_read(index, offset, size);
  uint64_t value = ~0ull;
  for (unsigned i = 0; i < size && offset + i < length; ++i) {
    value &= ~(0xffull << (8 * i));
    value |= (owner.window_read(index, offset + i, 1) & 0xff) << (8 * i);
  }
  return value;
}

void PciDevice::Window::mmio_write(uint64_t offset, unsigned size, uint64_t value) {
  if (index == kRomWindow) return;
  if (offset + size <= length) return owner.window_write(index, offset, size, value);
  for (unsigned i = 0; i < size && offset + i < length; ++i)
    owner.window_write(index, offset + i, 1, value >> (8 * i) & 0xff);
}

}  // namespace understudy::devices
