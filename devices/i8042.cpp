#include "devices/i8042.h"

#include <utility>

#include "devices/scancode.h"

namespace understudy::devices {

namespace {
constexpr uint16_t kDataPort = 0x60;
constexpr uint16_t kCommandPort = 0x64;

// Command byte.
constexpr uint8_t kKeyboardInterrupt = 0x01;
constexpr uint8_t kMouseInterrupt = 0x02;
constexpr uint8_t kSystemFlag = 0x04;
constexpr uint8_t kKeyboardOff = 0x10;
constexpr uint8_t kMouseOff = 0x20;
constexpr uint8_t kTranslate = 0x40;
constexpr uint8_t kAfterBios = kKeyboardInterrupt | kSystemFlag | kMouseOff | kTranslate;

// Status register.
constexpr uint8_t kOutputFull = 0x01;
constexpr uint8_t kCommandLast = 0x08;
constexpr uint8_t kNotLocked = 0x10;
constexpr uint8_t kMouseOutputFull = 0x20;

constexpr uint8_t kOutputPortReset = 0x01;
constexpr uint8_t kOutputPortA20 = 0x02;

enum Command : uint8_t {
  kReadRam = 0x20,   // 20..3F
  kWriteRam = 0x60,  // 60..7F
  kTestPassword = 0xa4,
  kDisableMouse = 0xa7,
  kEnableMouse = 0xa8,
  kTestMousePort = 0xa9,
  kSelfTest = 0xaa,
  kTestKeyboardPort = 0xab,
  kDisableKeyboard = 0xad,
  kEnableKeyboard = 0xae,
  kReadInputPort = 0xc0,
  kReadOutputPort = 0xd0,
  kWriteOutputPort = 0xd1,
  kWriteKeyboardOutput = 0xd2,
  kWriteMouseOutput = 0xd3,
  kWriteMouse = 0xd4,
  kA20Off = 0xdd,
  kA20On = 0xdf,
  kReadTestInputs = 0xe0,
  kPulse = 0xf0,  // F0..FF: output port bits 3..0 go low where the command has a 0
};
}  // namespace

I8042::I8042(const emu::Clock& clock, emu::EventQueue& events, emu::World& world, Wiring wiring)
    : clock_(clock),
      events_(events),
      wiring_(std::move(wiring)),
      key_event_(events.add("i8042.key", [this](uint64_t) { pump(); })) {
  world.add_channel("keyboard", [this](std::span<const uint8_t> set2) {
    keyboard_.press(set2);
    pump();
  });
  state_.ram[0] = kAfterBios;
}

void I8042::attach(emu::PortBus& bus) {
  bus.attach(kDataPort, kDataPort, *this);
  bus.attach(kCommandPort, kCommandPort, *this);
}

void I8042::reset() {
  state_ = {};
  state_.ram[0] = kAfterBios;
  keyboard_.reset();
  mouse_.reset();
  events_.cancel(key_event_);
  update_irqs();
}

void I8042::visit_state(emu::StateVisitor& visitor) {
  visitor.value("ram", state_.ram);
  visitor.value("last_was_command", state_.last_was_command);
  visitor.value("data_for", state_.data_for);
  visitor.value("output_port", state_.output_port);
  visitor.value("output_full", state_.output_full);
  visitor.value("output_is_mouse", state_.output_is_mouse);
  visitor.value("output_source", state_.output_source);
  visitor.value("output", state_.output);
  visitor.value("reply_waits", state_.reply_waits);
  visitor.value("reply_as_mouse", state_.reply_as_mouse);
  visitor.value("reply", state_.reply);
  visitor.value("release_prefix", state_.release_prefix);
  visitor.value("next_key_ns", state_.next_key_ns);
  keyboard_.visit_state(visitor);
  mouse_.visit_state(visitor);
}

// --- the output buffer

bool I8042::keyboard_interrupt() const {
  return state_.output_full && !state_.output_is_mouse && (state_.ram[0] & kKeyboardInterrupt) != 0;
}

bool I8042::mouse_interrupt() const {
  return state_.output_full && state_.output_is_mouse && (state_.ram[0] & kMouseInterrupt) != 0;
}

void I8042::update_irqs() {
  wiring_.keyboard_irq.set(keyboard_interrupt());
  wiring_.mouse_irq.set(mouse_interrupt());
}

void I8042::reply(uint8_t byte, bool as_mouse) {
  state_.reply_waits = true;
  state_.reply_as_mouse = as_mouse;
  state_.reply = byte;
}

void I8042::present(uint8_t byte, Source source, bool as_mouse) {
  state_.output = byte;
  state_.output_full = true;
  state_.output_is_mouse = as_mouse;
  state_.output_source = source;
}

void I8042::present_from_keyboard(uint8_t byte, bool is_key) {
  if ((state_.ram[0] & kTranslate) != 0) {
    const auto translated = translate_to_set1(byte, state_.release_prefix);
    if (!translated) return;
    byte = *translated;
  }
  present(byte, is_key ? Source::kKeyboard : Source::kController, false);
}

// Fills the output buffer when it is empty: the controller's own byte first, then replies, then keys.
void I8042::pump() {
  const bool keyboard_on = (state_.ram[0] & kKeyboardOff) == 0;
  const bool mouse_on = (state_.ram[0] & kMouseOff) == 0;
  while (!state_.output_full) {
    if (state_.reply_waits) {
      state_.reply_waits = false;
      present(state_.reply, Source::kController, state_.reply_as_mouse);
    } else if (keyboard_on && keyboard_.has_reply()) {
      present_from_keyboard(keyboard_.take_reply(), false);
    } else if (mouse_on && mouse_.has_reply()) {
      present(mouse_.take_reply(), Source::kMouse, true);
    } else if (keyboard_on && keyboard_.has_key()) {
      if (clock_.now_ns() < state_.next_key_ns) {
        events_.schedule(key_event_, state_.next_key_ns);
        break;
      }
      present_from_keyboard(keyboard_.take_key(), true);
    } else {
      break;
    }
  }
  update_irqs();
}

uint8_t I8042::read_data() {
  if (state_.output_full) {
    if (state_.output_source == Source::kKeyboard) state_.next_key_ns = clock_.now_ns() + kKeyGapNs;
    state_.output_full = false;
    const uint8_t byte = state_.output;
    update_irqs();  // the lines drop between two bytes: the interrupt controller counts edges
    pump();
    return byte;
  }
  return state_.output;
}

uint8_t I8042::status() const {
  uint8_t value = kNotLocked | (state_.ram[0] & kSystemFlag);
  if (state_.output_full) value |= kOutputFull;
  if (state_.output_full && state_.output_is_mouse) value |= kMouseOutputFull;
  if (state_.last_was_command) value |= kCommandLast;
  return value;
}

// --- commands

void I8042::write_output_port(uint8_t value) {
  state_.output_port = value & (kOutputPortReset | kOutputPortA20);
  if (wiring_.a20) wiring_.a20((value & kOutputPortA20) != 0);
  if ((value & kOutputPortReset) == 0 && wiring_.reset) wiring_.reset();
}

void I8042::write_command(uint8_t command) {
  state_.last_was_command = true;
  state_.data_for = 0;
  uint8_t& command_byte = state_.ram[0];
  if (command >= kReadRam && command < kReadRam + 32) {
    reply(state_.ram[command - kReadRam]);
  } else if (command >= kWriteRam && command < kWriteRam + 32) {
    state_.data_for = command;
  } else if (command >= kPulse) {
    // Only bit 0 is wired to anything.
    if ((command & kOutputPortReset) == 0 && wiring_.reset) wiring_.reset();
  } else {
    switch (command) {
      case kTestPassword:
        reply(0xf1);  // none installed
        break;
      case kDisableMouse:
        command_byte |= kMouseOff;
        break;
      case kEnableMouse:
        command_byte &= ~kMouseOff;
        break;
      case kSelfTest:
        command_byte |= kSystemFlag;
        reply(0x55);
        break;
      case kTestMousePort:
      case kTestKeyboardPort:
      case kReadTestInputs:
        reply(0x00);
        break;
      case kDisableKeyboard:
        command_byte |= kKeyboardOff;
        break;
      case kEnableKeyboard:
        command_byte &= ~kKeyboardOff;
        break;
      case kReadInputPort:
        reply(0x80);  // keyboard not locked
        break;
      case kReadOutputPort:
        // Bits 2, 3, 6 and 7 are the idle clock and data lines.
        reply(static_cast<uint8_t>(0xcc | state_.output_port | (keyboard_interrupt() ? 0x10 : 0) |
                                   (mouse_interrupt() ? 0x20 : 0)));
        break;
      case kWriteOutputPort:
      case kWriteKeyboardOutput:
      case kWriteMouseOutput:
      case kWriteMouse:
        state_.data_for = command;
        break;
      case kA20Off:
        write_output_port(state_.output_port & ~kOutputPortA20);
        break;
      case kA20On:
        write_output_port(state_.output_port | kOutputPortA20);
        break;
      default:
        break;
    }
  }
  pump();
}

void I8042::write_data(uint8_t byte) {
  const uint8_t command = state_.data_for;
  state_.data_for = 0;
  state_.last_was_command = false;
  switch (command) {
    case 0:
      state_.ram[0] &= ~kKeyboardOff;  // talking to a device switches its port on
      keyboard_.command(byte);
      break;
    case kWriteOutputPort:
      write_output_port(byte);
      break;
    case kWriteKeyboardOutput:
      reply(byte);
      break;
    case kWriteMouseOutput:
      reply(byte, true);
      break;
    case kWriteMouse:
      state_.ram[0] &= ~kMouseOff;
      mouse_.command(byte);
      break;
    default:
      state_.ram[command % 32] = byte;
      break;
  }
  pump();
}

uint32_t I8042::port_read(uint16_t port, unsigned) { return port == kDataPort ? read_data() : status(); }

void I8042::port_write(uint16_t port, unsigned, uint32_t value) {
  if (port == kDataPort)
    write_data(static_cast<uint8_t>(value));
  else
    write_command(static_cast<uint8_t>(value));
}

}  // namespace understudy::devices
