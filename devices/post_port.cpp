#include "devices/post_port.h"

namespace understudy::devices {

void PostPort::port_write(uint16_t, unsigned, uint32_t value) {
  const auto code = static_cast<uint8_t>(value);
  if (code == state_.code) return;
  state_.code = code;
  if (on_change_) on_change_(code);
}

}  // namespace understudy::devices
