#include "tools/gdb_packets.h"

#include <algorithm>
#include <utility>

namespace understudy::tools {

namespace {

constexpr char kDigits[] = "0123456789abcdef";
constexpr uint8_t kInterrupt = 0x03;
constexpr uint8_t kEscapeFlip = 0x20;

int digit_value(uint8_t c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool needs_escape(char c) { return c == '#' || c == '$' || c == '}' || c == '*'; }

std::string escaped(std::string_view payload) {
  std::string out;
  out.reserve(payload.size());
  for (const char c : payload) {
    if (needs_escape(c)) {
      out += '}';
      out += static_cast<char>(c ^ kEscapeFlip);
    } else {
      out += c;
    }
  }
  return out;
}

// Replaces runs by the character, '*', and how often it comes again, plus 29. A count prints as a character; those that
// mean something between frames are not used (E.1, "Overview").
std::string run_lengths(std::string_view text) {
  constexpr size_t kLeast = 3, kMost = '~' - 29;
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const size_t end = std::min(text.find_first_not_of(text[i], i), text.size());
    out += text[i];
    size_t again = end - i - 1;
    i = end;
    while (again >= kLeast) {
      size_t count = std::min(again, kMost);
      while (count + 29 == '#' || count + 29 == '$' || count + 29 == '+' || count + 29 == '-') --count;
      out += '*';
      out += static_cast<char>(count + 29);
      again -= count;
      // What is left of a long run begins with a character of its own.
      if (again != 0) {
        out += text[end - 1];
        --again;
      }
    }
    out.append(again, text[end - 1]);
  }
  return out;
}

}  // namespace

std::string to_hex(std::span<const uint8_t> bytes) {
  std::string out;
  out.reserve(2 * bytes.size());
  for (const uint8_t byte : bytes) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

std::string to_hex(std::string_view text) {
  return to_hex(std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

std::optional<std::string> from_hex(std::string_view digits) {
  if (digits.size() % 2 != 0) return std::nullopt;
  std::string out;
  out.reserve(digits.size() / 2);
  for (size_t i = 0; i < digits.size(); i += 2) {
    const int high = digit_value(static_cast<uint8_t>(digits[i]));
    const int low = digit_value(static_cast<uint8_t>(digits[i + 1]));
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high << 4 | low);
  }
  return out;
}

std::optional<uint64_t> take_hex_number(std::string_view& text) {
  uint64_t value = 0;
  size_t used = 0;
  for (; used < text.size(); ++used) {
    const int digit = digit_value(static_cast<uint8_t>(text[used]));
    if (digit < 0) break;
    if (value >> 60 != 0) return std::nullopt;
    value = value << 4 | static_cast<uint64_t>(digit);
  }
  if (used == 0) return std::nullopt;
  text.remove_prefix(used);
  return value;
}

void GdbPackets::receive(std::span<const uint8_t> bytes) {
  for (const uint8_t byte : bytes) {
    if (!broken_.empty()) return;
    switch (state_) {
      case State::between:
        byte_between(byte);
        break;
      case State::payload:
        if (byte == '#') {
          state_ = State::first_digit;
        } else if (byte == '$') {
          start_frame();  // the rest of the one before was lost
        } else {
          sum_ = static_cast<uint8_t>(sum_ + byte);
          if (byte == '}')
            state_ = State::escaped;
          else
            add(byte);
        }
        break;
      case State::escaped:
        sum_ = static_cast<uint8_t>(sum_ + byte);
        add(byte ^ kEscapeFlip);
        state_ = State::payload;
        break;
      case State::first_digit:
        first_digit_ = byte;
        state_ = State::second_digit;
        break;
      case State::second_digit:
        end_frame(byte);
        break;
    }
  }
}

void GdbPackets::byte_between(uint8_t byte) {
  if (byte == '$') {
    start_frame();
  } else if (byte == kInterrupt) {
    push(Event::Kind::interrupt, {});
  } else if (byte == '-' && acknowledges_ && !last_frame_.empty()) {
    if (++repeats_ > kMaxRepeats)
      broken_ = "the other side refuses every answer";
    else
      output_ += last_frame_;
  }
}

void GdbPackets::start_frame() {
  state_ = State::payload;
  payload_.clear();
  too_long_ = false;
  sum_ = 0;
}

void GdbPackets::add(uint8_t byte) {
  if (payload_.size() < kMaxPayload)
    payload_ += static_cast<char>(byte);
  else
    too_long_ = true;
}

void GdbPackets::end_frame(uint8_t second_digit) {
  state_ = State::between;
  const int high = digit_value(first_digit_), low = digit_value(second_digit);
  const bool good = high >= 0 && low >= 0 && (high << 4 | low) == sum_;
  if (acknowledges_) output_ += good ? '+' : '-';
  if (good && !too_long_)
    push(Event::Kind::packet, std::exchange(payload_, {}));
  else if (good)
    push(Event::Kind::bad, "a packet is too long");
  else if (!acknowledges_)
    push(Event::Kind::bad, "a packet has a wrong checksum");
}

void GdbPackets::push(Event::Kind kind, std::string payload) {
  waiting_ += sizeof(Event) + payload.size();
  if (waiting_ > kMaxWaiting) {
    broken_ = "the other side sends more than it waits for";
    return;
  }
  events_.push_back({kind, std::move(payload)});
}

std::optional<GdbPackets::Event> GdbPackets::next() {
  if (events_.empty()) return std::nullopt;
  Event event = std::move(events_.front());
  events_.pop_front();
  waiting_ -= sizeof(Event) + event.payload.size();
  return event;
}

void GdbPackets::send(std::string_view payload) {
  const std::string body = run_lengths(escaped(payload));
  uint8_t sum = 0;
  for (const char c : body) sum = static_cast<uint8_t>(sum + static_cast<uint8_t>(c));
  last_frame_ = "$" + body + "#" + kDigits[sum >> 4] + kDigits[sum & 15];
  repeats_ = 0;
  output_ += last_frame_;
}

std::string GdbPackets::take_output() { return std::exchange(output_, {}); }

}  // namespace understudy::tools
