// The packet layer of GDB's remote serial protocol (GDB manual, appendix E.1): frames with checksums, escapes, run
// lengths, acknowledgements until both sides do without, and Ctrl-C between packets. Turns whatever bytes arrive into
// events and answers into bytes; knows no socket and no command. Memory is bounded whatever the other side sends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace understudy::tools {

// Bytes as pairs of hexadecimal digits.
std::string to_hex(std::span<const uint8_t> bytes);
std::string to_hex(std::string_view text);
// Nothing unless all of it is pairs of digits.
std::optional<std::string> from_hex(std::string_view digits);
// A number in hexadecimal without a prefix, at the start of `text`, which is left with what follows. Nothing without a
// digit, or for more than 64 bits.
std::optional<uint64_t> take_hex_number(std::string_view& text);

class GdbPackets {
 public:
  // What a packet may carry in either direction, as it travels (PacketSize).
  static constexpr size_t kMaxPayload = 16u << 10;
  // Events that nobody took, at most this many bytes: then the connection is broken.
  static constexpr size_t kMaxWaiting = 256u << 10;
  // An answer that the other side refuses this often will not get better.
  static constexpr unsigned kMaxRepeats = 8;

  struct Event {
    enum class Kind : uint8_t {
      packet,
      interrupt,  // Ctrl-C
      bad         // a frame that is too long, or damaged where there is no asking again; `payload` says which
    };
    Kind kind = Kind::packet;
    std::string payload;  // escapes resolved
    bool operator==(const Event&) const = default;
  };

  // Bytes as they came. After broken() they are ignored.
  void receive(std::span<const uint8_t> bytes);
  // Takes the oldest event.
  std::optional<Event> next();
  const Event* peek() const { return events_.empty() ? nullptr : &events_.front(); }
  // One line about a connection that is of no further use; empty while it is.
  const std::string& broken() const { return broken_; }

  // Any bytes; what a frame cannot carry is escaped.
  void send(std::string_view payload);
  // From the next packet on, nobody acknowledges.
  void stop_acknowledging() { acknowledges_ = false; }
  // What is to be sent, in order; the caller sends all of it.
  std::string take_output();

 private:
  enum class State : uint8_t { between, payload, escaped, first_digit, second_digit };
  void byte_between(uint8_t byte);
  void start_frame();
  void add(uint8_t byte);
  void end_frame(uint8_t second_digit);
  void push(Event::Kind kind, std::string payload);

  State state_ = State::between;
  std::string payload_;
  bool too_long_ = false;
  uint8_t sum_ = 0;
  uint8_t first_digit_ = 0;
  std::deque<Event> events_;
  size_t waiting_ = 0;
  bool acknowledges_ = true;
  std::string last_frame_;
  unsigned repeats_ = 0;
  std::string output_;
  std::string broken_;
};

}  // namespace understudy::tools
