#include "devices/table_loader.h"

#include <string_view>

#include "emu/byte_writer.h"

namespace understudy::devices {

namespace {

constexpr std::string_view kRsdpFile = "etc/acpi/rsdp";
constexpr std::string_view kTablesFile = "etc/acpi/tables";
constexpr size_t kCommandSize = 128;
constexpr size_t kNameSize = 56;

enum Command : uint32_t { kAllocate = 1, kAddPointer = 2, kAddChecksum = 3 };
enum Zone : uint8_t { kHigh = 1, kSegmentF = 2 };

std::string_view file_of(AcpiBlob blob) { return blob == AcpiBlob::rsdp ? kRsdpFile : kTablesFile; }

class Script {
 public:
  void allocate(std::string_view file, uint32_t alignment, Zone zone) {
    begin(kAllocate).text(file, kNameSize).u32(alignment).u8(zone);
    end();
  }
  void add_pointer(const AcpiPointer& p) {
    begin(kAddPointer).text(file_of(p.in), kNameSize).text(kTablesFile, kNameSize).u32(p.offset).u8(p.size);
    end();
  }
  void add_checksum(const AcpiChecksum& c) {
    begin(kAddChecksum).text(file_of(c.in), kNameSize).u32(c.offset).u32(c.start).u32(c.length);
    end();
  }
  std::vector<uint8_t> take() { return out_.take(); }

 private:
  emu::ByteWriter& begin(Command command) { return out_.u32(command); }
  void end() { out_.align(kCommandSize); }
  emu::ByteWriter out_;
};

}  // namespace

std::vector<uint8_t> table_loader_script(const AcpiTables& acpi) {
  Script script;
  script.allocate(kRsdpFile, AcpiTables::kRsdpAlignment, kSegmentF);
  script.allocate(kTablesFile, AcpiTables::kTablesAlignment, kHigh);
  for (const AcpiPointer& p : acpi.pointers) script.add_pointer(p);
  for (const AcpiChecksum& c : acpi.checksums) script.add_checksum(c);
  return script.take();
}

void add_acpi_files(FwCfg& fw_cfg, const AcpiTables& acpi) {
  fw_cfg.add_file(std::string(kRsdpFile), acpi.rsdp);
  fw_cfg.add_file(std::string(kTablesFile), acpi.tables);
  fw_cfg.add_file("etc/table-loader", table_loader_script(acpi));
}

}  // namespace understudy::devices
