#include "devices/acpi_tables.h"

#include <string_view>

#include "devices/acpi_dsdt.h"
#include "devices/pc_wiring.h"
#include "emu/byte_writer.h"

namespace understudy::devices {

namespace {

constexpr std::string_view kOemId = "UNDRST";
constexpr std::string_view kOemTableId = "UNDRSTDY";
constexpr size_t kHeaderSize = 36;
constexpr size_t kHeaderChecksum = 9;

class Builder {
 public:
  AcpiTables build() {
    // The FACS is first, at the blob's alignment, and has no checksum (section 5.2.10).
    const size_t facs = out_.size();
    out_.text("FACS", 4).u32(64).zeros(56);
    out_.patch(facs + 32, 1, 1);  // version

    const auto dsdt = table("DSDT", 1, [&] { out_.bytes(dsdt_body()); });
    const auto fadt = table("FACP", 3, [&] { fadt_body(facs, dsdt); });
    const auto madt = table("APIC", 1, [&] { madt_body(); });
    const auto rsdt = table("RSDT", 1, [&] {
      out_.u32(0).u32(0);
      pointer(out_.size() - 8, fadt, 4);
      pointer(out_.size() - 4, madt, 4);
    });

    // Section 5.2.5.3, the ACPI 1.0 form.
    emu::ByteWriter rsdp;
    rsdp.text("RSD PTR ", 8).u8(0).text(kOemId, 6).u8(0).u32(rsdt);
    result_.pointers.push_back({AcpiBlob::rsdp, 16, 4});
    result_.checksums.push_back({AcpiBlob::rsdp, 8, 0, 20});
    result_.rsdp = rsdp.take();
    result_.tables = out_.take();
    return std::move(result_);
  }

 private:
  // A table with the standard header (section 5.2.6). Returns its offset.
  template <typename Body>
  uint32_t table(std::string_view signature, uint8_t revision, Body body) {
    out_.align(16);
    const auto start = static_cast<uint32_t>(out_.size());
    out_.text(signature, 4).u32(0).u8(revision).u8(0).text(kOemId, 6).text(kOemTableId, 8);
    out_.u32(1).text("UNDR", 4).u32(1);
    body();
    const auto length = static_cast<uint32_t>(out_.size()) - start;
    out_.patch(start + 4, length, 4);
    result_.checksums.push_back({AcpiBlob::tables, static_cast<uint32_t>(start + kHeaderChecksum), start, length});
    return start;
  }

  void pointer(size_t offset, uint64_t target, uint8_t size) {
    out_.patch(offset, target, size);
    result_.pointers.push_back({AcpiBlob::tables, static_cast<uint32_t>(offset), size});
  }

  // Section 5.2.9, the 244 bytes of revision 3. Offsets are the specification's.
  void fadt_body(uint64_t facs, uint64_t dsdt) {
    const size_t fadt = out_.size() - kHeaderSize;
    out_.zeros(244 - kHeaderSize);
    const auto put = [&](size_t at, uint64_t value, unsigned width) { out_.patch(fadt + at, value, width); };
    const auto io_register = [&](size_t at, uint64_t port, unsigned bits, unsigned access) {
      put(at, 1, 1);
      put(at + 1, bits, 1);
      put(at + 3, access, 1);
      put(at + 4, port, 8);
    };
    pointer(fadt + 36, facs, 4);
    pointer(fadt + 40, dsdt, 4);
    put(46, wiring::kSci, 2);
    // APM control port and the values that QEMU's PIIX4 takes for SCI_EN on and off.
    put(48, 0xb2, 4);
    put(52, 0xf1, 1);
    put(53, 0xf0, 1);
    put(56, wiring::kPmBase, 4);      // PM1a event block
    put(64, wiring::kPmBase + 4, 4);  // PM1a control
    put(76, wiring::kPmBase + 8, 4);  // PM timer
    put(88, 4, 1);
    put(89, 2, 1);
    put(91, 4, 1);
    put(96, 0xfff, 2);    // no C2
    put(98, 0xfff, 2);    // no C3
    put(108, 0x32, 1);    // century byte in CMOS
    put(109, 0x0003, 2);  // legacy devices and an 8042
    // WBINVD, C1 on the processor, no fixed sleep button, no fixed RTC wake, reset register.
    put(112, 1u << 0 | 1u << 2 | 1u << 5 | 1u << 6 | 1u << 10, 4);
    io_register(116, 0xcf9, 8, 1);
    put(128, 0x06, 1);  // hard reset, as the PIIX3's reset control register has it
    io_register(148, wiring::kPmBase, 32, 2);
    io_register(172, wiring::kPmBase + 4, 16, 2);
    io_register(208, wiring::kPmBase + 8, 32, 3);
  }

  // Section 5.2.12.
  void madt_body() {
    constexpr unsigned kLevelHigh = 0x0d;
    out_.u32(wiring::kLocalApic).u32(1);
    out_.u8(0).u8(8).u8(0).u8(0).u32(1);  // the one processor, enabled
    out_.u8(1).u8(12).u8(wiring::kIoApicId).u8(0).u32(wiring::kIoApic).u32(0);
    out_.u8(2).u8(10).u8(0).u8(0).u32(wiring::kTimerGsi).u16(0);
    for (unsigned irq = 0; irq < 16; ++irq)
      if ((wiring::kLevelIrqs >> irq & 1) != 0) out_.u8(2).u8(10).u8(0).u8(irq).u32(irq).u16(kLevelHigh);
    out_.u8(4).u8(6).u8(0xff).u16(0).u8(1);  // NMI at LINT1
  }

  emu::ByteWriter out_;
  AcpiTables result_;
};

}  // namespace

AcpiTables build_acpi_tables() { return Builder().build(); }

std::vector<emu::Chunk> place_acpi(const AcpiTables& acpi, uint32_t rsdp_address, uint32_t tables_address) {
  emu::ByteWriter rsdp;
  emu::ByteWriter tables;
  rsdp.bytes(acpi.rsdp);
  tables.bytes(acpi.tables);
  const auto blob = [&](AcpiBlob which) -> emu::ByteWriter& { return which == AcpiBlob::rsdp ? rsdp : tables; };
  for (const AcpiPointer& p : acpi.pointers) {
    uint64_t value = 0;
    for (unsigned i = 0; i < p.size; ++i) value |= static_cast<uint64_t>(blob(p.in).view().at(p.offset + i)) << (8 * i);
    blob(p.in).patch(p.offset, value + tables_address, p.size);
  }
  for (const AcpiChecksum& c : acpi.checksums) blob(c.in).checksum(c.offset, c.start, c.length);
  return {{rsdp_address, rsdp.take()}, {tables_address, tables.take()}};
}

}  // namespace understudy::devices
