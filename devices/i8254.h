// The 8254 programmable interval timer: three 16-bit down counters clocked at 1,193,182 Hz. Time is counted in ticks of
// that clock since power-on (an exact function of virtual nanoseconds), and a counter's value and output are derived
// from the tick at which its count was loaded, so nothing drifts and a counter that nobody watches costs nothing. Only
// channel 0's rising output edges are events: its falling edges are delivered just before the next rise, or when a
// register is written, which no edge-triggered input can tell from the real thing. After Intel 82C54 (231244, "Mode
// definitions", "Programming the 82C54"); ports 40h-43h.
#pragma once

#include <cstdint>

#include "emu/bus.h"
#include "emu/clock.h"
#include "emu/device.h"
#include "emu/event_queue.h"
#include "emu/irq_line.h"

namespace understudy::devices {

constexpr uint64_t kPitHz = 1193182;
constexpr uint64_t kNsPerSecond = 1000000000;

// Whole ticks since power-on; seconds and rest apart, so that 64 bits and constant divisors suffice.
constexpr uint64_t pit_ticks(uint64_t ns) {
  return ns / kNsPerSecond * kPitHz + ns % kNsPerSecond * kPitHz / kNsPerSecond;
}
// The first nanosecond of a tick: pit_ticks(pit_tick_ns(t)) == t.
constexpr uint64_t pit_tick_ns(uint64_t tick) {
  return tick / kPitHz * kNsPerSecond + (tick % kPitHz * kNsPerSecond + kPitHz - 1) / kPitHz;
}

class I8254 : public emu::Device, public emu::PortDevice {
 public:
  static constexpr unsigned kChannels = 3;
  // What a channel's counting element does.
  enum class Phase : uint8_t {
    kHeld,      // no count since the control word, a trigger awaited, or modes 2 and 3 with the gate low
    kPaused,    // modes 0 and 4 with the gate low
    kCounting,  // from tick `start` on; before it the load is still to come (the chip loads one clock after the write)
  };
  struct Channel {
    uint8_t mode = 0;
    uint8_t access = 3;  // 1 low byte, 2 high byte, 3 low then high
    bool bcd = false;
    bool gate = true;
    bool programmed = true;  // a count was written since the control word
    uint8_t write_low = 0;
    bool write_high_next = false;
    bool read_high_next = false;
    uint16_t latch = 0;
    uint8_t latched_bytes = 0;  // still to be read: bit 0 low, bit 1 high
    uint8_t status = 0;
    bool status_latched = false;

    Phase phase = Phase::kCounting;
    uint32_t count = 65536;   // the count in use, 1..65536 (2.. in modes 2 and 3)
    uint32_t reload = 65536;  // the count written last
    bool pending = false;     // `reload` still waits to become `count`
    int64_t start = 0;        // kCounting: the tick at which the counter held `count`
    int64_t switch_tick = 0;  // pending in modes 2 and 3: the end of the (half) cycle that takes it over
    int64_t elapsed = 0;      // kPaused: ticks counted so far
    uint16_t held_count = 0;  // what is read, and the output, while nothing counts or the load is still to come
    bool held_out = true;
    bool operator==(const Channel&) const = default;
  };
  struct State {
    Channel channels[kChannels];
    bool wire = false;  // the level that the IRQ line saw last
    bool operator==(const State&) const = default;
  };

  // `irq0` follows channel 0's output.
  I8254(const emu::Clock& clock, emu::EventQueue& events, emu::IrqLine irq0);
  void attach(emu::PortBus& bus);

  // Gates are high but for channel 2's, which port 61h drives.
  void set_gate(unsigned channel, bool level);
  bool output(unsigned channel);
  const State& state() const { return state_; }

  std::string_view name() const override { return "pit"; }
  // The chip's state after power-up is undefined. Ours: counting down in mode 0 with the count long expired, so that
  // counters move, outputs are high and no interrupt comes before a guest asks for one.
  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;

  uint32_t port_read(uint16_t port, unsigned size) override;
  void port_write(uint16_t port, unsigned size, uint32_t value) override;

 private:
  int64_t now_tick() const { return static_cast<int64_t>(pit_ticks(clock_.now_ns())); }
  void write_control(uint8_t value, int64_t tick);
  void read_back(uint8_t value, int64_t tick);
  void write_data(unsigned index, uint8_t value, int64_t tick);
  uint8_t read_data(unsigned index, int64_t tick);

  // Channel 0's wire and event around a change of its registers.
  void before_change(unsigned index, int64_t tick);
  void after_change(unsigned index, int64_t tick);
  void drive(bool level);
  void schedule(int64_t tick);
  void on_rise();

  const emu::Clock& clock_;
  emu::EventQueue& events_;
  emu::IrqLine irq0_;
  emu::EventQueue::Id rise_;
  State state_;
};

}  // namespace understudy::devices
