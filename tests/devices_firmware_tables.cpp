// The tables as an operating system finds them: parsed from memory, from the anchors down, on both ways to the guest.

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <string>

#include "devices/acpi_tables.h"
#include "devices/firmware_setup.h"
#include "devices/mp_table.h"
#include "devices/pc_wiring.h"
#include "devices/smbios_tables.h"
#include "devices/table_loader.h"
#include "tests/fake_board.h"

using namespace understudy;
using namespace understudy::devices;

namespace {

using Memory = std::map<uint64_t, uint8_t>;

uint64_t at(const std::vector<uint8_t>& bytes, size_t offset, unsigned width) {
  uint64_t value = 0;
  for (unsigned i = 0; i < width; ++i) value |= static_cast<uint64_t>(bytes.at(offset + i)) << (8 * i);
  return value;
}

std::vector<uint8_t> read(const Memory& memory, uint64_t address, size_t length) {
  std::vector<uint8_t> out;
  for (size_t i = 0; i < length; ++i) out.push_back(memory.at(address + i));
  return out;
}
uint64_t number(const Memory& memory, uint64_t address, unsigned width) {
  return at(read(memory, address, width), 0, width);
}
std::string text(const Memory& memory, uint64_t address, size_t length) {
  const auto bytes = read(memory, address, length);
  return {bytes.begin(), bytes.end()};
}
bool sums_to_zero(const Memory& memory, uint64_t address, size_t length) {
  uint8_t sum = 0;
  for (const uint8_t b : read(memory, address, length)) sum = static_cast<uint8_t>(sum + b);
  return sum == 0;
}

void copy_in(Memory& memory, const std::vector<emu::Chunk>& chunks) {
  for (const auto& c : chunks)
    for (size_t i = 0; i < c.bytes.size(); ++i) {
      REQUIRE(memory.count(c.address + i) == 0);  // no overlap
      memory[c.address + i] = c.bytes[i];
    }
}

// Checks the chain from the RSDP and returns the tables' addresses by signature.
std::map<std::string, uint64_t> follow_acpi(const Memory& memory, uint64_t rsdp) {
  CHECK(text(memory, rsdp, 8) == "RSD PTR ");
  CHECK(sums_to_zero(memory, rsdp, 20));
  const uint64_t rsdt = number(memory, rsdp + 16, 4);
  std::map<std::string, uint64_t> tables;
  const auto visit = [&](uint64_t address) {
    CHECK(sums_to_zero(memory, address, number(memory, address + 4, 4)));
    tables[text(memory, address, 4)] = address;
  };
  visit(rsdt);
  for (uint64_t e = rsdt + 36; e < rsdt + number(memory, rsdt + 4, 4); e += 4) visit(number(memory, e, 4));
  REQUIRE(tables.count("FACP") == 1);
  visit(number(memory, tables["FACP"] + 40, 4));
  const uint64_t facs = number(memory, tables["FACP"] + 36, 4);
  CHECK(facs % 64 == 0);
  tables[text(memory, facs, 4)] = facs;
  return tables;
}

FirmwareSetup setup_of(uint64_t ram) {
  FirmwareSetup setup;
  setup.ram_size = ram;
  setup.cpu_signature = 0x106a3;
  setup.cpu_features = 0x78bfbfd;
  setup.boot_order = {BootDevice::cdrom, BootDevice::disk, BootDevice::floppy};
  return setup;
}

// What SeaBIOS does with the linker script, with its own choice of addresses.
struct Linker {
  std::map<std::string, std::vector<uint8_t>> files;
  std::map<std::string, uint64_t> bases;

  static std::string name(const std::vector<uint8_t>& script, size_t offset) {
    return reinterpret_cast<const char*>(&script.at(offset));
  }
  void run(const std::vector<uint8_t>& script) {
    REQUIRE(script.size() % 128 == 0);
    uint64_t high = 0x7fe0000;
    uint64_t low = 0xf5a00;
    for (size_t c = 0; c < script.size(); c += 128) {
      const std::string file = name(script, c + 4);
      REQUIRE(files.count(file) == 1);
      auto& bytes = files[file];
      switch (at(script, c, 4)) {
        case 1: {
          uint64_t& next = at(script, c + 64, 1) == 2 ? low : high;
          REQUIRE(bases.count(file) == 0);
          REQUIRE(next % at(script, c + 60, 4) == 0);
          bases[file] = next;
          next += 0x8000;
          break;
        }
        case 2: {
          const size_t offset = at(script, c + 116, 4);
          const auto size = static_cast<unsigned>(at(script, c + 120, 1));
          const std::string source = name(script, c + 60);
          REQUIRE(at(bytes, offset, size) < files.at(source).size());
          const uint64_t value = at(bytes, offset, size) + bases.at(source);
          for (unsigned i = 0; i < size; ++i) bytes.at(offset + i) = static_cast<uint8_t>(value >> (8 * i));
          break;
        }
        case 3: {
          uint8_t sum = 0;
          for (size_t i = 0; i < at(script, c + 68, 4); ++i) sum += bytes.at(at(script, c + 64, 4) + i);
          bytes.at(at(script, c + 60, 4)) -= sum;
          break;
        }
        default:
          FAIL("unknown command");
      }
    }
  }
};

}  // namespace

TEST_CASE("firmware tables: ACPI in memory is a sound chain") {
  const emu::MemoryLayout layout(64 << 20);
  const auto direct = direct_boot_tables(layout, setup_of(layout.ram_size()));
  Memory memory;
  copy_in(memory, direct.chunks);
  for (const auto& c : direct.chunks) {
    const bool high = c.address >= layout.high_end() && c.address + c.bytes.size() <= layout.ram_size();
    const bool bios = c.address >= 0xf0000 && c.address + c.bytes.size() <= 0x100000;
    CHECK((high || bios));
  }
  CHECK(direct.rsdp_address % 16 == 0);
  auto tables = follow_acpi(memory, direct.rsdp_address);
  REQUIRE(tables.size() == 5);

  const uint64_t fadt = tables["FACP"];
  CHECK(number(memory, fadt + 4, 4) == 244);
  CHECK(number(memory, fadt + 46, 2) == 9);
  CHECK(number(memory, fadt + 48, 4) == 0xb2);
  CHECK(number(memory, fadt + 52, 2) == 0xf0f1);
  CHECK(number(memory, fadt + 56, 4) == 0x600);
  CHECK(number(memory, fadt + 64, 4) == 0x604);
  CHECK(number(memory, fadt + 76, 4) == 0x608);
  CHECK((number(memory, fadt + 112, 4) & 1 << 10) != 0);
  CHECK(number(memory, fadt + 116, 4) == 0x01000801);  // I/O, 8 bits, byte access
  CHECK(number(memory, fadt + 120, 8) == 0xcf9);
  CHECK(number(memory, fadt + 128, 1) == 6);
  // The extended blocks agree with the old ones.
  CHECK(number(memory, fadt + 152, 8) == number(memory, fadt + 56, 4));
  CHECK(number(memory, fadt + 176, 8) == number(memory, fadt + 64, 4));
  CHECK(number(memory, fadt + 212, 8) == number(memory, fadt + 76, 4));

  const uint64_t dsdt = tables["DSDT"];
  const std::string aml = text(memory, dsdt + 36, number(memory, dsdt + 4, 4) - 36);
  // \_S5 = Package { 0, 0, 0, 0 }
  CHECK(aml.find(std::string("\x08\\_S5_\x12\x06\x04\0\0\0\0", 13)) != std::string::npos);
  for (const char* part :
       {"PCI0", "_PRT", "LNKA", "LNKB", "LNKC", "LNKD", "LNKS", "RTC_", "KBD_", "MOU_", "FDC0", "COM1", "COM2"})
    CHECK_MESSAGE(aml.find(part) != std::string::npos, part);
}

TEST_CASE("firmware tables: the MADT describes this board's interrupts") {
  const emu::MemoryLayout layout(64 << 20);
  const auto direct = direct_boot_tables(layout, setup_of(layout.ram_size()));
  Memory memory;
  copy_in(memory, direct.chunks);
  const uint64_t madt = follow_acpi(memory, direct.rsdp_address)["APIC"];
  CHECK(number(memory, madt + 36, 4) == 0xfee00000);
  CHECK(number(memory, madt + 40, 4) == 1);
  std::map<unsigned, std::pair<unsigned, unsigned>> overrides;
  unsigned cpus = 0;
  unsigned io_apics = 0;
  const uint64_t end = madt + number(memory, madt + 4, 4);
  for (uint64_t e = madt + 44; e < end; e += number(memory, e + 1, 1)) {
    REQUIRE(number(memory, e + 1, 1) >= 2);
    switch (number(memory, e, 1)) {
      case 0:
        ++cpus;
        CHECK(number(memory, e + 3, 1) == 0);
        CHECK(number(memory, e + 4, 4) == 1);
        break;
      case 1:
        ++io_apics;
        CHECK(number(memory, e + 2, 1) == 0);
        CHECK(number(memory, e + 4, 4) == 0xfec00000);
        CHECK(number(memory, e + 8, 4) == 0);
        break;
      case 2:
        overrides[static_cast<unsigned>(number(memory, e + 3, 1))] = {static_cast<unsigned>(number(memory, e + 4, 4)),
                                                                      static_cast<unsigned>(number(memory, e + 8, 2))};
        break;
      default:
        CHECK(number(memory, e, 1) == 4);
    }
  }
  CHECK(cpus == 1);
  CHECK(io_apics == 1);
  CHECK(overrides.size() == 5);
  CHECK(overrides[0] == std::pair<unsigned, unsigned>{2, 0});
  for (unsigned irq : {5u, 9u, 10u, 11u}) CHECK(overrides[irq] == std::pair<unsigned, unsigned>{irq, 0xd});
}

TEST_CASE("firmware tables: SeaBIOS's linker gets the same tables out of fw_cfg's files") {
  const AcpiTables acpi = build_acpi_tables();
  Linker linker;
  linker.files["etc/acpi/rsdp"] = acpi.rsdp;
  linker.files["etc/acpi/tables"] = acpi.tables;
  linker.run(table_loader_script(acpi));
  const uint64_t rsdp = linker.bases.at("etc/acpi/rsdp");
  const uint64_t tables = linker.bases.at("etc/acpi/tables");
  CHECK(rsdp < 0x100000);
  const auto placed = place_acpi(acpi, static_cast<uint32_t>(rsdp), static_cast<uint32_t>(tables));
  REQUIRE(placed.size() == 2);
  CHECK(placed[0].address == rsdp);
  CHECK(placed[0].bytes == linker.files["etc/acpi/rsdp"]);
  CHECK(placed[1].address == tables);
  CHECK(placed[1].bytes == linker.files["etc/acpi/tables"]);
  Memory memory;
  copy_in(memory, placed);
  CHECK(follow_acpi(memory, rsdp).size() == 5);
}

TEST_CASE("firmware tables: PCI pins rotate over the PIRQs as on a PIIX3") {
  CHECK(wiring::pirq_of(1, 0) == 0);
  CHECK(wiring::pirq_of(1, 3) == 3);
  CHECK(wiring::pirq_of(2, 0) == 1);
  CHECK(wiring::pirq_of(3, 0) == 2);
  CHECK(wiring::pirq_of(4, 1) == 0);
  CHECK(wiring::pirq_of(0, 0) == 3);
}

TEST_CASE("firmware tables: the MP table") {
  const uint32_t base = 0xf1230;
  const auto bytes = build_mp_table(base, 0x106a3, 0x78bfbfd);
  Memory memory;
  copy_in(memory, {{base, bytes}});
  CHECK(text(memory, base, 4) == "_MP_");
  CHECK(sums_to_zero(memory, base, 16));
  CHECK(number(memory, base + 8, 1) == 1);
  CHECK(number(memory, base + 9, 1) == 4);
  const uint64_t table = number(memory, base + 4, 4);
  CHECK(text(memory, table, 4) == "PCMP");
  const uint64_t length = number(memory, table + 4, 2);
  CHECK(sums_to_zero(memory, table, length));
  CHECK(table + length == base + bytes.size());
  CHECK(number(memory, table + 36, 4) == 0xfee00000);

  // Every entry has the size of its type, and their count is right.
  std::map<unsigned, unsigned> kinds;
  std::map<std::pair<unsigned, unsigned>, unsigned> wires;
  uint64_t e = table + 44;
  for (unsigned i = 0; i < number(memory, table + 34, 2); ++i) {
    const auto type = static_cast<unsigned>(number(memory, e, 1));
    ++kinds[type];
    if (type == 0) {
      CHECK(number(memory, e + 3, 1) == 3);
      CHECK(number(memory, e + 4, 4) == 0x106a3);
    }
    if (type == 2) CHECK(number(memory, e + 4, 4) == 0xfec00000);
    if (type == 3) {
      CHECK(number(memory, e + 1, 1) == 0);
      const auto source =
          std::pair{static_cast<unsigned>(number(memory, e + 4, 1)), static_cast<unsigned>(number(memory, e + 5, 1))};
      CHECK(wires.count(source) == 0);
      wires[source] = static_cast<unsigned>(number(memory, e + 7, 1));
    }
    e += type == 0 ? 20 : 8;
  }
  CHECK(e == table + length);
  CHECK(kinds[0] == 1);
  CHECK(kinds[1] == 2);
  CHECK(kinds[2] == 1);
  CHECK(kinds[4] == 2);
  CHECK(wires[{1, 0}] == 2);  // the timer
  CHECK(wires[{1, 1}] == 1);  // the keyboard
  CHECK(wires[{1, 14}] == 14);
  CHECK(wires.count({1, 2}) == 0);
  CHECK(wires[{0, 1 << 2}] == 9);       // the power management function
  CHECK(wires[{0, 3 << 2}] == 11);      // slot 3, INTA: PIRQC
  CHECK(wires[{0, 4 << 2 | 1}] == 10);  // slot 4, INTB: PIRQA
}

TEST_CASE("firmware tables: SMBIOS structures") {
  const auto smbios = build_smbios(96 << 20, 0x106a3, 0x78bfbfd, 0xf2000);
  Memory memory;
  copy_in(memory, {{0xf1000, smbios.entry_point}, {0xf2000, smbios.structures}});
  CHECK(text(memory, 0xf1000, 4) == "_SM_");
  CHECK(sums_to_zero(memory, 0xf1000, 31));
  CHECK(text(memory, 0xf1010, 5) == "_DMI_");
  CHECK(sums_to_zero(memory, 0xf1010, 15));
  CHECK(number(memory, 0xf1006, 2) == 0x0802);
  CHECK(number(memory, 0xf1016, 2) == smbios.structures.size());
  CHECK(number(memory, 0xf1018, 4) == 0xf2000);

  std::map<unsigned, uint64_t> types;
  std::set<uint64_t> handles;
  uint64_t s = 0xf2000;
  unsigned count = 0;
  size_t largest = 0;
  const uint64_t end = 0xf2000 + smbios.structures.size();
  while (s < end) {
    const uint64_t start = s;
    types[static_cast<unsigned>(number(memory, s, 1))] = s;
    CHECK(handles.insert(number(memory, s + 2, 2)).second);
    s += number(memory, s + 1, 1);
    while (number(memory, s, 2) != 0) ++s;
    s += 2;
    ++count;
    largest = std::max<size_t>(largest, s - start);
  }
  CHECK(s == end);
  CHECK(count == number(memory, 0xf101c, 2));
  CHECK(largest == number(memory, 0xf1008, 2));
  for (unsigned type : {0u, 1u, 3u, 4u, 16u, 17u, 19u, 32u, 127u}) CHECK_MESSAGE(types.count(type) == 1, type);
  // Formatted lengths of version 2.8 for the structures that grew over time.
  CHECK(number(memory, types[0] + 1, 1) == 0x18);
  CHECK(number(memory, types[1] + 1, 1) == 0x1b);
  CHECK(number(memory, types[3] + 1, 1) == 0x16);
  CHECK(number(memory, types[4] + 1, 1) == 0x2a);
  CHECK(number(memory, types[16] + 1, 1) == 0x17);
  CHECK(number(memory, types[17] + 1, 1) == 0x28);
  CHECK(number(memory, types[19] + 1, 1) == 0x1f);
  CHECK(number(memory, types[17] + 0x0c, 2) == 96);
  CHECK(number(memory, types[19] + 8, 4) == 96 * 1024 - 1);
}

TEST_CASE("firmware tables: fw_cfg holds what SeaBIOS asks for") {
  tests::FakeBoard board;
  FwCfg fw_cfg(board.dma);
  fw_cfg.attach(board.ports);
  add_firmware_files(fw_cfg, setup_of(128 << 20), {{"vgabios.bin", {0x55, 0xaa, 1}}});

  const auto bytes = [&](uint16_t key, size_t count) {
    board.ports.write(0x510, 2, key);
    std::vector<uint8_t> out;
    for (size_t i = 0; i < count; ++i) out.push_back(static_cast<uint8_t>(board.ports.read(0x511, 1)));
    return out;
  };
  CHECK(at(bytes(FwCfg::kRamSize, 8), 0, 8) == 128 << 20);
  CHECK(at(bytes(FwCfg::kCpus, 2), 0, 2) == 1);
  CHECK(at(bytes(FwCfg::kMaxCpus, 2), 0, 2) == 1);
  CHECK(bytes(FwCfg::kIrq0Override, 1) == std::vector<uint8_t>{1});

  std::map<std::string, std::vector<uint8_t>> files;
  const auto head = bytes(FwCfg::kFileDirectory, 4);
  const size_t count = head[3];
  const auto directory = bytes(FwCfg::kFileDirectory, 4 + 64 * count);
  for (size_t i = 0; i < count; ++i) {
    const size_t e = 4 + 64 * i;
    const size_t size = static_cast<size_t>(directory[e + 1] << 16 | directory[e + 2] << 8 | directory[e + 3]);
    files[reinterpret_cast<const char*>(&directory[e + 8])] =
        bytes(static_cast<uint16_t>(directory[e + 4] << 8 | directory[e + 5]), size);
  }
  CHECK(at(files.at("etc/e820"), 8, 8) == 128 << 20);
  CHECK(files.at("etc/e820").size() == 20);
  CHECK(files.at("etc/acpi/tables") == build_acpi_tables().tables);
  CHECK(files.at("etc/acpi/rsdp").size() == 20);
  CHECK(files.at("etc/table-loader").size() % 128 == 0);
  CHECK(files.at("etc/smbios/smbios-anchor").size() == 31);
  CHECK(at(files.at("etc/smbios/smbios-anchor"), 22, 2) == files.at("etc/smbios/smbios-tables").size());
  CHECK(files.at("vgaroms/vgabios.bin") == std::vector<uint8_t>{0x55, 0xaa, 1});
  CHECK(files.at("etc/boot-fail-wait").size() == 4);
  CHECK(std::string(reinterpret_cast<const char*>(files.at("bootorder").data())) ==
        "/pci@i0cf8/ide@1,1/drive@1/disk@0\n/pci@i0cf8/ide@1,1/drive@0/disk@0\n/pci@i0cf8/isa@1/fdc@03f0/floppy@0");
}
