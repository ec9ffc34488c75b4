#include "tools/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string_view>

#include "tools/escape_key.h"

namespace understudy::tools {

namespace {

termios saved_settings;
volatile sig_atomic_t terminal_is_raw = 0;

void write_all(int fd, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::write(fd, bytes.data(), bytes.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0 && errno == EAGAIN) {
      pollfd ready{fd, POLLOUT, 0};
      ::poll(&ready, 1, -1);
      continue;
    }
    if (done < 0) return;  // the reader of our output has gone; the machine runs on
    bytes = bytes.subspan(static_cast<size_t>(done));
  }
}

void write_text(int fd, std::string_view text) {
  write_all(fd, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

}  // namespace

void make_terminal_raw() {
  if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &saved_settings) != 0) return;
  termios raw = saved_settings;
  raw.c_iflag &= ~static_cast<tcflag_t>(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
  raw.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
  raw.c_cflag = (raw.c_cflag & ~static_cast<tcflag_t>(CSIZE | PARENB)) | CS8;
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0) terminal_is_raw = 1;
  static const int registered = std::atexit(restore_terminal);
  static_cast<void>(registered);
}

void restore_terminal() {
  if (!terminal_is_raw) return;
  terminal_is_raw = 0;
  tcsetattr(STDIN_FILENO, TCSANOW, &saved_settings);
}

Terminal::Terminal(Wakeup& wakeup) : wakeup_(wakeup) {
  if (::pipe2(stop_pipe_, O_CLOEXEC) != 0) throw UsageError("cannot make a pipe for the terminal's reader");
  make_terminal_raw();
  reader_ = std::thread([this] { read_input(); });
}

Terminal::~Terminal() {
  input_.close();
  const uint8_t stop = 0;
  write_all(stop_pipe_[1], {&stop, 1});
  reader_.join();
  ::close(stop_pipe_[0]);
  ::close(stop_pipe_[1]);
  restore_terminal();
}

void Terminal::write(std::span<const uint8_t> bytes) { write_all(STDOUT_FILENO, bytes); }

void Terminal::read_input() {
  const bool has_terminal = isatty(STDIN_FILENO);
  EscapeKey escape;
  while (true) {
    pollfd ready[2] = {{STDIN_FILENO, POLLIN, 0}, {stop_pipe_[0], POLLIN, 0}};
    if (::poll(ready, 2, -1) < 0 && errno != EINTR) return;
    if (ready[1].revents != 0) return;
    if (ready[0].revents == 0) continue;
    std::array<uint8_t, 256> bytes{};
    const ssize_t got = ::read(STDIN_FILENO, bytes.data(), bytes.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return;
    for (const uint8_t byte : std::span(bytes).first(static_cast<size_t>(got))) {
      switch (has_terminal ? escape.feed(byte) : EscapeKey::Meaning::type) {
        case EscapeKey::Meaning::type:
          if (!input_.put({&byte, 1})) return;
          break;
        case EscapeKey::Meaning::quit:
          quit_ = true;
          wakeup_.notify();
          break;
        case EscapeKey::Meaning::help:
          write_text(STDERR_FILENO, EscapeKey::kHelp);
          break;
        case EscapeKey::Meaning::nothing:
          break;
      }
    }
    wakeup_.notify();
  }
}

}  // namespace understudy::tools
