#include "devices/a20_gate.h"

namespace understudy::devices {

void A20Gate::reset() {
  state_ = State{};
  if (on_change_) on_change_(state_.enabled);
}

void A20Gate::visit_state(emu::StateVisitor& visitor) { visitor.value("enabled", state_.enabled); }

void A20Gate::state_loaded() {
  if (on_change_) on_change_(state_.enabled);
}

void A20Gate::set(bool enabled) {
  if (enabled == state_.enabled) return;
  state_.enabled = enabled;
  if (on_change_) on_change_(enabled);
}

}  // namespace understudy::devices
