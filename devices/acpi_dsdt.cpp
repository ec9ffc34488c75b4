#include "devices/acpi_dsdt.h"

#include <string>

#include "devices/acpi_resources.h"
#include "devices/pc_wiring.h"

namespace understudy::devices {

using namespace aml;

namespace {

// An interrupt link (ACPI 6.4, section 6.2.13) over one PIRQRC register: bit 7 set means not routed, bits 3..0 are the
// interrupt (PIIX3 datasheet, "PIRQRC[A:D]"). The extended interrupt descriptor's number is at byte 5 of the template.
Bytes pirq_link(unsigned index) {
  const std::string letter(1, static_cast<char>('A' + index));
  const std::string reg = "\\_SB.PCI0.ISA.PRQ" + letter;
  return device(
      "LNK" + letter,
      {name("_HID", eisa_id("PNP0C0F")), name("_UID", integer(index + 1)),
       name("_PRS", resource_template({level_interrupts({5, 10, 11})})),
       method("_STA", 0, false, {when(bit_and(path(reg), integer(0x80)), {give(integer(0x09))}), give(integer(0x0b))}),
       method("_DIS", 0, false, {bit_or(path(reg), integer(0x80), path(reg))}),
       method("_CRS", 0, true,
              {name("NOW", resource_template({level_interrupts({0})})), dword_field(path("NOW"), 5, "NUM"),
               store(bit_and(path(reg), integer(0x0f)), path("NUM")),
               when(bit_and(path(reg), integer(0x80)), {store(integer(0), path("NUM"))}), give(path("NOW"))}),
       method("_SRS", 1, true, {dword_field(arg(0), 5, "NUM"), store(path("NUM"), path(reg))})});
}

// The power management function's own interrupt is the SCI, whatever the PIRQs do.
Bytes sci_link() {
  const Bytes fixed = resource_template({level_interrupts({wiring::kSci})});
  return device("LNKS",
                {name("_HID", eisa_id("PNP0C0F")), name("_UID", integer(5)), name("_PRS", fixed), name("_CRS", fixed),
                 name("_STA", integer(0x0b)), method("_DIS", 0, false, {}), method("_SRS", 1, false, {})});
}

Bytes routing_table() {
  std::vector<Bytes> entries;
  for (unsigned slot = 0; slot < wiring::kPciSlots; ++slot)
    for (unsigned pin = 0; pin < wiring::kPciPins; ++pin) {
      std::string link = "LNK";
      link += static_cast<char>('A' + wiring::pirq_of(slot, pin));
      if (slot == wiring::kPiixSlot && pin == 0) link = "LNKS";
      entries.push_back(package({integer(slot << 16 | 0xffff), integer(pin), path("\\_SB." + link), integer(0)}));
    }
  return package(entries);
}

Bytes isa_device(std::string_view short_name, std::string_view hid, unsigned uid,
                 std::initializer_list<Bytes> resources) {
  return device(short_name, {name("_HID", eisa_id(hid)), name("_UID", integer(uid)), name("_STA", integer(0x0f)),
                             name("_CRS", resource_template(resources))});
}

Bytes isa_bridge() {
  return device("ISA",
                {name("_ADR", integer(wiring::kPiixSlot << 16)), pci_config_region("PIRQ", 0x60, 4),
                 byte_fields("PIRQ", {"PRQA", "PRQB", "PRQC", "PRQD"}),
                 isa_device("RTC", "PNP0B00", 0, {io_ports(0x70, 2), irq(8)}),
                 isa_device("KBD", "PNP0303", 0, {io_ports(0x60, 1), io_ports(0x64, 1), irq(1)}),
                 isa_device("MOU", "PNP0F13", 0, {irq(12)}),
                 isa_device("FDC0", "PNP0700", 0, {io_ports(0x3f2, 4), io_ports(0x3f7, 1), irq(6), dma_channel(2)}),
                 isa_device("COM1", "PNP0501", 1, {io_ports(0x3f8, 8), irq(4)}),
                 isa_device("COM2", "PNP0501", 2, {io_ports(0x2f8, 8), irq(3)}),
                 // Motherboard resources that no driver claims: power management, SMBus, APM, fw_cfg.
                 isa_device("MBRD", "PNP0C02", 1,
                            {io_ports(wiring::kPmBase, 0x40), io_ports(wiring::kSmbusBase, 0x10), io_ports(0xb2, 2),
                             io_ports(0x510, 0x0c)})});
}

Bytes pci_root() {
  return device(
      "PCI0", {name("_HID", eisa_id("PNP0A03")), name("_UID", integer(0)),
               name("_CRS", resource_template({bus_window(0, 0xff), io_ports(0xcf8, 8), io_window(0, 0xcf7),
                                               io_window(0xd00, 0xffff), memory_window(0xa0000, 0xbffff, true),
                                               memory_window(wiring::kPciMemoryFirst, wiring::kPciMemoryLast, false)})),
               name("_PRT", routing_table()), isa_bridge()});
}

}  // namespace

Bytes dsdt_body() {
  return join({// S5, soft off: SLP_TYP 0 in both PM1 control registers, as a PIIX4 decodes it.
               name("\\_S5", package({integer(0), integer(0), integer(0), integer(0)})),
               scope("\\_SB", {pirq_link(0), pirq_link(1), pirq_link(2), pirq_link(3), sci_link(), pci_root(),
                               device("CPU0", {name("_HID", string("ACPI0007")), name("_UID", integer(0))})})});
}

}  // namespace understudy::devices
