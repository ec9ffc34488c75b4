// The user's terminal as a serial console: raw while the machine runs, restored however the program ends. Ctrl-A is the
// escape key. Without a terminal on standard input the bytes are taken as they come.
#pragma once

#include <atomic>
#include <thread>

#include "tools/input_buffer.h"
#include "tools/serial_backend.h"

namespace understudy::tools {

class Terminal : public SerialBackend {
 public:
  explicit Terminal(Wakeup& wakeup);
  ~Terminal() override;
  std::vector<uint8_t> take(size_t most) override { return input_.take(most); }
  void write(std::span<const uint8_t> bytes) override;
  bool wants_quit() const override { return quit_; }

 private:
  void read_input();
  Wakeup& wakeup_;
  InputBuffer input_;
  int stop_pipe_[2] = {-1, -1};
  std::atomic<bool> quit_{false};
  std::thread reader_;
};

// Every key as it is typed, if standard input is a terminal; restored at the program's end.
void make_terminal_raw();
// Puts the terminal back as it was; safe to call at any time, from a signal handler too.
void restore_terminal();

}  // namespace understudy::tools
