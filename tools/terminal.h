// The user's terminal as a serial console: raw while the machine runs, restored however the program ends. Ctrl-A is the
// escape key: Ctrl-A X quits, Ctrl-A H helps, Ctrl-A Ctrl-A types a Ctrl-A, as QEMU's users know it. Without a terminal
// on standard input the bytes are taken as they come.
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
  void escape(uint8_t key);
  Wakeup& wakeup_;
  InputBuffer input_;
  int stop_pipe_[2] = {-1, -1};
  std::atomic<bool> quit_{false};
  std::thread reader_;
};

// Puts the terminal back as it was; safe to call at any time, from a signal handler too.
void restore_terminal();

}  // namespace understudy::tools
