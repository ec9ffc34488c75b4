// A PS/2 keyboard (IBM enhanced, 101 keys) behind the keyboard controller: commands in, replies and scan codes out.
// Key events arrive as complete set 2 make and break sequences; set 1 can be selected, set 3 is refused with a resend.
// Auto-repeat is the typist's business: nothing is repeated here. (IBM PS/2 Hardware Interface Technical Reference,
// "101- and 102-key keyboards".)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "emu/state_visitor.h"

namespace understudy::devices {

class Ps2Keyboard {
 public:
  static constexpr size_t kReplyBytes = 16;
  // A real keyboard holds 16 bytes; a console pastes more than a person types.
  static constexpr size_t kKeyBytes = 4096;

  void reset();
  void command(uint8_t byte);
  // Queues key events, all or none: half a sequence would leave a key stuck. While scanning is off they are ignored.
  void press(std::span<const uint8_t> set2);

  bool has_reply() const { return !state_.replies.empty(); }
  bool has_key() const { return !state_.keys.empty(); }
  // One of the two must have something.
  uint8_t take_reply();
  uint8_t take_key();

  uint8_t leds() const { return state_.leds; }
  void visit_state(emu::StateVisitor& visitor);

 private:
  struct State {
    uint8_t parameter_of = 0;  // the command that waits for its parameter; 0: none
    uint8_t leds = 0;          // bit 0 scroll, 1 num, 2 caps
    uint8_t scan_set = 2;
    uint8_t typematic = 0x2b;
    bool scanning = true;
    uint8_t last_sent = 0;
    std::vector<uint8_t> replies;
    std::vector<uint8_t> keys;
  };
  void reply(uint8_t byte);
  void parameter(uint8_t command, uint8_t byte);
  void set_defaults();
  State state_;
};

}  // namespace understudy::devices
