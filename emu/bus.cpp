#include "emu/bus.h"

#include <algorithm>
#include <cstdio>
#include <stdexcept>

namespace understudy::emu {

namespace {
constexpr unsigned kPorts = 65536;

std::string hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

uint32_t low_bytes(unsigned size) { return size >= 4 ? ~0u : (1u << (8 * size)) - 1; }
}  // namespace

PortBus::PortBus() : slots_(kPorts) {}

void PortBus::attach(uint16_t first, uint16_t last, PortDevice& device, unsigned max_width) {
  if (first > last || (max_width != 1 && max_width != 2 && max_width != 4))
    throw std::logic_error("port bus: bad range or width at " + hex(first));
  if (!is_free(first, last)) throw std::logic_error("port bus: " + hex(first) + ".." + hex(last) + " is taken");
  for (unsigned port = first; port <= last; ++port) slots_[port] = {&device, static_cast<uint8_t>(max_width)};
}

void PortBus::detach(uint16_t first, uint16_t last, PortDevice& device) {
  for (unsigned port = first; port <= last; ++port)
    if (slots_[port].device == &device) slots_[port] = {};
}

bool PortBus::is_free(uint16_t first, uint16_t last) const {
  for (unsigned port = first; port <= last; ++port)
    if (slots_[port].device != nullptr) return false;
  return true;
}

uint32_t PortBus::read(uint16_t port, unsigned size) {
  const Slot& slot = slots_[port];
  if (slot.device == nullptr && size == 1) return low_bytes(1);
  if (slot.device != nullptr && size <= slot.max_width) return slot.device->port_read(port, size) & low_bytes(size);
  const unsigned half = size / 2;
  const uint32_t low = read(port, half);
  const uint32_t high = read(static_cast<uint16_t>(port + half), half);
  return low | high << (8 * half);
}

void PortBus::write(uint16_t port, unsigned size, uint32_t value) {
  const Slot& slot = slots_[port];
  if (slot.device == nullptr && size == 1) return;
  if (slot.device != nullptr && size <= slot.max_width) {
    slot.device->port_write(port, size, value & low_bytes(size));
    return;
  }
  const unsigned half = size / 2;
  write(port, half, value & low_bytes(half));
  write(static_cast<uint16_t>(port + half), half, value >> (8 * half));
}

void MmioBus::attach(uint64_t base, uint64_t length, MmioDevice& device) {
  if (length == 0 || base + length < base) throw std::logic_error("mmio bus: bad region at " + hex(base));
  for (const Region& r : regions_)
    if (base < r.base + r.length && r.base < base + length)
      throw std::logic_error("mmio bus: " + hex(base) + "+" + hex(length) + " overlaps " + hex(r.base));
  regions_.push_back({base, length, &device});
}

void MmioBus::detach(MmioDevice& device) {
  std::erase_if(regions_, [&](const Region& r) { return r.device == &device; });
}

bool MmioBus::is_free(uint64_t base, uint64_t length) const {
  return std::none_of(regions_.begin(), regions_.end(),
                      [&](const Region& r) { return base < r.base + r.length && r.base < base + length; });
}

const MmioBus::Region* MmioBus::find(uint64_t address, unsigned size) const {
  for (const Region& r : regions_)
    if (address >= r.base && address - r.base + size <= r.length) return &r;
  return nullptr;
}

uint64_t MmioBus::read(uint64_t address, unsigned size) {
  const Region* r = find(address, size);
  return r != nullptr ? r->device->mmio_read(address - r->base, size) : ~0ull;
}

void MmioBus::write(uint64_t address, unsigned size, uint64_t value) {
  if (const Region* r = find(address, size)) r->device->mmio_write(address - r->base, size, value);
}

}  // namespace understudy::emu
