#include "tools/serial_match.h"

#include <fmt/format.h>

#include "tools/serial_backend.h"

namespace understudy::tools {

SerialMatch::SerialMatch(const std::string& pattern) {
  if (pattern.find_first_of("\\^$.|?*+()[]{}") == std::string::npos) {
    literal_ = pattern;
    return;
  }
  try {
    regex_ = std::regex(pattern, std::regex::optimize);
  } catch (const std::regex_error& error) {
    throw UsageError(fmt::format("--until-serial '{}': {}", pattern, error.what()));
  }
}

bool SerialMatch::line_matches() const {
  if (!literal_.empty()) return line_.ends_with(literal_);
  return std::regex_search(line_, regex_);
}

bool SerialMatch::saw(std::span<const uint8_t> bytes) {
  if (matched_) return false;
  for (const uint8_t byte : bytes) {
    if (byte == '\n') {
      line_.clear();
      continue;
    }
    if (byte == '\r' || line_.size() >= kLongestLine) continue;
    line_ += static_cast<char>(byte);
    if (line_matches()) {
      matched_ = true;
      return true;
    }
  }
  return false;
}

}  // namespace understudy::tools
