// A two-button PS/2 mouse that nobody moves: it resets, identifies itself, takes its settings and answers polls with
// "no movement", so that a driver finds a sane auxiliary device. It never speaks unasked. (IBM PS/2 Hardware Interface
// Technical Reference, "Mouse".)
#pragma once

#include <cstdint>
#include <vector>

#include "emu/state_visitor.h"

namespace understudy::devices {

class Ps2Mouse {
 public:
  static constexpr size_t kReplyBytes = 16;

  void reset();
  void command(uint8_t byte);
  bool has_reply() const { return !state_.replies.empty(); }
  uint8_t take_reply();  // must have one
  void visit_state(emu::StateVisitor& visitor);

 private:
  struct State {
    uint8_t parameter_of = 0;  // the command that waits for its parameter; 0: none
    uint8_t sample_rate = 100;
    uint8_t resolution = 2;
    bool double_scaling = false;
    bool remote = false;
    bool wrap = false;  // echoes what it is sent
    bool reporting = false;
    uint8_t last_sent = 0;
    std::vector<uint8_t> replies;
  };
  void reply(uint8_t byte);
  void set_defaults();
  State state_;
};

}  // namespace understudy::devices
