// The host's end of a serial line: the terminal, a file, or a socket that a program connects to. Bytes from outside
// wait in a bounded buffer until the machine's thread takes them; when it is full the sender waits, nothing is lost.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "tools/wakeup.h"

namespace understudy::tools {

// A command line that cannot be carried out; one line, exit code 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class SerialBackend {
 public:
  virtual ~SerialBackend() = default;
  // Both on the machine's thread.
  virtual std::vector<uint8_t> take(size_t most) = 0;
  virtual void write(std::span<const uint8_t> bytes) = 0;
  // The user asked to leave (Ctrl-A X).
  virtual bool wants_quit() const { return false; }
};

// `spec` is stdio, file:PATH, unix:PATH, tcp:HOST:PORT or none. Sockets listen and serve one client at a time; what is
// written while nobody is connected is dropped. Throws UsageError.
std::unique_ptr<SerialBackend> open_serial(const std::string& spec, Wakeup& wakeup);

}  // namespace understudy::tools
