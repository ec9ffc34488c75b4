#include "emu/snapshot_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "emu/state_archive.h"

namespace understudy::emu {

namespace {

constexpr char kMagic[8] = {'U', 'N', 'D', 'S', 'N', 'A', 'P', '\n'};
constexpr uint64_t kPagesPerSection = 256;
constexpr size_t kMapBytes = kPagesPerSection / 8;
constexpr size_t kRamSectionHead = 8 + kMapBytes;
constexpr uint64_t kMaxArchive = 64u << 20;
constexpr int kCompression = 1;

enum SectionKind : uint32_t { kArchive = 1, kRam = 2, kEnd = 3 };

struct FileHead {
  char magic[8];
  uint32_t version;
  uint32_t flags;
  uint64_t ram_bytes;
  uint64_t description;
};
struct SectionHead {
  uint32_t kind;
  uint32_t zero;
  uint64_t bytes;
  uint64_t checksum;
};

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw SnapshotError(fmt::format("snapshot {}: {}", path, what));
}

class File {
 public:
  File(std::string path, int flags, const std::string& shown) : path_(std::move(path)), shown_(shown) {
    fd_ = ::open(path_.c_str(), flags | O_CLOEXEC, 0644);
    if (fd_ < 0) fail(shown_, std::strerror(errno));
  }
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  void write(const void* data, size_t size) {
    const auto* bytes = static_cast<const uint8_t*>(data);
    while (size > 0) {
      const ssize_t done = ::write(fd_, bytes, size);
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) fail(shown_, fmt::format("cannot write: {}", std::strerror(errno)));
      bytes += done;
      size -= static_cast<size_t>(done);
    }
  }
  // False at the end of the file before the first byte; a partial read is an error.
  bool read(void* data, size_t size) {
    auto* bytes = static_cast<uint8_t*>(data);
    size_t got = 0;
    while (got < size) {
      const ssize_t done = ::read(fd_, bytes + got, size - got);
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) fail(shown_, fmt::format("cannot read: {}", std::strerror(errno)));
      if (done == 0) break;
      got += static_cast<size_t>(done);
    }
    if (got != 0 && got != size) fail(shown_, fmt::format("ends within a section at offset {}", offset_ + got));
    offset_ += got;
    return got == size;
  }
  uint64_t offset() const { return offset_; }
  void sync() {
    if (::fsync(fd_) != 0) fail(shown_, fmt::format("cannot sync: {}", std::strerror(errno)));
  }

 private:
  std::string path_, shown_;
  int fd_ = -1;
  uint64_t offset_ = 0;
};

std::vector<uint8_t> compress(const void* data, size_t size) {
  std::vector<uint8_t> out(ZSTD_compressBound(size));
  const size_t done = ZSTD_compress(out.data(), out.size(), data, size, kCompression);
  if (ZSTD_isError(done)) throw SnapshotError(fmt::format("snapshot: zstd: {}", ZSTD_getErrorName(done)));
  out.resize(done);
  return out;
}

class SectionWriter {
 public:
  explicit SectionWriter(File& file) : file_(file), all_(XXH3_createState()) { XXH3_64bits_reset(all_.get()); }
  void write(SectionKind kind, const std::vector<uint8_t>& body) {
    const SectionHead head{kind, 0, body.size(), XXH3_64bits(body.data(), body.size())};
    file_.write(&head, sizeof head);
    file_.write(body.data(), body.size());
    XXH3_64bits_update(all_.get(), &head.checksum, sizeof head.checksum);
  }
  void end() {
    const uint64_t all = XXH3_64bits_digest(all_.get());
    std::vector<uint8_t> body(sizeof all);
    std::memcpy(body.data(), &all, sizeof all);
    write(kEnd, body);
  }

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  File& file_;
  std::unique_ptr<XXH3_state_t, Free> all_;
};

bool is_zero(const uint8_t* page) {
  static const std::array<uint8_t, kPageSize> zeros{};
  return std::memcmp(page, zeros.data(), kPageSize) == 0;
}

void write_ram(SectionWriter& sections, const PhysicalMemory& memory) {
  const uint64_t pages = memory.ram_size() / kPageSize;
  std::vector<uint8_t> present;
  for (uint64_t first = 0; first < pages; first += kPagesPerSection) {
    std::vector<uint8_t> body(kRamSectionHead);
    std::memcpy(body.data(), &first, sizeof first);
    present.clear();
    for (uint64_t i = 0; i < kPagesPerSection && first + i < pages; ++i) {
      const uint8_t* page = memory.ram() + (first + i) * kPageSize;
      if (is_zero(page)) continue;
      body[8 + i / 8] = static_cast<uint8_t>(body[8 + i / 8] | 1u << i % 8);
      present.insert(present.end(), page, page + kPageSize);
    }
    if (present.empty()) continue;
    const std::vector<uint8_t> packed = compress(present.data(), present.size());
    body.insert(body.end(), packed.begin(), packed.end());
    sections.write(kRam, body);
  }
}

void read_ram(PhysicalMemory& memory, const std::vector<uint8_t>& body, const std::string& path, uint64_t at) {
  if (body.size() < kRamSectionHead) fail(path, fmt::format("RAM section at offset {} is too short", at));
  uint64_t first;
  std::memcpy(&first, body.data(), sizeof first);
  const uint64_t pages = memory.ram_size() / kPageSize;
  size_t count = 0;
  for (uint64_t i = 0; i < kPagesPerSection; ++i)
    if (body[8 + i / 8] >> i % 8 & 1) {
      if (first >= pages || first + i >= pages)
        fail(path, fmt::format("RAM section at offset {} is beyond the machine's memory", at));
      ++count;
    }
  std::vector<uint8_t> bytes(count * kPageSize);
  const size_t done =
      ZSTD_decompress(bytes.data(), bytes.size(), body.data() + kRamSectionHead, body.size() - kRamSectionHead);
  if (ZSTD_isError(done) || done != bytes.size())
    fail(path, fmt::format("RAM section at offset {} does not unpack", at));
  const uint8_t* from = bytes.data();
  for (uint64_t i = 0; i < kPagesPerSection; ++i)
    if (body[8 + i / 8] >> i % 8 & 1) {
      memory.store((first + i) * kPageSize, {from, kPageSize});
      from += kPageSize;
    }
}

std::vector<uint8_t> unpack_archive(const std::vector<uint8_t>& body, const std::string& path) {
  const auto size = ZSTD_getFrameContentSize(body.data(), body.size());
  if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR || size > kMaxArchive)
    fail(path, "the state section has an impossible size");
  std::vector<uint8_t> bytes(size);
  const size_t done = ZSTD_decompress(bytes.data(), bytes.size(), body.data(), body.size());
  if (ZSTD_isError(done) || done != bytes.size()) fail(path, "the state section does not unpack");
  return bytes;
}

}  // namespace

void save_snapshot(Machine& machine, const std::string& description, const std::string& path) {
  const std::string temporary = path + ".partial";
  try {
    File file(temporary, O_WRONLY | O_CREAT | O_TRUNC, path);
    FileHead head{};
    std::memcpy(head.magic, kMagic, sizeof kMagic);
    head.version = kSnapshotVersion;
    head.ram_bytes = machine.memory().ram_size();
    head.description = XXH3_64bits(description.data(), description.size());
    file.write(&head, sizeof head);
    SectionWriter sections(file);
    StateWriter writer;
    machine.visit_state(writer);
    const std::vector<uint8_t> archive = writer.finish();
    sections.write(kArchive, compress(archive.data(), archive.size()));
    write_ram(sections, machine.memory());
    sections.end();
    file.sync();
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) fail(path, std::strerror(errno));
}

void load_snapshot(Machine& machine, const std::string& description, const std::string& path) {
  File file(path, O_RDONLY, path);
  FileHead head;
  if (!file.read(&head, sizeof head) || std::memcmp(head.magic, kMagic, sizeof kMagic) != 0)
    fail(path, "not an Understudy snapshot");
  if (head.version != kSnapshotVersion)
    fail(path, fmt::format("has format version {}, this program reads {}", head.version, kSnapshotVersion));
  if (head.flags != 0) fail(path, "has unknown flags");
  if (head.ram_bytes != machine.memory().ram_size())
    fail(path, fmt::format("is of a machine with {} MiB of memory, this one has {} (see --memory)",
                           head.ram_bytes >> 20, machine.memory().ram_size() >> 20));
  if (head.description != XXH3_64bits(description.data(), description.size()))
    fail(path, fmt::format("is of another machine; this one is: {}", description));
  const uint64_t largest = ZSTD_compressBound(std::max<uint64_t>(kPagesPerSection * kPageSize, kMaxArchive));
  machine.memory().clear();
  XXH3_state_t* all = XXH3_createState();
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> owner(all, XXH3_freeState);
  XXH3_64bits_reset(all);
  std::vector<uint8_t> archive;
  for (bool ended = false; !ended;) {
    const uint64_t at = file.offset();
    SectionHead section;
    if (!file.read(&section, sizeof section)) fail(path, fmt::format("is cut off at offset {}", at));
    if (section.bytes > largest || section.zero != 0) fail(path, fmt::format("bad section at offset {}", at));
    std::vector<uint8_t> body(section.bytes);
    if (!body.empty() && !file.read(body.data(), body.size())) fail(path, fmt::format("is cut off at offset {}", at));
    if (XXH3_64bits(body.data(), body.size()) != section.checksum)
      fail(path, fmt::format("checksum of the section at offset {} is wrong", at));
    switch (section.kind) {
      case kArchive:
        archive = unpack_archive(body, path);
        break;
      case kRam:
        read_ram(machine.memory(), body, path, at);
        break;
      case kEnd: {
        uint64_t expected = 0;
        if (body.size() == sizeof expected) std::memcpy(&expected, body.data(), sizeof expected);
        if (expected != XXH3_64bits_digest(all)) fail(path, "its sections do not belong together");
        ended = true;
        break;
      }
      default:
        fail(path, fmt::format("unknown section {} at offset {}", section.kind, at));
    }
    XXH3_64bits_update(all, &section.checksum, sizeof section.checksum);
  }
  if (archive.empty()) fail(path, "has no state section");
  try {
    StateReader reader(archive);
    machine.visit_state(reader);
    reader.finish();
  } catch (const std::exception& error) {
    fail(path, error.what());
  }
}

}  // namespace understudy::emu
