#include "tools/hex_dump.h"

#include <fmt/format.h>

#include <algorithm>

namespace understudy::tools {

std::string hex_dump(uint64_t address, std::span<const uint8_t> bytes) {
  constexpr size_t kPerLine = 16;
  std::string text;
  while (!bytes.empty()) {
    const auto line = bytes.first(std::min(bytes.size(), kPerLine));
    std::string numbers, characters;
    for (const uint8_t byte : line) {
      numbers += fmt::format("{:02x} ", byte);
      characters += byte >= 0x20 && byte < 0x7f ? static_cast<char>(byte) : '.';
    }
    text += fmt::format("{:08x}  {:<{}} {}\n", address, numbers, 3 * kPerLine, characters);
    bytes = bytes.subspan(line.size());
    address += line.size();
  }
  return text;
}

}  // namespace understudy::tools
