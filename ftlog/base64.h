// Base64 as RFC 4648, section 4, has it, padded; a decoder that takes only what the encoder makes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace understudy::ftlog {

std::string to_base64(std::string_view bytes);
std::optional<std::string> from_base64(std::string_view text);

}  // namespace understudy::ftlog
