#include "devices/option_rom.h"

#include <numeric>
#include <stdexcept>

namespace understudy::devices {

namespace {
constexpr size_t kUnit = 512;
constexpr size_t kHeaderBytes = 0x1c;
// The header: its size in units, a byte that belongs to nobody, and where the PCI data structure is.
constexpr size_t kSize = 2, kSpare = 6, kPciData = 0x18;
// The PCI data structure: "PCIR", vendor, device, ..., code type.
constexpr size_t kVendor = 4, kDevice = 6, kCodeType = 0x14, kPciDataBytes = 0x18;
constexpr size_t kLargest = 256 * 1024;
}  // namespace

std::vector<uint8_t> option_rom_for(std::vector<uint8_t> image, uint16_t vendor, uint16_t device) {
  const auto refuse = [](const char* why) { throw std::runtime_error(std::string("is no option ROM: ") + why); };
  if (image.size() < kHeaderBytes || image[0] != 0x55 || image[1] != 0xaa) refuse("it does not start with 55 AA");
  if (image.size() > kLargest) refuse("it is larger than 256 KiB");
  const size_t size = image[kSize] * kUnit;
  if (size == 0 || size > image.size()) refuse("it is shorter than it says");
  const size_t data = image[kPciData] | static_cast<size_t>(image[kPciData + 1]) << 8;
  if (data + kPciDataBytes > size || std::string(image.begin() + static_cast<std::ptrdiff_t>(data),
                                                 image.begin() + static_cast<std::ptrdiff_t>(data + 4)) != "PCIR")
    refuse("it has no PCI data structure");
  if (image[data + kCodeType] != 0) refuse("it is not for x86 PCs");
  image[data + kVendor] = static_cast<uint8_t>(vendor);
  image[data + kVendor + 1] = static_cast<uint8_t>(vendor >> 8);
  image[data + kDevice] = static_cast<uint8_t>(device);
  image[data + kDevice + 1] = static_cast<uint8_t>(device >> 8);
  // All bytes add up to zero.
  const auto end = image.begin() + static_cast<std::ptrdiff_t>(size);
  image[kSpare] = static_cast<uint8_t>(image[kSpare] - std::accumulate(image.begin(), end, 0u));
  return image;
}

}  // namespace understudy::devices
