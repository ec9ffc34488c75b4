#include "devices/port61.h"

namespace understudy::devices {

namespace {
constexpr uint16_t kPort = 0x61;
constexpr uint8_t kGate2 = 0x01;
constexpr uint8_t kWritable = 0x0f;
constexpr unsigned kRefreshBit = 4;
constexpr unsigned kOut2Bit = 5;
// A DRAM refresh every 18 ticks of the timer's clock, about 15.085 us; bit 4 turns over with each.
constexpr uint64_t kRefreshTicks = 18;
}  // namespace

void Port61::attach(emu::PortBus& bus) { bus.attach(kPort, kPort, *this); }

void Port61::reset() {
  state_ = State{};
  pit_.set_gate(2, false);
}

void Port61::visit_state(emu::StateVisitor& visitor) { visitor.value("control", state_.control); }

uint32_t Port61::port_read(uint16_t, unsigned) {
  const uint64_t refreshes = pit_ticks(clock_.now_ns()) / kRefreshTicks;
  return static_cast<uint32_t>(state_.control | (refreshes & 1) << kRefreshBit | pit_.output(2) << kOut2Bit);
}

void Port61::port_write(uint16_t, unsigned, uint32_t value) {
  state_.control = value & kWritable;
  pit_.set_gate(2, value & kGate2);
}

}  // namespace understudy::devices
