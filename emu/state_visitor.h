// One walk over a device's or the CPU's state serves saving, loading, comparing and digesting: the owner names its
// fields once, in a fixed order, and the visitor decides what happens to each. Field names are part of the snapshot
// format: renaming one is a format change.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <vector>

namespace understudy::emu {

class StateVisitor {
 public:
  virtual ~StateVisitor() = default;

  // An integer, bool or enum of up to eight bytes.
  template <typename T>
  requires(std::is_integral_v<T> || std::is_enum_v<T>) void value(std::string_view name, T& field) {
    uint64_t raw = static_cast<uint64_t>(field);
    if constexpr (sizeof(T) < 8) raw &= (1ull << (8 * sizeof(T))) - 1;
    scalar(name, raw, sizeof(T));
    field = static_cast<T>(raw);
  }
  // A fixed array of integers: one field per element would be noise, so it travels as little-endian bytes.
  template <typename T, size_t N>
  requires(std::is_integral_v<T>) void value(std::string_view name, std::array<T, N>& field) {
    bytes(name, field.data(), sizeof field);
  }
  template <typename T, size_t N>
  requires(std::is_integral_v<T>) void value(std::string_view name, T (&field)[N]) { bytes(name, field, sizeof field); }
  // A byte sequence whose length is part of the state; a loader refuses more than `max_size`.
  virtual void sequence(std::string_view name, std::vector<uint8_t>& field, size_t max_size) = 0;

  // Whether value() brings values in, so that an owner with derived state must take them up.
  virtual bool is_loading() const { return false; }

  // Fields between begin() and end() are named `group.field`; groups nest.
  virtual void begin(std::string_view group) = 0;
  virtual void end() = 0;

 protected:
  virtual void scalar(std::string_view name, uint64_t& value, size_t width) = 0;
  virtual void bytes(std::string_view name, void* data, size_t size) = 0;
};

}  // namespace understudy::emu
