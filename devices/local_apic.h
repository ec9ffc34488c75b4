// The CPU's local APIC in xAPIC mode (Intel SDM volume 3, chapter 11): 256 vectors with priorities, six local sources,
// a timer, self-IPIs, and the way through for the 8259's INTR (virtual wire). It is the CPU's only interrupt source:
// its output is high exactly while acknowledge() would return a vector. Version 0x14, one CPU, no x2APIC, no
// TSC-deadline timer, no EOI-broadcast suppression; SMIs are dropped and a SIPI finds nobody waiting for it.
//
// At power-on LINT0 lets ExtINT through unmasked although the APIC is software-disabled, so that images that know
// nothing of APICs get their PIC interrupts (the SDM would have LINT0 masked; emulators agree on this deviation).
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "devices/apic_message.h"
#include "devices/apic_timer.h"
#include "emu/bus.h"
#include "emu/clock.h"
#include "emu/device.h"
#include "emu/event_queue.h"
#include "emu/irq_line.h"

namespace understudy::devices {

// As a sink, pin kLint0 takes the 8259's INTR and pin kLint1 an NMI source.
class LocalApic : public emu::Device, public emu::MmioDevice, public emu::IrqSink {
 public:
  static constexpr unsigned kLint0 = 0;
  static constexpr unsigned kLint1 = 1;
  static constexpr uint64_t kDefaultBase = 0xfee00000;
  static constexpr uint64_t kWindowBytes = 0x1000;
  static constexpr uint64_t kBaseBsp = 1u << 8;
  static constexpr uint64_t kBaseEnable = 1u << 11;
  // Expiries of a periodic timer that come closer than this merge into one interrupt (phase and count stay exact):
  // a guest must not be able to fill all time with timer events.
  static constexpr uint64_t kMinPeriodicGapNs = 1000;

  // Every callback may be empty. They run in the middle of a guest's store: `nmi` and `init` must only leave a request
  // for the CPU's next instruction boundary.
  struct Wiring {
    emu::IrqLine interrupt;                         // to the CPU's INTR
    std::function<void()> nmi;                      // edge
    std::function<void()> init;                     // INIT: the APIC has already reset itself
    std::function<int()> pic_acknowledge;           // the 8259's INTA cycle
    std::function<void(uint8_t)> end_of_interrupt;  // EOI of a level-triggered vector: to the I/O APIC
    std::function<void()> accepting;                // may accept now what it refused: the I/O APIC tries again
    std::function<void()> base_change;              // base_msr() changed: move the MMIO window
  };

  LocalApic(const emu::Clock& clock, emu::EventQueue& events);
  void connect(Wiring wiring) { wiring_ = std::move(wiring); }

  // --- the CPU's side
  bool interrupt_pending() const;
  // The vector to deliver, taken out of the pending set; -1 when there is none.
  int acknowledge();
  uint8_t cr8() const { return state_.tpr >> 4; }
  void set_cr8(uint8_t value);
  // IA32_APIC_BASE. Reserved bits and x2APIC are dropped here; that a WRMSR of them faults is the CPU's business.
  uint64_t base_msr() const { return state_.base_msr; }
  void set_base_msr(uint64_t value);
  bool globally_enabled() const { return (state_.base_msr & kBaseEnable) != 0; }
  uint64_t base_address() const { return state_.base_msr & ~uint64_t{0xfff}; }

  // --- the board's side
  // What a BIOS leaves behind: software-enabled, LINT0 ExtINT, LINT1 NMI. For images booted without one.
  void enable_virtual_wire();
  void set_irq(unsigned pin, bool level) override;

  // --- the APIC bus
  // False when the message is for nobody here or is refused: a level-triggered sender keeps it and tries again.
  bool receive(const ApicMessage& message);
  bool deliver(uint8_t vector, DeliveryMode mode, bool level_triggered);

  // --- emu::Device, emu::MmioDevice
  std::string_view name() const override { return "local_apic"; }
  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;
  void state_loaded() override;
  // Registers are 32 bits wide at multiples of 16 (section 11.4.1). Narrow reads give the bytes asked for; stores that
  // are narrower than 32 bits or not at a multiple of 16 are ignored.
  uint64_t mmio_read(uint64_t offset, unsigned size) override;
  void mmio_write(uint64_t offset, unsigned size, uint64_t value) override;

 private:
  using Bits = std::array<uint32_t, 8>;
  enum Lvt : unsigned { kLvtTimer, kLvtThermal, kLvtPerformance, kLvtLint0, kLvtLint1, kLvtError, kLvtCount };

  struct State {
    uint64_t base_msr = kDefaultBase | kBaseEnable | kBaseBsp;
    uint8_t id = 0;
    uint8_t tpr = 0;
    uint8_t logical_id = 0;
    uint8_t destination_format = 0xf;
    uint32_t spurious = 0xff;
    uint32_t error_status = 0;   // as the guest reads it
    uint32_t error_pending = 0;  // gathered since the last write of ESR
    uint32_t icr_low = 0;
    uint32_t icr_high = 0;
    std::array<uint32_t, kLvtCount> lvt{};
    Bits in_service{};
    Bits trigger_mode{};  // 1: level
    Bits requested{};
    std::array<uint8_t, 2> lint_level{};
    bool ext_int = false;  // an ExtINT message came, and INTR has not dropped since
  };

  void reset_registers();
  uint32_t read_register(unsigned index);
  void write_register(unsigned index, uint32_t value);
  void write_lvt(unsigned entry, uint32_t value);
  void write_spurious(uint32_t value);
  bool software_enabled() const { return globally_enabled() && (state_.spurious & 0x100) != 0; }
  uint8_t processor_priority() const;
  int deliverable_vector() const;
  bool ext_int_pending() const;
  void update_output();
  bool accept(uint8_t vector, bool level_triggered);
  void deliver_local(unsigned entry);
  void service_level_lint(unsigned pin);
  void end_of_interrupt();
  void send_ipi();
  bool is_destination(uint8_t destination, bool logical) const;
  void raise_error(uint32_t bit);
  void reschedule_timer(uint64_t after_ns);
  void timer_due(uint64_t due_ns);

  const emu::Clock& clock_;
  emu::EventQueue& events_;
  emu::EventQueue::Id timer_event_;
  Wiring wiring_;
  ApicTimer timer_;
  State state_;
};

}  // namespace understudy::devices
