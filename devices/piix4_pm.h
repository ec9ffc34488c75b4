// The PIIX4's power management function, 01.3: the ACPI fixed hardware (PM1 event and control blocks, the 3.579545 MHz
// power management timer, the software SMI ports B2/B3), a general-purpose event block and an SMBus host with an empty
// bus. 82371AB datasheet (290562), chapters 7 and 11; ACPI specification 6.5, section 4.8.3.
// There is no system management mode: firmware is told that its SMI handler is installed already (DEVACTB bit 25),
// and the hardware itself does what QEMU's firmware contract asks of a write to B2: F1h turns ACPI on, F0h off.
// Time: the timer counts virtual nanoseconds since power-on exactly, 24 bits wide, and is not stopped by a reset.
#pragma once

#include <cstdint>
#include <functional>

#include "devices/pci_device.h"
#include "emu/bus.h"
#include "emu/clock.h"
#include "emu/event_queue.h"
#include "emu/irq_line.h"

namespace understudy::devices {

class Piix4Pm : public PciDevice, public emu::PortDevice {
 public:
  static constexpr uint16_t kSmiCommandPort = 0xb2;
  static constexpr uint16_t kSmiStatusPort = 0xb3;
  static constexpr uint16_t kGpeBase = 0xafe0;  // GPE0: two bytes of status, two of enable
  static constexpr uint8_t kAcpiEnable = 0xf1;
  static constexpr uint8_t kAcpiDisable = 0xf0;
  // SLP_TYP of S5, for the DSDT's \_S5 package.
  static constexpr uint8_t kSleepTypeOff = 0;

  // `sci` is ISA interrupt 9 (level, active high at the line). `power_off` is called from within the guest's write: it
  // must only ask for the end, which then comes between instructions.
  Piix4Pm(PciBus& bus, const emu::Clock& clock, emu::EventQueue& events, emu::IrqLine sci,
          std::function<void()> power_off);

  // Claims B2..B3 and the GPE block; the PM and SMBus blocks follow PMBA and SMBBA.
  void attach(emu::PortBus& ports);

  // The power button: an input, so only to be called from a channel's handler.
  void press_power_button();

  std::string_view name() const override { return "piix4_pm"; }
  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;

  uint32_t port_read(uint16_t port, unsigned size) override;
  void port_write(uint16_t port, unsigned size, uint32_t value) override;

 protected:
  uint64_t window_base(unsigned index) const override;
  uint64_t window_read(unsigned index, uint64_t offset, unsigned size) override;
  void window_write(unsigned index, uint64_t offset, unsigned size, uint64_t value) override;

 private:
  static constexpr unsigned kPmBlock = 6;
  static constexpr unsigned kSmbusBlock = 7;
  uint64_t ticks() const;
  void update_timer_status();
  void update();
  uint8_t read_pm(unsigned offset, uint32_t timer);
  void write_pm(unsigned offset, uint8_t value);
  void write_control_high(uint8_t value);
  uint8_t read_smbus(unsigned offset) const;
  void write_smbus(unsigned offset, uint8_t value);

  struct State {
    uint16_t status = 0;      // PM1_STS
    uint16_t enable = 0;      // PM1_EN
    uint16_t control = 0;     // PM1_CNT without SLP_EN
    uint64_t timer_half = 0;  // how many times bit 23 of the timer had toggled when TMR_STS was brought up to date
    uint8_t smi_command = 0;  // B2
    uint8_t smi_status = 0;   // B3
    uint16_t gpe_enable = 0;
    uint32_t global_control = 0;  // GLBCTL, storage only
    uint8_t smbus_status = 0;
    uint8_t smbus[16] = {};  // the host's other registers, storage only
  };
  State state_;
  const emu::Clock& clock_;
  emu::EventQueue& events_;
  emu::EventQueue::Id overflow_event_;
  emu::IrqLine sci_;
  std::function<void()> power_off_;
};

}  // namespace understudy::devices
