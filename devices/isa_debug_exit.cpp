#include "devices/isa_debug_exit.h"

namespace understudy::devices {

void IsaDebugExit::visit_state(emu::StateVisitor& visitor) {
  visitor.value("requested", state_.requested);
  visitor.value("code", state_.code);
}

void IsaDebugExit::port_write(uint16_t, unsigned, uint32_t value) {
  state_ = {true, value};
  if (on_exit_) on_exit_(value);
}

}  // namespace understudy::devices
