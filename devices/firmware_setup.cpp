#include "devices/firmware_setup.h"

#include <stdexcept>
#include <string_view>

#include "devices/acpi_tables.h"
#include "devices/mp_table.h"
#include "devices/pc_wiring.h"
#include "devices/smbios_tables.h"
#include "devices/table_loader.h"
#include "emu/byte_writer.h"

namespace understudy::devices {

namespace {

// Open Firmware paths, in the spelling that SeaBIOS's boot order compares with (SeaBIOS docs/Runtime_config.md).
std::string_view path_of(BootDevice device) {
  switch (device) {
    case BootDevice::floppy:
      return "/pci@i0cf8/isa@1/fdc@03f0/floppy@0";
    case BootDevice::disk:
      return "/pci@i0cf8/ide@1,1/drive@0/disk@0";
    case BootDevice::cdrom:
      return "/pci@i0cf8/ide@1,1/drive@1/disk@0";
    case BootDevice::virtio_disk:
      static_assert(wiring::kVirtioDiskSlot == 4);
      return "/pci@i0cf8/scsi@4/disk@0,0";
    case BootDevice::network:
      static_assert(wiring::kNicSlot == 3);
      return "/pci@i0cf8/ethernet@3/ethernet-phy@0";
  }
  return "";
}

std::vector<uint8_t> boot_order_file(const std::vector<BootDevice>& order) {
  emu::ByteWriter file;
  for (const BootDevice device : order) {
    const std::string_view path = path_of(device);
    if (file.size() > 0) file.u8('\n');
    file.text(path, path.size());
  }
  file.u8(0);
  return file.take();
}

std::vector<uint8_t> e820_file(uint64_t ram_size) {
  // SeaBIOS takes its RAM size from the usable entries and adds its own reservations.
  emu::ByteWriter file;
  file.u64(0).u64(ram_size).u32(static_cast<uint32_t>(emu::MemoryType::usable));
  return file.take();
}

std::vector<uint8_t> number(uint64_t value, unsigned width) {
  emu::ByteWriter bytes(width);
  bytes.patch(0, value, width);
  return bytes.take();
}

}  // namespace

void add_firmware_files(FwCfg& fw_cfg, const FirmwareSetup& setup, const std::vector<OptionRom>& vga_roms) {
  fw_cfg.add_number(FwCfg::kRamSize, setup.ram_size, 8);
  fw_cfg.add_number(FwCfg::kNoGraphic, 0, 2);
  fw_cfg.add_number(FwCfg::kCpus, 1, 2);
  fw_cfg.add_number(FwCfg::kMaxCpus, 1, 2);
  fw_cfg.add_number(FwCfg::kNuma, 0, 8);
  fw_cfg.add_number(FwCfg::kBootMenu, setup.boot_menu ? 1 : 0, 2);
  fw_cfg.add_number(FwCfg::kIrq0Override, 1, 1);

  fw_cfg.add_file("etc/e820", e820_file(setup.ram_size));
  add_acpi_files(fw_cfg, build_acpi_tables());
  const SmbiosTables smbios = build_smbios(setup.ram_size, setup.cpu_signature, setup.cpu_features, 0);
  fw_cfg.add_file("etc/smbios/smbios-anchor", smbios.entry_point);
  fw_cfg.add_file("etc/smbios/smbios-tables", smbios.structures);
  // S0 to S5: bit 7 says that the state exists, the rest is its SLP_TYP. S3 and S4 are not there.
  fw_cfg.add_file("etc/system-states", {0x80, 0, 0, 0, 0, 0x80});
  if (!setup.boot_order.empty()) fw_cfg.add_file("bootorder", boot_order_file(setup.boot_order));
  fw_cfg.add_file("etc/show-boot-menu", number(setup.boot_menu ? 1 : 0, 2));
  fw_cfg.add_file("etc/boot-fail-wait", number(UINT32_MAX, 4));  // nothing bootable: wait, do not reboot
  for (const OptionRom& rom : vga_roms) fw_cfg.add_file("vgaroms/" + rom.name, rom.bytes);
}

DirectBootTables direct_boot_tables(const emu::MemoryLayout& memory, const FirmwareSetup& setup) {
  uint64_t next = emu::MemoryLayout::kBiosBase;
  const auto take = [&](size_t size) {
    const auto at = static_cast<uint32_t>(next);
    next = (next + size + 15) & ~15ull;
    return at;
  };

  const AcpiTables acpi = build_acpi_tables();
  if (acpi.tables.size() > emu::MemoryLayout::kTableArea) throw std::logic_error("ACPI tables outgrew their memory");
  DirectBootTables result;
  result.rsdp_address = take(acpi.rsdp.size());
  result.chunks =
      place_acpi(acpi, static_cast<uint32_t>(result.rsdp_address), static_cast<uint32_t>(memory.high_end()));

  const uint32_t mp_address = take(build_mp_table(0, setup.cpu_signature, setup.cpu_features).size());
  result.chunks.push_back({mp_address, build_mp_table(mp_address, setup.cpu_signature, setup.cpu_features)});

  const auto smbios_at = [&](uint32_t address) {
    return build_smbios(setup.ram_size, setup.cpu_signature, setup.cpu_features, address);
  };
  const uint32_t entry_address = take(smbios_at(0).entry_point.size());
  const uint32_t structures_address = take(smbios_at(0).structures.size());
  SmbiosTables smbios = smbios_at(structures_address);
  result.chunks.push_back({entry_address, std::move(smbios.entry_point)});
  result.chunks.push_back({structures_address, std::move(smbios.structures)});
  if (next > emu::MemoryLayout::kHighBase) throw std::logic_error("firmware tables outgrew the F segment");
  return result;
}

}  // namespace understudy::devices
