#include <doctest/doctest.h>

#include "devices/text_terminal.h"
#include "devices/vga_text.h"

using namespace understudy::devices;

namespace {
TextScreen blank(unsigned columns = 10, unsigned rows = 3) {
  TextScreen s;
  s.columns = columns;
  s.rows = rows;
  s.cells.resize(size_t{columns} * rows);
  s.cursor_visible = true;
  return s;
}
void put(TextScreen& s, unsigned column, unsigned row, std::string_view text, uint8_t attribute = 0x07) {
  for (char c : text) s.cells[row * s.columns + column++] = {static_cast<uint8_t>(c), attribute};
}
}  // namespace

TEST_CASE("text screen: UTF-8 without trailing blanks") {
  TextScreen s = blank();
  CHECK(s.to_text() == "");
  put(s, 1, 0, "a b");
  CHECK(s.to_text() == " a b\n");
  put(s, 0, 2, "x");
  s.cells[5] = {0, 0x07};
  s.cells[6] = {255, 0x07};
  CHECK(s.to_text() == " a b\n\nx\n");
  s.cells[10] = {0xc9, 0x07};
  s.cells[11] = {0x01, 0x07};
  s.cells[12] = {0xe1, 0x07};
  CHECK(s.to_text() == " a b\n\u2554\u263a\u00df\nx\n");
  CHECK(TextScreen{}.to_text() == "");
}

TEST_CASE("text screen: CP437's landmarks") {
  CHECK(cp437_to_utf8(0x00) == " ");
  CHECK(cp437_to_utf8(0x1f) == "\u25bc");
  CHECK(cp437_to_utf8('"') == "\"");
  CHECK(cp437_to_utf8('\\') == "\\");
  CHECK(cp437_to_utf8('~') == "~");
  CHECK(cp437_to_utf8(0x7f) == "\u2302");
  CHECK(cp437_to_utf8(0x80) == "\u00c7");
  CHECK(cp437_to_utf8(0xb0) == "\u2591");
  CHECK(cp437_to_utf8(0xdb) == "\u2588");
  CHECK(cp437_to_utf8(0xfe) == "\u25a0");
  CHECK(cp437_to_utf8(0xff) == " ");
}

TEST_CASE("text terminal: first a whole screen, then nothing for nothing") {
  TextScreen s = blank(3, 2);
  put(s, 0, 1, "ab");
  s.cursor_column = 2;
  s.cursor_row = 1;
  CHECK(render_text({}, s) ==
        "\x1b[0m\x1b[?7l\x1b[2J\x1b[?25l\x1b[1;1H\x1b[0;37;40m   \x1b[2;1Hab \x1b[0m\x1b[2;3H\x1b[?25h");
  CHECK(render_text(s, s) == "");
}

TEST_CASE("text terminal: only changed cells travel") {
  const TextScreen before = blank();
  TextScreen after = before;
  put(after, 2, 1, "hi");
  put(after, 6, 1, "!", 0x1e);
  CHECK(render_text(before, after) ==
        "\x1b[?25l\x1b[2;3H\x1b[0;37;40mhi\x1b[2;7H\x1b[0;93;44m!\x1b[0m\x1b[1;1H\x1b[?25h");
}

TEST_CASE("text terminal: colours, blinking and bright backgrounds") {
  const TextScreen before = blank();
  TextScreen after = before;
  put(after, 0, 0, "x", 0xcf);
  CHECK(render_text(before, after).find("\x1b[0;5;97;41mx") != std::string::npos);
  TextScreen bright = after;
  bright.blink = false;
  CHECK(render_text(after, bright).find("\x1b[0;97;101mx") != std::string::npos);
  put(after, 0, 0, "x", 0x61);
  CHECK(render_text(before, after).find("\x1b[0;34;43mx") != std::string::npos);
}

TEST_CASE("text terminal: the cursor alone") {
  TextScreen before = blank();
  TextScreen after = before;
  after.cursor_column = 4;
  CHECK(render_text(before, after) == "\x1b[1;5H");
  after.cursor_visible = false;
  CHECK(render_text(before, after) == "\x1b[?25l");
  CHECK(render_text(after, before) == "\x1b[1;1H\x1b[?25h");
  TextScreen hidden = after;
  put(hidden, 0, 0, "z");
  CHECK(render_text(after, hidden) == "\x1b[1;1H\x1b[0;37;40mz\x1b[0m");
}

TEST_CASE("text terminal: another size is drawn anew, and the terminal is given back") {
  const TextScreen small = blank(2, 1);
  CHECK(render_text(blank(3, 1), small).starts_with("\x1b[0m\x1b[?7l\x1b[2J"));
  CHECK(leave_text(blank()) == "\x1b[0m\x1b[?7h\x1b[3;1H\r\n\x1b[?25h");
  CHECK(leave_text({}) == "\x1b[0m\x1b[?7h\x1b[1;1H\r\n\x1b[?25h");
}
