// A flag with an opposite, and what neither means left open: CLI11's own add_flag() makes an optional<bool> false when
// the flag is not there.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

namespace understudy::tools {

// `names` is for example "--paced,!--unpaced".
inline CLI::Option* add_optional_flag(CLI::App& command, const std::string& names, std::optional<bool>& value,
                                      const std::string& description) {
  return command.add_flag_function(
      names, [&value](int64_t count) { value = count > 0; }, description);
}

}  // namespace understudy::tools
