// The power-on self-test port 0x80: firmware writes progress codes, and operating systems write to it for the delay of
// one ISA cycle (a million times in a boot), so a write that changes nothing costs one comparison.
// IBM PC AT Technical Reference, "I/O address map": 080 manufacturing checkpoint port, readable back as the spare page
// register that it shares its address with.
#pragma once

#include <cstdint>
#include <functional>

#include "emu/bus.h"
#include "emu/device.h"

namespace understudy::devices {

class PostPort : public emu::Device, public emu::PortDevice {
 public:
  static constexpr uint16_t kPort = 0x80;
  using Callback = std::function<void(uint8_t code)>;

  // `on_change` is called for each write of another code than the latest; it may be empty.
  explicit PostPort(Callback on_change = {}) : on_change_(std::move(on_change)) {}
  void attach(emu::PortBus& ports) { ports.attach(kPort, kPort, *this); }

  std::string_view name() const override { return "post"; }
  void reset() override { state_ = {}; }
  void visit_state(emu::StateVisitor& visitor) override { visitor.value("code", state_.code); }

  uint32_t port_read(uint16_t, unsigned) override { return state_.code; }
  void port_write(uint16_t port, unsigned size, uint32_t value) override;

  uint8_t code() const { return state_.code; }

 private:
  struct State {
    uint8_t code = 0;
  };
  State state_;
  Callback on_change_;
};

}  // namespace understudy::devices
