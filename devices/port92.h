// System control port A, port 92h: fast A20 (bit 1) and fast reset (a rise of bit 0). After PIIX3 82371SB (290550,
// "Port 92 register"); what was written reads back, whatever the keyboard controller has done to the gate since.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "emu/bus.h"
#include "emu/device.h"

namespace understudy::devices {

class Port92 : public emu::Device, public emu::PortDevice {
 public:
  struct State {
    uint8_t value = 0;
    bool operator==(const State&) const = default;
  };

  // `set_a20` hears bit 1 of every write; `reset_machine` asks for a reset at the end of the instruction.
  Port92(std::function<void(bool)> set_a20, std::function<void()> reset_machine)
      : set_a20_(std::move(set_a20)), reset_machine_(std::move(reset_machine)) {}
  void attach(emu::PortBus& bus);
  const State& state() const { return state_; }

  std::string_view name() const override { return "port92"; }
  void reset() override { state_ = State{}; }
  void visit_state(emu::StateVisitor& visitor) override;

  uint32_t port_read(uint16_t port, unsigned size) override;
  void port_write(uint16_t port, unsigned size, uint32_t value) override;

 private:
  std::function<void(bool)> set_a20_;
  std::function<void()> reset_machine_;
  State state_;
};

}  // namespace understudy::devices
