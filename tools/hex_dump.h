// Bytes for people: sixteen a line, with their address and as text.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace understudy::tools {

std::string hex_dump(uint64_t address, std::span<const uint8_t> bytes);

}  // namespace understudy::tools
