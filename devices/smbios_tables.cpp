#include "devices/smbios_tables.h"

#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "emu/byte_writer.h"

namespace understudy::devices {

namespace {

constexpr std::string_view kMaker = "Understudy";

// Handles, by structure type.
constexpr uint16_t kChassis = 0x300;
constexpr uint16_t kMemoryArray = 0x1000;
constexpr uint16_t kMemoryDevice = 0x1100;
constexpr uint16_t kNone = 0xfffe;

class Structures {
 public:
  // Section 6.1.2: header, formatted area, strings, and a zero byte; without strings, two zero bytes.
  void add(uint8_t type, uint16_t handle, const emu::ByteWriter& body,
           std::initializer_list<std::string_view> strings) {
    const size_t start = out_.size();
    out_.u8(type).u8(4 + body.size()).u16(handle).bytes(body.view());
    for (const std::string_view s : strings) out_.text(s, s.size() + 1);
    if (strings.size() == 0) out_.u8(0);
    out_.u8(0);
    largest_ = std::max(largest_, out_.size() - start);
    ++count_;
  }
  size_t largest() const { return largest_; }
  size_t count() const { return count_; }
  std::vector<uint8_t> take() { return out_.take(); }

 private:
  emu::ByteWriter out_;
  size_t largest_ = 0;
  size_t count_ = 0;
};

void describe_board(Structures& out) {
  emu::ByteWriter bios;  // section 7.1
  bios.u8(1).u8(2).u16(0xe800).u8(3).u8(0);
  bios.u64(1u << 7 | 1u << 15);  // PCI, boot from CD
  bios.u8(1).u8(0x10);           // ACPI; a virtual machine
  bios.u8(0).u8(1).u8(0xff).u8(0xff);
  out.add(0, 0x000, bios, {kMaker, "1", "01/01/2024"});

  emu::ByteWriter system;  // section 7.2
  system.u8(1).u8(2).u8(3).u8(0).zeros(16).u8(6).u8(0).u8(0);
  out.add(1, 0x100, system, {kMaker, "Understudy PC", "1"});

  emu::ByteWriter chassis;  // section 7.4
  chassis.u8(1).u8(1).u8(0).u8(0).u8(0).u8(3).u8(3).u8(3).u8(2).u32(0).u8(0).u8(0).u8(0).u8(0).u8(0);
  out.add(3, kChassis, chassis, {kMaker});
}

void describe_processor(Structures& out, uint32_t signature, uint32_t features) {
  emu::ByteWriter cpu;  // section 7.5
  cpu.u8(1).u8(3).u8(1).u8(2).u32(signature).u32(features).u8(0).u8(0);
  cpu.u16(0).u16(0).u16(0).u8(0x41).u8(1);  // speeds unknown; enabled, populated
  cpu.u16(0xffff).u16(0xffff).u16(0xffff).u8(0).u8(0).u8(0).u8(1).u8(1).u8(1).u16(4).u16(1);
  out.add(4, 0x400, cpu, {"CPU 0", kMaker});
}

void describe_memory(Structures& out, uint64_t ram_size) {
  const uint64_t kib = ram_size >> 10;
  emu::ByteWriter array;  // section 7.17
  array.u8(1).u8(3).u8(6).u32(kib).u16(kNone).u16(1).u64(0);
  out.add(16, kMemoryArray, array, {});

  emu::ByteWriter device;  // section 7.18
  device.u16(kMemoryArray).u16(kNone).u16(0xffff).u16(0xffff).u16(ram_size >> 20).u8(9).u8(0).u8(1).u8(0).u8(7).u16(2);
  device.u16(0).u8(2).u8(0).u8(0).u8(0).u8(0).u32(0).u16(0).u16(0).u16(0).u16(0);
  out.add(17, kMemoryDevice, device, {"DIMM 0", kMaker});

  emu::ByteWriter mapped;  // section 7.20
  mapped.u32(0).u32(kib - 1).u16(kMemoryArray).u8(1).u64(0).u64(0);
  out.add(19, 0x1300, mapped, {});

  emu::ByteWriter boot;  // section 7.33: no errors
  boot.zeros(6).u8(0);
  out.add(32, 0x2000, boot, {});
}

}  // namespace

SmbiosTables build_smbios(uint64_t ram_size, uint32_t cpu_signature, uint32_t cpu_features,
                          uint32_t structures_address) {
  Structures all;
  describe_board(all);
  describe_processor(all, cpu_signature, cpu_features);
  describe_memory(all, ram_size);
  all.add(127, 0x7f00, emu::ByteWriter(), {});

  const size_t largest = all.largest();
  const size_t count = all.count();
  SmbiosTables tables;
  tables.structures = all.take();
  // Section 5.2.1.
  emu::ByteWriter entry;
  entry.text("_SM_", 4).u8(0).u8(31).u8(2).u8(8).u16(largest).u8(0).zeros(5);
  entry.text("_DMI_", 5).u8(0).u16(tables.structures.size()).u32(structures_address).u16(count).u8(0x28);
  entry.checksum(21, 16, 15);
  entry.checksum(4, 0, 31);
  tables.entry_point = entry.take();
  return tables;
}

}  // namespace understudy::devices
