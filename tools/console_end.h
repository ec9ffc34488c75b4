// The user's end of a console that a loop serves by polling: a listening socket with one client at a time, the
// terminal, or a file. Writing never waits: what the other side does not take yet is kept here, and its writer is told
// how much has left. A socket's client that takes nothing for ten seconds is cut off. What is written while nobody is
// connected has left, too.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "devices/host_fd.h"
#include "tools/escape_key.h"

namespace understudy::tools {

class ConsoleEnd {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr auto kPatience = std::chrono::seconds(10);

  // stdio, file:PATH, unix:PATH, tcp:HOST:PORT or none. Throws UsageError.
  explicit ConsoleEnd(const std::string& spec);
  ~ConsoleEnd();
  ConsoleEnd(const ConsoleEnd&) = delete;
  ConsoleEnd& operator=(const ConsoleEnd&) = delete;

  // What to poll, at the end of `items`; input only when there is room for some.
  void add_items(std::vector<zmq::pollitem_t>& items, bool input);
  // When serve() is to be called at the latest.
  std::optional<Clock::time_point> deadline() const;
  // After a poll: takes a client, lets output go, and returns at most `room` bytes of input.
  std::vector<uint8_t> serve(size_t room);
  void write(std::span<const uint8_t> bytes);

  // How many written bytes have left since the last call.
  uint64_t take_delivered();
  size_t pending() const { return output_.size() - output_at_; }
  bool connected() const { return out_ >= 0; }
  // The user asked to leave (Ctrl-A X).
  bool wants_quit() const { return quit_; }

  struct Counts {
    uint64_t clients = 0, cut_off = 0;
    uint64_t bytes_in = 0, bytes_out = 0;
    uint64_t lost = 0;  // written when nobody was there to take it, or to a client that went
  };
  const Counts& counts() const { return counts_; }

 private:
  enum class Kind { none, terminal, file, socket };
  void flush();
  void take_client();
  void hang_up();
  std::vector<uint8_t> unescape(std::span<const uint8_t> bytes);

  Kind kind_ = Kind::none;
  std::string spec_, unlink_path_;
  devices::HostFd listener_, owned_;  // owned: the client, or the file
  int in_ = -1, out_ = -1;
  bool keys_ = false;  // a user types on a terminal
  EscapeKey escape_;
  bool quit_ = false;
  std::vector<uint8_t> output_;
  size_t output_at_ = 0;  // what has left of it
  Clock::time_point last_progress_;
  uint64_t delivered_ = 0;
  Counts counts_;
};

}  // namespace understudy::tools
