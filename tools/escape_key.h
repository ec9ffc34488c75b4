// The escape key of a terminal that types into a machine: Ctrl-A X quits, Ctrl-A H helps, Ctrl-A Ctrl-A types a Ctrl-A,
// as QEMU's users know it.
#pragma once

#include <cstdint>
#include <string_view>

namespace understudy::tools {

class EscapeKey {
 public:
  enum class Meaning { type, nothing, quit, help };
  // What to do with the next byte from the terminal.
  Meaning feed(uint8_t byte) {
    constexpr uint8_t kEscape = 0x01;
    if (!escaped_) {
      escaped_ = byte == kEscape;
      return escaped_ ? Meaning::nothing : Meaning::type;
    }
    escaped_ = false;
    switch (byte) {
      case kEscape:
        return Meaning::type;
      case 'x':
      case 'X':
        return Meaning::quit;
      case 'h':
      case 'H':
      case '?':
        return Meaning::help;
      default:
        return Meaning::nothing;
    }
  }
  static constexpr std::string_view kHelp =
      "\r\nCtrl-A H       this help\r\n"
      "Ctrl-A X       leave: the machine stops\r\n"
      "Ctrl-A Ctrl-A  type a Ctrl-A\r\n";

 private:
  bool escaped_ = false;
};

}  // namespace understudy::tools
