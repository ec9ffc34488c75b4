// The PC's pair of 8259A interrupt controllers: the slave's INT drives the master's IR2, as the PIIX3 wires them. Pins
// 0..15 are IRQ 0..15 (pin 2 is the cascade and ignores its caller). Behaviour after Intel 8259A (231468, "Interrupt
// sequence", "Programming the 8259A") and PIIX3 82371SB (290550, 2.5.2 for ICW/OCW, 2.5.9 for the ELCR: it replaces
// ICW1's LTIM, which is ignored). A request on an edge pin stays latched until it is acknowledged even if its line
// drops; the cascade input follows the slave's INT, so masking a slave's last request takes the master's away too.
#pragma once

#include <cstdint>

#include "emu/bus.h"
#include "emu/device.h"
#include "emu/irq_line.h"

namespace understudy::devices {

class I8259 : public emu::Device, public emu::PortDevice, public emu::IrqSink {
 public:
  struct Chip {
    uint8_t irr = 0;
    uint8_t isr = 0;
    uint8_t imr = 0xff;  // an uninitialised pair must not interrupt
    uint8_t lines = 0;   // levels seen last
    uint8_t elcr = 0;    // set bits are level-triggered
    uint8_t vector_base = 0;
    uint8_t top = 0;        // the level of highest priority
    uint8_t init_step = 0;  // the ICW expected next (2, 3, 4), or 0
    bool needs_icw4 = false;
    bool single = false;
    bool auto_eoi = false;
    bool rotate_on_auto_eoi = false;
    bool special_mask = false;
    bool special_fully_nested = false;
    bool read_isr = false;
    bool poll = false;  // the next read is a poll
    bool operator==(const Chip&) const = default;
  };
  struct State {
    Chip chips[2];  // master, slave
    bool intr = false;
    bool operator==(const State&) const = default;
  };

  // `intr` is the pair's INTR output: its level is "an interrupt waits".
  explicit I8259(emu::IrqLine intr) : intr_(intr) {}
  void attach(emu::PortBus& bus);

  // The INTA cycle: takes the request of highest priority into service and returns its vector; without one (the request
  // has gone since INTR was sampled) the spurious vector of level 7, which is not taken into service.
  uint8_t acknowledge();
  bool intr() const { return state_.intr; }
  const State& state() const { return state_; }

  std::string_view name() const override { return "pic"; }
  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;

  uint32_t port_read(uint16_t port, unsigned size) override;
  void port_write(uint16_t port, unsigned size, uint32_t value) override;
  void set_irq(unsigned pin, bool level) override;

 private:
  static constexpr unsigned kMaster = 0;
  static constexpr unsigned kSlave = 1;
  static constexpr unsigned kCascade = 2;

  // The level that would be acknowledged now, or -1.
  int highest(unsigned chip) const;
  void take_into_service(Chip& chip, unsigned level);
  uint8_t poll(unsigned chip);
  void begin_init(Chip& chip, uint8_t icw1);
  void write_icw(Chip& chip, uint8_t value);
  void write_ocw2(Chip& chip, uint8_t value);
  void write_ocw3(Chip& chip, uint8_t value);
  // Recomputes the cascade and INTR after any change.
  void update();

  emu::IrqLine intr_;
  State state_;
};

}  // namespace understudy::devices
