#include "devices/keymap.h"

#include <array>

namespace understudy::devices {

namespace {
constexpr uint8_t kBreak = 0xf0;
constexpr uint8_t kExtended = 0xe0;
constexpr uint8_t kShift = 0x12;
constexpr uint8_t kCtrl = 0x14;

struct Key {
  uint8_t code;
  char plain;
  char shifted;
};

constexpr Key kKeys[] = {
    {0x0e, '`', '~'},  {0x16, '1', '!'}, {0x1e, '2', '@'}, {0x26, '3', '#'}, {0x25, '4', '$'}, {0x2e, '5', '%'},
    {0x36, '6', '^'},  {0x3d, '7', '&'}, {0x3e, '8', '*'}, {0x46, '9', '('}, {0x45, '0', ')'}, {0x4e, '-', '_'},
    {0x55, '=', '+'},  {0x15, 'q', 'Q'}, {0x1d, 'w', 'W'}, {0x24, 'e', 'E'}, {0x2d, 'r', 'R'}, {0x2c, 't', 'T'},
    {0x35, 'y', 'Y'},  {0x3c, 'u', 'U'}, {0x43, 'i', 'I'}, {0x44, 'o', 'O'}, {0x4d, 'p', 'P'}, {0x54, '[', '{'},
    {0x5b, ']', '}'},  {0x1c, 'a', 'A'}, {0x1b, 's', 'S'}, {0x23, 'd', 'D'}, {0x2b, 'f', 'F'}, {0x34, 'g', 'G'},
    {0x33, 'h', 'H'},  {0x3b, 'j', 'J'}, {0x42, 'k', 'K'}, {0x4b, 'l', 'L'}, {0x4c, ';', ':'}, {0x52, '\'', '"'},
    {0x5d, '\\', '|'}, {0x1a, 'z', 'Z'}, {0x22, 'x', 'X'}, {0x21, 'c', 'C'}, {0x2a, 'v', 'V'}, {0x32, 'b', 'B'},
    {0x31, 'n', 'N'},  {0x3a, 'm', 'M'}, {0x41, ',', '<'}, {0x49, '.', '>'}, {0x4a, '/', '?'}, {0x29, ' ', ' '},
};

struct Escape {
  std::string_view sequence;  // after the ESC
  uint8_t code;
  bool extended;
};

constexpr Escape kEscapes[] = {
    {"[A", 0x75, true},    {"[B", 0x72, true},    {"[C", 0x74, true},    {"[D", 0x6b, true},    {"OA", 0x75, true},
    {"OB", 0x72, true},    {"OC", 0x74, true},    {"OD", 0x6b, true},    {"[H", 0x6c, true},    {"[F", 0x69, true},
    {"OH", 0x6c, true},    {"OF", 0x69, true},    {"[1~", 0x6c, true},   {"[4~", 0x69, true},   {"[2~", 0x70, true},
    {"[3~", 0x71, true},   {"[5~", 0x7d, true},   {"[6~", 0x7a, true},   {"OP", 0x05, false},   {"OQ", 0x06, false},
    {"OR", 0x04, false},   {"OS", 0x0c, false},   {"[11~", 0x05, false}, {"[12~", 0x06, false}, {"[13~", 0x04, false},
    {"[14~", 0x0c, false}, {"[15~", 0x03, false}, {"[17~", 0x0b, false}, {"[18~", 0x83, false}, {"[19~", 0x0a, false},
    {"[20~", 0x01, false}, {"[21~", 0x09, false}, {"[23~", 0x78, false}, {"[24~", 0x07, false},
};

void tap(std::vector<uint8_t>& out, uint8_t code, bool extended = false) {
  if (extended) out.push_back(kExtended);
  out.push_back(code);
  if (extended) out.push_back(kExtended);
  out.push_back(kBreak);
  out.push_back(code);
}

void tap_with(std::vector<uint8_t>& out, uint8_t modifier, uint8_t code) {
  out.push_back(modifier);
  tap(out, code);
  out.push_back(kBreak);
  out.push_back(modifier);
}

void type(std::vector<uint8_t>& out, char c) {
  switch (c) {
    case '\n':
    case '\r':
      return tap(out, 0x5a);
    case '\t':
      return tap(out, 0x0d);
    case '\b':
    case '\x7f':
      return tap(out, 0x66);
    case '\x1b':
      return tap(out, 0x76);
    default:
      break;
  }
  const bool control = c > 0 && c < ' ';
  // Ctrl takes away the top bits: 1..26 are Ctrl-a..z, 28..31 Ctrl with \ ] ^ _.
  const char wanted = !control ? c : static_cast<char>(c <= 26 ? c + 'a' - 1 : c + '@');
  for (const Key& key : kKeys) {
    if (wanted != key.plain && wanted != key.shifted) continue;
    const bool shift = wanted != key.plain;
    if (control) out.push_back(kCtrl);
    if (shift)
      tap_with(out, kShift, key.code);
    else
      tap(out, key.code);
    if (control) out.insert(out.end(), {kBreak, kCtrl});
    return;
  }
}
}  // namespace

std::vector<uint8_t> scancodes_for_char(char c) {
  std::vector<uint8_t> out;
  type(out, c);
  return out;
}

std::vector<uint8_t> scancodes_for_text(std::string_view text) {
  std::vector<uint8_t> out;
  while (!text.empty()) {
    const char c = text.front();
    text.remove_prefix(1);
    const Escape* found = nullptr;
    if (c == '\x1b')
      for (const Escape& escape : kEscapes)
        if (text.starts_with(escape.sequence)) found = &escape;
    if (found == nullptr) {
      type(out, c);
      continue;
    }
    tap(out, found->code, found->extended);
    text.remove_prefix(found->sequence.size());
  }
  return out;
}

}  // namespace understudy::devices
