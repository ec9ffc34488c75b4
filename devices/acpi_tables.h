// The PC's ACPI tables (ACPI 6.4): RSDP, RSDT, FADT, FACS, MADT and DSDT. They are built once, unplaced: every pointer
// holds an offset into `tables` and every checksum is zero, with lists that say where they are. Whoever knows the final
// addresses finishes them: SeaBIOS through devices/table_loader, or place_acpi() when no firmware runs.
#pragma once

#include <cstdint>
#include <vector>

#include "emu/boot_plan.h"

namespace understudy::devices {

enum class AcpiBlob { rsdp, tables };

// `size` bytes at `offset` of `in` hold an offset into `tables`, to become an address.
struct AcpiPointer {
  AcpiBlob in;
  uint32_t offset;
  uint8_t size;
};

// The byte at `offset` makes the `length` bytes from `start` sum to zero.
struct AcpiChecksum {
  AcpiBlob in;
  uint32_t offset;
  uint32_t start;
  uint32_t length;
};

struct AcpiTables {
  static constexpr uint32_t kTablesAlignment = 64;  // the FACS's, and it comes first
  static constexpr uint32_t kRsdpAlignment = 16;

  std::vector<uint8_t> rsdp;
  std::vector<uint8_t> tables;
  std::vector<AcpiPointer> pointers;
  std::vector<AcpiChecksum> checksums;  // in the order to apply, after all pointers
};

AcpiTables build_acpi_tables();

// The finished bytes for these addresses; the addresses must be aligned as above and below 4 GiB.
std::vector<emu::Chunk> place_acpi(const AcpiTables& tables, uint32_t rsdp_address, uint32_t tables_address);

}  // namespace understudy::devices
