#include "tools/state_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>

namespace understudy::tools {

namespace {

constexpr size_t kShownBytes = 32;

// Fields of an interrupt controller with a bit for each line.
bool is_line_mask(std::string_view name) {
  constexpr std::string_view kMasks[] = {"irr", "isr", "imr", "lines", "elcr"};
  return std::find(std::begin(kMasks), std::end(kMasks), name) != std::end(kMasks);
}

std::string bits_of(uint64_t value) {
  std::string text;
  for (unsigned bit = 0; bit < 64; ++bit)
    if (value >> bit & 1) text += fmt::format("{}{}", text.empty() ? "bits " : " ", bit);
  return text;
}

std::string first_bytes(std::span<const uint8_t> bytes) {
  const auto shown = bytes.first(std::min(bytes.size(), kShownBytes));
  return fmt::format("{:02x}{}", fmt::join(shown, " "),
                     shown.size() < bytes.size() ? fmt::format(" ... ({} bytes)", bytes.size()) : "");
}

}  // namespace

void StateText::line(std::string_view name, std::string_view value) {
  text_ += fmt::format("{:{}}{:<24} {}\n", "", 2 * depth_, name, value);
}

void StateText::begin(std::string_view group) {
  text_ += fmt::format("{:{}}{}\n", "", 2 * depth_, group);
  ++depth_;
}

void StateText::end() { --depth_; }

void StateText::scalar(std::string_view name, uint64_t& value, size_t) {
  if (value == ~0ull) return line(name, "never");  // a due time, or nothing
  if (is_line_mask(name) && value != 0) return line(name, fmt::format("{:#x} ({})", value, bits_of(value)));
  line(name, value < 10 ? fmt::format("{}", value) : fmt::format("{:#x} ({})", value, value));
}

void StateText::bytes(std::string_view name, void* data, size_t size) {
  line(name, first_bytes({static_cast<const uint8_t*>(data), size}));
}

void StateText::sequence(std::string_view name, std::vector<uint8_t>& field, size_t) {
  line(name, field.empty() ? "(empty)" : first_bytes(field));
}

}  // namespace understudy::tools
