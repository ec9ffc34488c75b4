// The gate on address line 20, with its two drivers: the keyboard controller's output port and port 92h. As on QEMU's
// PC the last write of either decides, whatever the other one last said; a reset opens the gate (address bit 20
// counts).
#pragma once

#include <functional>
#include <utility>

#include "emu/device.h"

namespace understudy::devices {

class A20Gate : public emu::Device {
 public:
  struct State {
    bool enabled = true;
    bool operator==(const State&) const = default;
  };

  // `on_change` hears every change, and the level that holds after a reset or a load.
  explicit A20Gate(std::function<void(bool enabled)> on_change) : on_change_(std::move(on_change)) {}

  void set_from_keyboard(bool enabled) { set(enabled); }
  void set_from_port92(bool enabled) { set(enabled); }
  bool enabled() const { return state_.enabled; }

  std::string_view name() const override { return "a20"; }
  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;
  void state_loaded() override;

 private:
  void set(bool enabled);

  std::function<void(bool)> on_change_;
  State state_;
};

}  // namespace understudy::devices
