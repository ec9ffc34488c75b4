#include "devices/port92.h"

namespace understudy::devices {

namespace {
constexpr uint16_t kPort = 0x92;
constexpr uint8_t kFastReset = 0x01;
constexpr uint8_t kFastA20 = 0x02;
}  // namespace

void Port92::attach(emu::PortBus& bus) { bus.attach(kPort, kPort, *this); }

void Port92::visit_state(emu::StateVisitor& visitor) { visitor.value("value", state_.value); }

uint32_t Port92::port_read(uint16_t, unsigned) { return state_.value; }

void Port92::port_write(uint16_t, unsigned, uint32_t value) {
  const auto byte = static_cast<uint8_t>(value);
  const bool reset_rises = (byte & kFastReset) && !(state_.value & kFastReset);
  state_.value = byte;
  if (set_a20_) set_a20_(byte & kFastA20);
  if (reset_rises && reset_machine_) reset_machine_();
}

}  // namespace understudy::devices
