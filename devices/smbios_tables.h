// SMBIOS 2.8 (DMTF DSP0134): the entry point and the structures that describe one CPU and its RAM. SeaBIOS takes both
// parts from fw_cfg and sets the address and checksums itself; without a BIOS they are placed for good.
#pragma once

#include <cstdint>
#include <vector>

namespace understudy::devices {

struct SmbiosTables {
  static constexpr uint32_t kAlignment = 16;
  std::vector<uint8_t> entry_point;  // 31 bytes
  std::vector<uint8_t> structures;
};

// `structures_address` may be 0 when firmware will move the structures. `ram_size` is in bytes.
SmbiosTables build_smbios(uint64_t ram_size, uint32_t cpu_signature, uint32_t cpu_features,
                          uint32_t structures_address);

}  // namespace understudy::devices
