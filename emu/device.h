// What the machine knows of a device: its name, its reset line and its state. How it is reached (ports, MMIO, lines,
// events, channels) is wired by the board.
#pragma once

#include <string_view>

#include "emu/state_visitor.h"

namespace understudy::emu {

class Device {
 public:
  virtual ~Device() = default;
  // Unique on the board, stable across versions: it names the device's part of a snapshot ("pic", "uart0", ...).
  virtual std::string_view name() const = 0;
  // Power-on and RESET#: the state after it is a function of the configuration alone.
  virtual void reset() = 0;
  // Names every field that a guest could ever notice, in a fixed order.
  virtual void visit_state(StateVisitor& visitor) = 0;
  // After a load: re-derive what is not in the state (bus attachments, ...). Scheduled events and the levels of lines
  // are restored by the event queue and by the sinks: do not raise lines or schedule events here.
  virtual void state_loaded() {}
};

}  // namespace understudy::emu
