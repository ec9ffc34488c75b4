#include "devices/pci_bus.h"

#include <stdexcept>

namespace understudy::devices {

namespace {
constexpr uint16_t kAddressPort = 0xcf8;
constexpr uint16_t kResetControlPort = 0xcf9;
constexpr uint16_t kDataPort = 0xcfc;
constexpr uint16_t kLastPort = 0xcff;
constexpr uint32_t kEnable = 0x80000000;
constexpr uint8_t kResetSystem = 0x02;
constexpr uint8_t kResetCpu = 0x04;
}  // namespace

PciBus::PciBus(emu::PortBus& ports, emu::MmioBus& mmio, std::function<void(bool hard)> on_reset)
    : ports_(ports), mmio_(mmio), on_reset_(std::move(on_reset)) {}

void PciBus::attach() { ports_.attach(kAddressPort, kLastPort, *this, 4); }

void PciBus::add(PciDevice& device) {
  if (!devices_.emplace(device.devfn(), &device).second)
    throw std::logic_error("pci: two functions at devfn " + std::to_string(device.devfn()));
}

void PciBus::remove(PciDevice& device) {
  for (const auto& window : device.windows_) {
    if (!window->mapped) continue;
    if (window->io)
      ports_.detach(static_cast<uint16_t>(window->wanted), static_cast<uint16_t>(window->wanted + window->length - 1),
                    *window);
    else
      mmio_.detach(*window);
  }
  devices_.erase(device.devfn());
}

void PciBus::update_windows() {
  for (const auto& [devfn, device] : devices_)
    for (const auto& window : device->windows_) {
      if (!window->mapped) continue;
      if (window->io)
        ports_.detach(static_cast<uint16_t>(window->wanted), static_cast<uint16_t>(window->wanted + window->length - 1),
                      *window);
      else
        mmio_.detach(*window);
      window->mapped = false;
    }
  for (const auto& [devfn, device] : devices_)
    for (const auto& window : device->windows_) {
      const uint64_t base = window->wanted = device->base_of(window->index);
      const uint64_t last = base + window->length - 1;
      if (base == 0 || last > (window->io ? 0xffffull : 0xffffffffull)) continue;
      if (window->io) {
        const auto first_port = static_cast<uint16_t>(base);
        const auto last_port = static_cast<uint16_t>(last);
        if (!ports_.is_free(first_port, last_port)) continue;
        ports_.attach(first_port, last_port, *window, window->max_width);
      } else {
        if (!mmio_.is_free(base, window->length)) continue;
        mmio_.attach(base, window->length, *window);
      }
      window->mapped = true;
    }
}

void PciBus::intx_changed() {
  if (on_intx_changed_) on_intx_changed_();
}

uint8_t PciBus::asserted_pirqs() const {
  uint8_t pirqs = 0;
  for (const auto& [devfn, device] : devices_) {
    if (device->interrupt_pin() == 0 || !device->intx_asserted()) continue;
    pirqs |= static_cast<uint8_t>(1u << (((devfn >> 3) + device->interrupt_pin() + 2u) & 3));
  }
  return pirqs;
}

void PciBus::reset() { state_ = {}; }

void PciBus::visit_state(emu::StateVisitor& visitor) {
  visitor.value("address", state_.address);
  visitor.value("reset_control", state_.reset_control);
}

PciDevice* PciBus::addressed() const {
  if ((state_.address & kEnable) == 0 || (state_.address >> 16 & 0xff) != 0) return nullptr;
  const auto found = devices_.find(static_cast<uint8_t>(state_.address >> 8));
  return found != devices_.end() ? found->second : nullptr;
}

// CF8 answers 32-bit accesses only; narrower ones pass on to the I/O bus, where CF9 is the reset control register.
uint32_t PciBus::port_read(uint16_t port, unsigned size) {
  if (port == kAddressPort && size == 4) return state_.address;
  uint32_t value = ~0u;
  if (port >= kDataPort && (port & 3) + size <= 4) {
    if (PciDevice* device = addressed())
      value = device->guest_config_read(static_cast<uint8_t>((state_.address & 0xfc) | (port & 3)), size);
    return value;
  }
  if (size == 1) return port == kResetControlPort ? state_.reset_control : ~0u;
  // Unaligned: byte by byte, as the chip set would split it; what lies past CFF is nobody's.
  value = 0;
  for (unsigned i = 0; i < size; ++i) {
    const auto at = static_cast<uint16_t>(port + i);
    value |= (at <= kLastPort ? port_read(at, 1) & 0xff : 0xff) << (8 * i);
  }
  return value;
}

void PciBus::port_write(uint16_t port, unsigned size, uint32_t value) {
  if (port == kAddressPort && size == 4) {
    state_.address = value & 0x80fffffc;
    return;
  }
  if (port >= kDataPort && (port & 3) + size <= 4) {
    if (PciDevice* device = addressed())
      device->config_write(static_cast<uint8_t>((state_.address & 0xfc) | (port & 3)), size, value);
    return;
  }
  if (size == 1) {
    if (port == kResetControlPort) write_reset_control(static_cast<uint8_t>(value));
    return;
  }
  for (unsigned i = 0; i < size && port + i <= kLastPort; ++i)
    port_write(static_cast<uint16_t>(port + i), 1, value >> (8 * i) & 0xff);
}

// A rising Reset CPU bit starts a reset of the kind that the System Reset bit names. The reset clears the register, so
// the bit never reads as one.
void PciBus::write_reset_control(uint8_t value) {
  state_.reset_control = value & kResetSystem;
  if ((value & kResetCpu) != 0 && on_reset_) on_reset_((value & kResetSystem) != 0);
}

}  // namespace understudy::devices
