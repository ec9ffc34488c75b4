// The I/O APIC: 24 interrupt pins, each with a 64-bit redirection entry that turns it into a message to the local APIC
// (Intel 82093AA datasheet). Two registers in memory, IOREGSEL and IOWIN, reach everything else. It is version
// 0x11, without the EOI register of later chips: a level interrupt ends by the local APIC's EOI, or by making the pin
// edge-triggered for a moment.
//
// Levels at the pins are logical (true = asserted): the polarity bit is kept and ignored. An edge at a masked pin is
// lost (datasheet, section 3.2.4). A level-triggered message that is not accepted stays and is tried again.
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "devices/apic_message.h"
#include "emu/bus.h"
#include "emu/device.h"
#include "emu/irq_line.h"

namespace understudy::devices {

class IoApic : public emu::Device, public emu::MmioDevice, public emu::IrqSink {
 public:
  static constexpr unsigned kPins = 24;
  static constexpr uint64_t kBase = 0xfec00000;
  static constexpr uint64_t kWindowBytes = 0x1000;

  // `send` puts a message on the APIC bus; it returns whether somebody accepted it.
  explicit IoApic(std::function<bool(const ApicMessage&)> send);
  void attach(emu::MmioBus& bus) { bus.attach(kBase, kWindowBytes, *this); }

  void set_irq(unsigned pin, bool level) override;
  // The local APIC's EOI broadcast.
  void end_of_interrupt(uint8_t vector);
  // The local APIC may accept now what it refused before.
  void retry();

  std::string_view name() const override { return "ioapic"; }
  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;
  // IOWIN takes 32-bit accesses at its exact offset only; others read zero and do nothing.
  uint64_t mmio_read(uint64_t offset, unsigned size) override;
  void mmio_write(uint64_t offset, unsigned size, uint64_t value) override;

 private:
  struct State {
    uint8_t selected = 0;
    uint8_t id = 0;
    uint32_t levels = 0;  // one bit per pin
    std::array<uint64_t, kPins> redirection{};
  };

  uint32_t read_register() const;
  void write_register(uint32_t value);
  bool send(uint64_t entry) const;
  void service_level(unsigned pin);

  std::function<bool(const ApicMessage&)> send_;
  State state_;
};

}  // namespace understudy::devices
