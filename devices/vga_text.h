// A text screen as a person sees it: a grid of CP437 characters with attributes, and a cursor. A value with no ties to
// the adapter it was read from, so that front ends can keep the last one and compare.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::devices {

struct TextCell {
  uint8_t character = ' ';
  uint8_t attribute = 0x07;  // bits 0-3 foreground, 4-6 background, 7 blink or bright background
  bool operator==(const TextCell&) const = default;
};

struct TextScreen {
  unsigned columns = 0;
  unsigned rows = 0;
  std::vector<TextCell> cells;  // row by row
  bool blink = true;            // what attribute bit 7 means: blinking, else a bright background
  bool cursor_visible = false;  // then the position is inside the grid
  unsigned cursor_column = 0;
  unsigned cursor_row = 0;

  const TextCell& at(unsigned column, unsigned row) const { return cells[row * columns + column]; }
  bool operator==(const TextScreen&) const = default;

  // The characters as UTF-8, a '\n' after each row; blanks at the end of a row and empty rows at the end are left out.
  std::string to_text() const;
};

// The UTF-8 of a CP437 character as the VGA's font draws it: 1 is a smiling face, not a control character; 0 and 255
// are blanks.
std::string_view cp437_to_utf8(uint8_t character);

}  // namespace understudy::devices
