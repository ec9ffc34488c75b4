#include "devices/text_terminal.h"

#include <fmt/format.h>

#include <optional>

namespace understudy::devices {

namespace {
constexpr std::string_view kReset = "\x1b[0m";

// The PC counts blue, green, red; ANSI red, green, blue.
constexpr unsigned kAnsiColour[8] = {0, 4, 2, 6, 1, 5, 3, 7};

std::string move_to(unsigned column, unsigned row) { return fmt::format("\x1b[{};{}H", row + 1, column + 1); }

std::string colours(uint8_t attribute, bool blink) {
  const unsigned foreground = attribute & 7;
  const unsigned background = attribute >> 4 & 7;
  const bool bright = (attribute & 0x08) != 0;
  const bool high = (attribute & 0x80) != 0;
  return fmt::format("\x1b[0{};{};{}m", high && blink ? ";5" : "", (bright ? 90 : 30) + kAnsiColour[foreground],
                     (high && !blink ? 100 : 40) + kAnsiColour[background]);
}
}  // namespace

std::string render_text(const TextScreen& shown, const TextScreen& wanted) {
  if (shown == wanted) return {};
  const bool all = shown.columns != wanted.columns || shown.rows != wanted.rows;
  const bool recolour = all || shown.blink != wanted.blink;
  std::string out;
  if (all) out += "\x1b[0m\x1b[?7l\x1b[2J";

  std::string cells;
  std::optional<uint8_t> attribute;
  for (unsigned row = 0; row < wanted.rows; ++row) {
    bool in_place = false;  // the terminal's cursor stands at this cell
    for (unsigned column = 0; column < wanted.columns; ++column) {
      const TextCell& cell = wanted.at(column, row);
      if (!recolour && cell == shown.at(column, row)) {
        in_place = false;
        continue;
      }
      if (!in_place) cells += move_to(column, row);
      if (attribute != cell.attribute) cells += colours(cell.attribute, wanted.blink);
      cells += cp437_to_utf8(cell.character);
      attribute = cell.attribute;
      in_place = true;
    }
  }
  // Hidden while it would race across the screen.
  if (!cells.empty() && (all || shown.cursor_visible)) out += "\x1b[?25l";
  out += cells;
  if (!cells.empty()) out += kReset;
  if (wanted.cursor_visible) {
    out += move_to(wanted.cursor_column, wanted.cursor_row);
    if (!cells.empty() || !shown.cursor_visible) out += "\x1b[?25h";
  } else if (cells.empty() && (all || shown.cursor_visible)) {
    out += "\x1b[?25l";
  }
  return out;
}

std::string leave_text(const TextScreen& shown) {
  return fmt::format("{}\x1b[?7h{}\r\n\x1b[?25h", kReset, move_to(0, shown.rows == 0 ? 0 : shown.rows - 1));
}

}  // namespace understudy::devices
