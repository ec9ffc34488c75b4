#include "emu/machine_description.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace understudy::emu {

namespace {

bool printable(char c) { return c >= ' ' && c <= '~'; }

}  // namespace

void MachineDescription::add(std::string key, std::string value) {
  if (key.empty() || find(key) != nullptr || key.find(':') != std::string::npos || !std::ranges::all_of(key, printable))
    throw std::logic_error("machine description: key " + key);
  std::ranges::replace_if(
      value, [](char c) { return !printable(c); }, '?');
  entries_.emplace_back(std::move(key), std::move(value));
}

const std::string* MachineDescription::find(std::string_view key) const {
  for (const auto& [name, value] : entries_)
    if (name == key) return &value;
  return nullptr;
}

std::string MachineDescription::to_text() const {
  std::string text;
  for (const auto& [key, value] : entries_) text += fmt::format("{}: {}\n", key, value);
  return text;
}

MachineDescription MachineDescription::from_text(std::string_view text) {
  if (text.size() > kMaxText) throw std::runtime_error("the machine description is too long");
  MachineDescription description;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const size_t colon = text.find(": ");
    if (end == std::string_view::npos || colon == std::string_view::npos || colon > end || colon == 0)
      throw std::runtime_error("the machine description is malformed");
    const std::string_view key = text.substr(0, colon), value = text.substr(colon + 2, end - colon - 2);
    if (!std::ranges::all_of(key, printable) || !std::ranges::all_of(value, printable) ||
        key.find(':') != std::string_view::npos || description.find(key) != nullptr)
      throw std::runtime_error("the machine description is malformed");
    description.entries_.emplace_back(key, value);
    text.remove_prefix(end + 1);
  }
  return description;
}

std::string MachineDescription::differences(const MachineDescription& other, std::string_view name,
                                            std::string_view other_name) const {
  constexpr const char* kAbsent = "nothing";
  std::string line;
  auto differ = [&](const std::string& key, std::string_view here, std::string_view there) {
    line += fmt::format("{}{} is {} in {} and {} in {}", line.empty() ? "" : "; ", key, here, name, there, other_name);
  };
  for (const auto& [key, value] : entries_) {
    const std::string* there = other.find(key);
    if (there == nullptr || *there != value) differ(key, value, there == nullptr ? kAbsent : *there);
  }
  for (const auto& [key, value] : other.entries_)
    if (find(key) == nullptr) differ(key, kAbsent, value);
  return line;
}

}  // namespace understudy::emu
