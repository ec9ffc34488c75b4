// System control port B, port 61h: timer 2's gate and output, the speaker's data bit, the NMI enables and the refresh
// toggle. After PIIX3 82371SB (290550, "NMISC - NMI status and control register"). The speaker is silent and neither
// SERR# nor IOCHK# ever comes, so bits 1 to 3 only read back and bits 6 and 7 are 0. Timer 2's gate is the 8254's
// state.
#pragma once

#include <cstdint>

#include "devices/i8254.h"
#include "emu/bus.h"
#include "emu/clock.h"
#include "emu/device.h"

namespace understudy::devices {

class Port61 : public emu::Device, public emu::PortDevice {
 public:
  struct State {
    uint8_t control = 0;  // bits 0..3 as written
    bool operator==(const State&) const = default;
  };

  Port61(const emu::Clock& clock, I8254& pit) : clock_(clock), pit_(pit) {}
  void attach(emu::PortBus& bus);
  const State& state() const { return state_; }

  std::string_view name() const override { return "port61"; }
  // Lowers timer 2's gate.
  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;

  uint32_t port_read(uint16_t port, unsigned size) override;
  void port_write(uint16_t port, unsigned size, uint32_t value) override;

 private:
  const emu::Clock& clock_;
  I8254& pit_;
  State state_;
};

}  // namespace understudy::devices
