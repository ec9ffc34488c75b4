#include "tools/ram_flip.h"

#include <fmt/format.h>

#include <charconv>

#include "tools/serial_backend.h"

namespace understudy::tools {

std::optional<RamFlip> parse_flip(const std::string& text) {
  if (text.empty()) return std::nullopt;
  RamFlip flip;
  const char* at = text.data();
  const char* const last = at + text.size();
  const auto number = [&](auto& value, char behind) {
    const bool hex = last - at > 2 && at[0] == '0' && (at[1] == 'x' || at[1] == 'X');
    if (hex) at += 2;
    const auto [end, error] = std::from_chars(at, last, value, hex ? 16 : 10);
    const bool good = error == std::errc() && (behind == 0 ? end == last : end != last && *end == behind);
    at = end + (behind != 0);
    return good;
  };
  if (!number(flip.icount, ':') || !number(flip.address, ':') || !number(flip.bit, 0))
    throw UsageError(fmt::format("--inject-ram-flip {}: want ICOUNT:ADDRESS:BIT", text));
  return flip;
}

void check(const RamFlip& flip, emu::Machine& machine) {
  if (!machine.memory().is_ram(flip.address) || flip.bit > 7)
    throw UsageError(
        fmt::format("--inject-ram-flip: there is no bit {} of a RAM byte at {:#x}", flip.bit, flip.address));
}

void turn_over(const RamFlip& flip, emu::Machine& machine) {
  const auto byte = static_cast<uint8_t>(*machine.memory().bytes_at(flip.address) ^ 1u << flip.bit);
  machine.memory().store(flip.address, {&byte, 1});
}

}  // namespace understudy::tools
