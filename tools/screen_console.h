// The VGA text screen in the user's terminal, and the user's keys on the machine's keyboard.
#pragma once

#include <chrono>

#include "devices/pc.h"
#include "devices/text_terminal.h"
#include "tools/terminal.h"

namespace understudy::tools {

class ScreenConsole {
 public:
  ScreenConsole(devices::Pc& pc, Wakeup& wakeup);
  ~ScreenConsole();
  // Redraws what changed; the second form at most some twenty times a second.
  void show();
  void show_sometimes();
  // Moves typed characters to the keyboard, a few at a time.
  void type_waiting_keys();
  bool wants_quit() const { return terminal_.wants_quit(); }

 private:
  devices::Pc& pc_;
  Terminal terminal_;
  devices::TextScreen shown_;
  std::chrono::steady_clock::time_point next_;
};

}  // namespace understudy::tools
