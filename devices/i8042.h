// The keyboard controller at ports 60 and 64 with its keyboard and mouse: output buffer, command byte, translation to
// scan code set 1, output port (A20, CPU reset). Facts from the IBM PS/2 Hardware Interface Technical Reference,
// "Keyboard and auxiliary device controller". The command byte after reset is what a BIOS leaves (keyboard on,
// interrupt 1, translation, mouse off), for images that are booted without one.
//
// World channel "keyboard": each input is a sequence of complete scan code SET 2 make and break codes (devices/keymap
// makes them). Replies appear at once; a key's byte no earlier than kKeyGapNs after the guest read the previous one,
// as from a real keyboard: drivers drain the buffer at start-up, and must see its end.
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "devices/ps2_keyboard.h"
#include "devices/ps2_mouse.h"
#include "emu/bus.h"
#include "emu/clock.h"
#include "emu/device.h"
#include "emu/event_queue.h"
#include "emu/irq_line.h"
#include "emu/world.h"

namespace understudy::devices {

class I8042 : public emu::Device, public emu::PortDevice {
 public:
  // About the time of eleven bits at 12.5 kHz.
  static constexpr uint64_t kKeyGapNs = 1'000'000;

  // Either callback may be empty. `reset` runs in the middle of a guest's OUT: it must only leave a request. `a20` gets
  // bit 1 of the output port whenever the guest writes it; at reset that bit is 1 and `a20` is not called.
  struct Wiring {
    emu::IrqLine keyboard_irq;  // IRQ 1
    emu::IrqLine mouse_irq;     // IRQ 12
    std::function<void(bool)> a20;
    std::function<void()> reset;
  };

  I8042(const emu::Clock& clock, emu::EventQueue& events, emu::World& world, Wiring wiring);
  void attach(emu::PortBus& bus);

  // For a console that shows the lock lights: bit 0 scroll, 1 num, 2 caps.
  uint8_t leds() const { return keyboard_.leds(); }

  std::string_view name() const override { return "i8042"; }
  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;
  uint32_t port_read(uint16_t port, unsigned size) override;
  void port_write(uint16_t port, unsigned size, uint32_t value) override;

 private:
  enum class Source : uint8_t { kController, kKeyboard, kMouse };
  struct State {
    std::array<uint8_t, 32> ram{};  // [0] is the command byte
    bool last_was_command = false;  // status bit 3
    uint8_t data_for = 0;           // the controller command that waits for a byte at port 60; 0: none
    uint8_t output_port = 3;        // bit 0: 0 resets the CPU; bit 1: A20
    bool output_full = false;
    bool output_is_mouse = false;
    Source output_source = Source::kController;
    uint8_t output = 0;
    bool reply_waits = false;  // the controller's own next byte
    bool reply_as_mouse = false;
    uint8_t reply = 0;
    bool release_prefix = false;  // the translator has seen F0
    uint64_t next_key_ns = 0;
  };

  bool keyboard_interrupt() const;
  bool mouse_interrupt() const;
  uint8_t status() const;
  uint8_t read_data();
  void write_data(uint8_t byte);
  void write_command(uint8_t command);
  void write_output_port(uint8_t value);
  void reply(uint8_t byte, bool as_mouse = false);
  void present(uint8_t byte, Source source, bool as_mouse);
  void present_from_keyboard(uint8_t byte, bool is_key);
  void pump();
  void update_irqs();

  const emu::Clock& clock_;
  emu::EventQueue& events_;
  const Wiring wiring_;
  emu::EventQueue::Id key_event_;
  Ps2Keyboard keyboard_;
  Ps2Mouse mouse_;
  State state_;
};

}  // namespace understudy::devices
