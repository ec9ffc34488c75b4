#include "devices/mp_table.h"

#include "devices/pc_wiring.h"
#include "emu/byte_writer.h"

namespace understudy::devices {

namespace {
constexpr uint8_t kPciBus = 0;
constexpr uint8_t kIsaBus = 1;
constexpr size_t kPointerSize = 16;

enum InterruptType : uint8_t { kInt = 0, kNmi = 1, kExtInt = 3 };
constexpr uint16_t kConforming = 0;
constexpr uint16_t kLevelHigh = 0x0d;  // level, active high
constexpr uint8_t kAllLocalApics = 0xff;

class Table {
 public:
  explicit Table(emu::ByteWriter& out) : out_(out) {}
  unsigned entries() const { return entries_; }

  void processor(uint32_t signature, uint32_t features) {
    constexpr uint8_t kEnabledBoot = 3;
    entry(0).u8(0).u8(0x14).u8(kEnabledBoot).u32(signature).u32(features).zeros(8);
  }
  void bus(uint8_t id, std::string_view type) { entry(1).u8(id).text(type, 6, ' '); }
  void io_apic() { entry(2).u8(wiring::kIoApicId).u8(wiring::kIoApicVersion).u8(1).u32(wiring::kIoApic); }
  void io_interrupt(uint16_t flags, uint8_t bus, uint8_t source, uint8_t pin) {
    entry(3).u8(kInt).u16(flags).u8(bus).u8(source).u8(wiring::kIoApicId).u8(pin);
  }
  void local_interrupt(InterruptType type, uint8_t destination, uint8_t lint) {
    entry(4).u8(type).u16(kConforming).u8(kIsaBus).u8(0).u8(destination).u8(lint);
  }

 private:
  emu::ByteWriter& entry(uint8_t type) {
    ++entries_;
    return out_.u8(type);
  }
  emu::ByteWriter& out_;
  unsigned entries_ = 0;
};

}  // namespace

std::vector<uint8_t> build_mp_table(uint32_t address, uint32_t cpu_signature, uint32_t cpu_features) {
  emu::ByteWriter out;
  // Section 4.1; a length of 1 counts paragraphs, and zero feature bytes mean that the table below holds everything.
  out.text("_MP_", 4).u32(address + kPointerSize).u8(1).u8(4).u8(0).u8(0).zeros(4);
  out.checksum(10, 0, kPointerSize);

  // Section 4.2.
  const size_t base = out.size();
  out.text("PCMP", 4).u16(0).u8(4).u8(0).text("UNDRSTDY", 8, ' ').text("PC", 12, ' ');
  out.u32(0).u16(0).u16(0).u32(wiring::kLocalApic).u16(0).u8(0).u8(0);

  Table table(out);
  table.processor(cpu_signature, cpu_features);
  table.bus(kPciBus, "PCI");
  table.bus(kIsaBus, "ISA");
  table.io_apic();
  // PCI sources are slot << 2 | pin (section D.3); their wires end at the PIRQ's ISA interrupt, where the PIIX3
  // inverts them: active high.
  for (unsigned slot = 0; slot < wiring::kPciSlots; ++slot)
    for (unsigned pin = 0; pin < wiring::kPciPins; ++pin) {
      const bool sci = slot == wiring::kPiixSlot && pin == 0;
      const unsigned irq = sci ? wiring::kSci : wiring::kPirqRoute[wiring::pirq_of(slot, pin)];
      table.io_interrupt(kLevelHigh, kPciBus, static_cast<uint8_t>(slot << 2 | pin), static_cast<uint8_t>(irq));
    }
  for (unsigned irq = 0; irq < 16; ++irq) {
    const bool taken_by_pci = irq == wiring::kSci || irq == wiring::kPirqRoute[0] || irq == wiring::kPirqRoute[2];
    if (irq == 2 || taken_by_pci) continue;  // 2 is the cascade
    const unsigned pin = irq == 0 ? wiring::kTimerGsi : irq;
    table.io_interrupt(kConforming, kIsaBus, static_cast<uint8_t>(irq), static_cast<uint8_t>(pin));
  }
  table.local_interrupt(kExtInt, 0, 0);
  table.local_interrupt(kNmi, kAllLocalApics, 1);

  const size_t length = out.size() - base;
  out.patch(base + 4, length, 2);
  out.patch(base + 34, table.entries(), 2);
  out.checksum(base + 7, base, length);
  return out.take();
}

}  // namespace understudy::devices
