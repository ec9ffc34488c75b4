// Expansion ROM images for PCI cards (PCI Local Bus Specification 2.2, section 6.3).
#pragma once

#include <cstdint>
#include <vector>

namespace understudy::devices {

// Makes a ROM image say that it is for this vendor and device, as firmware demands before it runs one: images for
// virtual machines are built for one card of a family. Throws std::runtime_error when it is no x86 PC option ROM.
std::vector<uint8_t> option_rom_for(std::vector<uint8_t> image, uint16_t vendor, uint16_t device);

}  // namespace understudy::devices
