// What a person at a US keyboard would press: text to scan code set 2 make and break codes, ready for the "keyboard"
// channel of the keyboard controller (devices/i8042). A console uses it to type on the text screen.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace understudy::devices {

// Press and release of the key, with Shift or Ctrl around it as needed. \n and \r are Enter, 8 and 127 Backspace, 27
// Esc, other control characters Ctrl with their letter. Empty for what has no key (NUL, bytes from 128 up).
std::vector<uint8_t> scancodes_for_char(char c);

// The same for a text as a terminal sends it: the usual escape sequences (arrows, Home, End, Page Up and Down, Insert,
// Delete, F1 to F12) become those keys; an ESC that begins none of them is the Esc key.
std::vector<uint8_t> scancodes_for_text(std::string_view text);

}  // namespace understudy::devices
