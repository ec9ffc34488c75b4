// The port a test guest writes its verdict to (0xf4..0xf7): the machine's owner is called with the value and stops the
// run. QEMU's documentation of the isa-debug-exit device defines the meaning: a process exit code of value * 2 + 1.
#pragma once

#include <cstdint>
#include <functional>

#include "emu/bus.h"
#include "emu/device.h"

namespace understudy::devices {

class IsaDebugExit : public emu::Device, public emu::PortDevice {
 public:
  static constexpr uint16_t kPort = 0xf4;
  using Callback = std::function<void(uint32_t code)>;

  explicit IsaDebugExit(Callback on_exit) : on_exit_(std::move(on_exit)) {}
  void attach(emu::PortBus& ports) { ports.attach(kPort, kPort + 3, *this, 4); }

  // What QEMU's process would exit with, cut to the eight bits that a process can give.
  static constexpr int process_exit_code(uint32_t code) { return static_cast<int>((code << 1 | 1) & 0xff); }

  std::string_view name() const override { return "debug_exit"; }
  void reset() override { state_ = {}; }
  void visit_state(emu::StateVisitor& visitor) override;

  // Reads give 0, as in QEMU; that is also how a guest can tell the device from an empty port.
  uint32_t port_read(uint16_t, unsigned) override { return 0; }
  void port_write(uint16_t port, unsigned size, uint32_t value) override;

  bool requested() const { return state_.requested; }
  uint32_t code() const { return state_.code; }

 private:
  struct State {
    bool requested = false;  // the guest has asked to end
    uint32_t code = 0;
  };
  State state_;
  Callback on_exit_;
};

}  // namespace understudy::devices
