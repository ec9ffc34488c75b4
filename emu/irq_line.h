// An interrupt request line: a wire from a device to one pin of a controller. The device knows only the wire.
#pragma once

namespace understudy::emu {

// The controller's side: one object with numbered input pins. `level` is the logical level (true = asserted).
class IrqSink {
 public:
  virtual ~IrqSink() = default;
  virtual void set_irq(unsigned pin, bool level) = 0;
};

// A device's handle on one pin. Copyable; an unconnected line (the default) swallows every change.
// Lines carry no state of their own: the sink stores the level it saw last.
class IrqLine {
 public:
  IrqLine() = default;
  IrqLine(IrqSink* sink, unsigned pin) : sink_(sink), pin_(pin) {}
  void set(bool level) const {
    if (sink_ != nullptr) sink_->set_irq(pin_, level);
  }
  // One rising and one falling edge.
  void pulse() const {
    set(true);
    set(false);
  }

 private:
  IrqSink* sink_ = nullptr;
  unsigned pin_ = 0;
};

}  // namespace understudy::emu
