// What a machine is made of, as an ordered list of keys and values: memory, drives with their sizes and digests,
// firmware, engine. A snapshot or a log belongs to machines of an equal description; when two are not equal, the keys
// that differ say why. Text form: a line "key: value" each, printable ASCII, at most kMaxText bytes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace understudy::emu {

class MachineDescription {
 public:
  static constexpr size_t kMaxText = 64u << 10;

  // Keys are unique and have no colon; other characters than printable ASCII in a value become '?'.
  void add(std::string key, std::string value);
  const std::vector<std::pair<std::string, std::string>>& entries() const { return entries_; }
  // The value of a key, or null.
  const std::string* find(std::string_view key) const;

  std::string to_text() const;
  // Throws std::runtime_error.
  static MachineDescription from_text(std::string_view text);

  // Every key that differs, with both values, in one line; empty for equal descriptions.
  std::string differences(const MachineDescription& other, std::string_view name, std::string_view other_name) const;

 private:
  std::vector<std::pair<std::string, std::string>> entries_;
};

}  // namespace understudy::emu
