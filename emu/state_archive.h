// The concrete walks over a machine's state: writing it to bytes, loading it back, digesting it, and telling what
// differs between two of them. Fields travel under their full name ("pic.master.imr") in the order in which the owners
// name them. A reader believes nothing: any byte string either loads completely or throws std::runtime_error.
//
// Format, all integers little-endian:
//   "USTA", u16 version, u16 zero
//   per field: u8 kind, u16 length of name, name, [u32 length of data, kinds bytes and sequence only], data
//   u8 0 (end mark), u64 XXH3-64 of everything before it
// Kinds 1, 2, 4 and 8 are integers of that many bytes; 'b' is a fixed block; 's' is a sequence of any length.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "emu/state_visitor.h"

namespace understudy::emu {

// Keeps the prefix that begin() and end() build.
class NamedStateVisitor : public StateVisitor {
 public:
  void begin(std::string_view group) override;
  // Throws std::logic_error without a begin().
  void end() override;

 protected:
  // The full name of `field`; valid until the next call.
  const std::string& path(std::string_view field);

 private:
  std::string path_;  // the prefix, then the last field asked for
  size_t prefix_length_ = 0;
  std::vector<size_t> outer_lengths_;
};

class StateWriter : public NamedStateVisitor {
 public:
  StateWriter();
  void sequence(std::string_view name, std::vector<uint8_t>& field, size_t max_size) override;
  // Seals the bytes and hands them over; the writer is spent.
  std::vector<uint8_t> finish();

 protected:
  void scalar(std::string_view name, uint64_t& value, size_t width) override;
  void bytes(std::string_view name, void* data, size_t size) override;

 private:
  void field(uint8_t kind, std::string_view name);
  std::vector<uint8_t> out_;
};

class StateReader : public NamedStateVisitor {
 public:
  // Checks magic, version and checksum. `archive` must outlive the reader.
  explicit StateReader(std::span<const uint8_t> archive);
  void sequence(std::string_view name, std::vector<uint8_t>& field, size_t max_size) override;
  bool is_loading() const override { return true; }
  // Throws when fields are left over.
  void finish();

 protected:
  void scalar(std::string_view name, uint64_t& value, size_t width) override;
  void bytes(std::string_view name, void* data, size_t size) override;

 private:
  std::span<const uint8_t> take(std::string_view name, uint8_t kind);
  std::span<const uint8_t> rest_;
};

// 64 bits over every field's kind, name and value: equal for equal states in any process and on any machine.
class StateDigest : public NamedStateVisitor {
 public:
  StateDigest();
  ~StateDigest() override;
  void sequence(std::string_view name, std::vector<uint8_t>& field, size_t max_size) override;
  // Of everything visited so far.
  uint64_t digest() const;

 protected:
  void scalar(std::string_view name, uint64_t& value, size_t width) override;
  void bytes(std::string_view name, void* data, size_t size) override;

 private:
  void field(uint8_t kind, std::string_view name, const void* data, size_t size);
  struct Hash;
  std::unique_ptr<Hash> hash_;
};

// One field that is not the same in two states. The values are hexadecimal: integers whole ("0x1f"), blocks as the
// bytes from the first difference on ("@+512: 00 01 ... (4096 bytes)"), "(absent)" where a side lacks the field.
struct StateDifference {
  std::string field;
  std::string left;
  std::string right;
};
// Adds the checksum to a header, fields and end mark that were put together by other means (tools, tests of damage).
std::vector<uint8_t> seal_state_archive(std::vector<uint8_t> body);

// In the left side's order, then what only the right side has. Throws std::runtime_error on a malformed archive.
std::vector<StateDifference> state_diff(std::span<const uint8_t> left, std::span<const uint8_t> right);

}  // namespace understudy::emu
