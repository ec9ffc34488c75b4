// The linker script that hands tables to SeaBIOS (QEMU's "etc/table-loader": 128-byte commands, names of 56 bytes;
// SeaBIOS src/fw/romfile_loader). The firmware allocates each named fw_cfg file, adds base addresses to its pointers
// and fills in its checksums.
#pragma once

#include <cstdint>
#include <vector>

#include "devices/acpi_tables.h"
#include "devices/fw_cfg.h"

namespace understudy::devices {

std::vector<uint8_t> table_loader_script(const AcpiTables& acpi);

// Adds the two blobs and the script under the names that SeaBIOS looks for.
void add_acpi_files(FwCfg& fw_cfg, const AcpiTables& acpi);

}  // namespace understudy::devices
