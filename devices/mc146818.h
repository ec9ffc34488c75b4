// The MC146818A real-time clock with 128 bytes of CMOS RAM behind ports 70h/71h. The time of day is derived: a number
// of seconds since 1970 (UTC, guest's calendar) at a second boundary of the divider chain, plus virtual time since;
// flags of register C are brought up to date when someone looks, and an event exists only while an enabled interrupt
// waits to happen. After Motorola MC146818A (ADI856R2, "Registers A to D", "Update cycle", "Periodic interrupt");
// century in byte 32h, as ACPI's FADT says. Daylight saving (DSE), the square wave and port 70h's NMI mask are without
// effect.
#pragma once

#include <array>
#include <cstdint>

#include "emu/bus.h"
#include "emu/clock.h"
#include "emu/device.h"
#include "emu/event_queue.h"
#include "emu/irq_line.h"

namespace understudy::devices {

class Mc146818 : public emu::Device, public emu::PortDevice {
 public:
  struct State {
    uint8_t index = 0;
    // Time bytes are valid only while the update cycle is inhibited (SET, or the divider held); register C holds the
    // flags up to `synced_ns`.
    std::array<uint8_t, 128> cmos{};
    int64_t base_seconds = 0;   // the calendar's value when `origin_ns` was now
    int64_t origin_ns = 0;      // when the divider chain stood at zero; may lie before power-on
    uint8_t weekday_shift = 0;  // the weekday is a counter of its own: 0..6 days off the date's
    uint64_t synced_ns = 0;
    bool operator==(const State&) const = default;
  };

  // `start_seconds`: the guest's wall clock at virtual time 0, seconds since 1970-01-01 00:00 UTC.
  Mc146818(const emu::Clock& clock, emu::EventQueue& events, emu::IrqLine irq8, int64_t start_seconds);
  void attach(emu::PortBus& bus);

  // The board's part of the CMOS (memory sizes, drive types), while it is wired. Throws std::logic_error for the
  // clock's own bytes (0..0dh, 32h) and beyond 7fh.
  void set_cmos(unsigned index, uint8_t value);
  const State& state() const { return state_; }

  std::string_view name() const override { return "rtc"; }
  // RESET# clears the interrupt enables and flags. Time and RAM live on their battery: a machine that resets itself
  // finds its shutdown code and its clock again.
  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;

  uint32_t port_read(uint16_t port, unsigned size) override;
  void port_write(uint16_t port, unsigned size, uint32_t value) override;

 private:
  uint8_t read_register(unsigned index, uint64_t now);
  void write_register(unsigned index, uint8_t value, uint64_t now);
  void write_control(unsigned index, uint8_t value, uint64_t now);

  bool divider_runs() const;
  bool updates_run() const;
  // log2 of the periodic interrupt's period in 1/32768 s; 0 is off.
  unsigned period_shift() const;
  uint64_t divider_ns(uint64_t now) const { return now - static_cast<uint64_t>(state_.origin_ns); }
  int64_t calendar(uint64_t now) const;

  uint8_t encode(unsigned value) const;
  unsigned decode(uint8_t byte) const;
  uint8_t encode_hour(unsigned hour) const;
  unsigned decode_hour(uint8_t byte) const;
  uint8_t time_byte(unsigned index, uint64_t now) const;
  void registers_from_calendar(uint64_t now);
  void calendar_from_registers(uint64_t now);

  // Seconds from `calendar_seconds` to the next one that matches the alarm, 1..86400; 0 is never.
  uint32_t seconds_to_alarm(int64_t calendar_seconds) const;
  // Brings register C's flags up to `now`; every change of what they depend on comes after this.
  void sync(uint64_t now);
  // Sets IRQF and the line from flags and enables, and the event for the next enabled flag.
  void update_interrupt(uint64_t now);
  void schedule(uint64_t now);

  const emu::Clock& clock_;
  emu::EventQueue& events_;
  emu::IrqLine irq8_;
  emu::EventQueue::Id event_;
  State state_;
};

}  // namespace understudy::devices
