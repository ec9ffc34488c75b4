// A device's state for people: each field under the name that it has in a snapshot, groups as headings, numbers in
// hexadecimal and decimal, interrupt masks as the lines they stand for.
#pragma once

#include <cstdint>
#include <string>

#include "emu/state_visitor.h"

namespace understudy::tools {

class StateText : public emu::StateVisitor {
 public:
  void sequence(std::string_view name, std::vector<uint8_t>& field, size_t max_size) override;
  void begin(std::string_view group) override;
  void end() override;
  const std::string& text() const { return text_; }

 protected:
  void scalar(std::string_view name, uint64_t& value, size_t width) override;
  void bytes(std::string_view name, void* data, size_t size) override;

 private:
  void line(std::string_view name, std::string_view value);
  std::string text_;
  unsigned depth_ = 0;
};

}  // namespace understudy::tools
