// Watches what a serial line says for a pattern. A line is looked at with each byte, so a prompt without a newline
// matches as soon as it is complete.
#pragma once

#include <atomic>
#include <cstdint>
#include <regex>
#include <span>
#include <string>

namespace understudy::tools {

class SerialMatch {
 public:
  // An ECMAScript regular expression. Throws UsageError.
  explicit SerialMatch(const std::string& pattern);
  // True once, when the pattern first matches.
  bool saw(std::span<const uint8_t> bytes);
  bool matched() const { return matched_; }

 private:
  bool line_matches() const;
  static constexpr size_t kLongestLine = 4096;
  std::string literal_;  // not empty: the pattern has no special characters
  std::regex regex_;
  std::string line_;
  std::atomic<bool> matched_{false};
};

}  // namespace understudy::tools
