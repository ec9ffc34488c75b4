// The outer form of a snapshot file: a head and checksummed sections (see emu/snapshot_file.h), written and read one at
// a time; and the compression that all saved state has.
#pragma once

#include <xxhash.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace understudy::emu::snapshot {

enum SectionKind : uint32_t { kDescription = 1, kParent = 2, kArchive = 3, kPages = 4, kEnd = 5 };
constexpr uint64_t kMaxArchive = 64u << 20;

// Throws SnapshotError about `path`.
[[noreturn]] void fail(const std::string& path, const std::string& what);

class File {
 public:
  // Opens `path` and calls it `shown` in errors.
  File(const std::string& path, int flags, const std::string& shown);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  void write(const void* data, size_t size);
  // False at the end of the file before the first byte; a partial read is an error.
  bool read(void* data, size_t size);
  void sync();
  uint64_t offset() const { return offset_; }
  uint64_t size() const { return size_; }

 private:
  std::string shown_;
  int fd_ = -1;
  uint64_t offset_ = 0, size_ = 0;
};

// The XXH3 over the head and all section heads.
class Identity {
 public:
  Identity() : state_(XXH3_createState(), XXH3_freeState) { XXH3_64bits_reset(state_.get()); }
  void add(const void* data, size_t size) { XXH3_64bits_update(state_.get(), data, size); }
  uint64_t value() const { return XXH3_64bits_digest(state_.get()); }

 private:
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state_;
};

class SectionWriter {
 public:
  explicit SectionWriter(File& file);
  void write(SectionKind kind, std::span<const uint8_t> body);
  // Returns the identity.
  uint64_t end();

 private:
  File& file_;
  Identity identity_;
};

struct Section {
  SectionKind kind;
  uint64_t offset;
  std::vector<uint8_t> body;
};

// Hands every section but the end to `call` and returns the file's identity. Throws SnapshotError.
uint64_t read_sections(const std::string& path, const std::function<void(const Section&)>& call);

std::vector<uint8_t> compress(std::span<const uint8_t> data);
// Of exactly, or at most, this size; false when it is not.
bool decompress(std::span<const uint8_t> from, std::span<uint8_t> to);
bool decompress_at_most(std::span<const uint8_t> from, uint64_t most, std::vector<uint8_t>& to);

}  // namespace understudy::emu::snapshot
