// A debug console: one port whose written bytes go to a channel of the world, unbuffered. SeaBIOS logs to 0x402 when a
// read of it gives 0xe9 (seabios docs/Debugging.md); Bochs and small kernels use 0xe9 (Bochs manual, port_e9_hack).
#pragma once

#include <cstdint>
#include <string>

#include "emu/bus.h"
#include "emu/device.h"
#include "emu/world.h"

namespace understudy::devices {

class Debugcon : public emu::Device, public emu::PortDevice {
 public:
  static constexpr uint16_t kSeabiosPort = 0x402;
  static constexpr uint16_t kBochsPort = 0xe9;

  // `channel` names both the device and its channel: "debugcon" at kSeabiosPort, "debugcon_e9" at kBochsPort.
  Debugcon(emu::World& world, std::string channel, uint16_t port);
  void attach(emu::PortBus& ports) { ports.attach(port_, port_, *this); }

  // The console holds nothing: what was written has left, and a read always gives kPresent.
  std::string_view name() const override { return name_; }
  void reset() override {}
  void visit_state(emu::StateVisitor&) override {}

  uint32_t port_read(uint16_t, unsigned) override { return kPresent; }
  void port_write(uint16_t port, unsigned size, uint32_t value) override;

 private:
  static constexpr uint32_t kPresent = 0xe9;
  emu::World& world_;
  std::string name_;
  uint16_t port_;
  emu::ChannelId channel_;
};

}  // namespace understudy::devices
