#include "emu/snapshot_sections.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>

#include "emu/snapshot_file.h"

namespace understudy::emu::snapshot {

namespace {

constexpr char kMagic[8] = {'U', 'N', 'D', 'S', 'N', 'A', 'P', '\n'};
constexpr int kCompression = 1;

struct FileHead {
  char magic[8];
  uint32_t version;
  uint32_t flags;
};
struct SectionHead {
  uint32_t kind;
  uint32_t zero;
  uint64_t bytes;
  uint64_t checksum;
};

}  // namespace

void fail(const std::string& path, const std::string& what) {
  throw SnapshotError(fmt::format("snapshot {}: {}", path, what));
}

File::File(const std::string& path, int flags, const std::string& shown) : shown_(shown) {
  // O_NONBLOCK: opening a FIFO must not hang; it means nothing for a regular file.
  fd_ = ::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0644);
  if (fd_ < 0) fail(shown_, std::strerror(errno));
  struct stat info {};
  if (fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd_);
    fail(shown_, "is not a regular file");
  }
  size_ = static_cast<uint64_t>(info.st_size);
}

File::~File() { ::close(fd_); }

void File::write(const void* data, size_t size) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  while (size > 0) {
    const ssize_t done = ::write(fd_, bytes, size);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail(shown_, fmt::format("cannot write: {}", std::strerror(errno)));
    bytes += done;
    size -= static_cast<size_t>(done);
  }
}

bool File::read(void* data, size_t size) {
  auto* bytes = static_cast<uint8_t*>(data);
  size_t got = 0;
  while (got < size) {
    const ssize_t done = ::read(fd_, bytes + got, size - got);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail(shown_, fmt::format("cannot read: {}", std::strerror(errno)));
    if (done == 0) break;
    got += static_cast<size_t>(done);
  }
  if (got != 0 && got != size) fail(shown_, fmt::format("is cut off at offset {}", offset_ + got));
  offset_ += got;
  return got == size;
}

void File::sync() {
  if (::fsync(fd_) != 0) fail(shown_, fmt::format("cannot sync: {}", std::strerror(errno)));
}

SectionWriter::SectionWriter(File& file) : file_(file) {
  FileHead head{};
  std::memcpy(head.magic, kMagic, sizeof kMagic);
  head.version = kSnapshotVersion;
  file_.write(&head, sizeof head);
  identity_.add(&head, sizeof head);
}

void SectionWriter::write(SectionKind kind, std::span<const uint8_t> body) {
  const SectionHead head{kind, 0, body.size(), XXH3_64bits(body.data(), body.size())};
  file_.write(&head, sizeof head);
  file_.write(body.data(), body.size());
  identity_.add(&head, sizeof head);
}

uint64_t SectionWriter::end() {
  const uint64_t identity = identity_.value();
  write(kEnd, {reinterpret_cast<const uint8_t*>(&identity), sizeof identity});
  return identity;
}

uint64_t read_sections(const std::string& path, const std::function<void(const Section&)>& call) {
  File file(path, O_RDONLY, path);
  FileHead head{};
  if (!file.read(&head, sizeof head) || std::memcmp(head.magic, kMagic, sizeof kMagic) != 0)
    fail(path, "not an Understudy snapshot");
  if (head.version != kSnapshotVersion)
    fail(path, fmt::format("has format version {}, this program reads {}", head.version, kSnapshotVersion));
  if (head.flags != 0) fail(path, "has unknown flags");
  Identity identity;
  identity.add(&head, sizeof head);
  Section section{};
  while (true) {
    section.offset = file.offset();
    SectionHead section_head{};
    if (!file.read(&section_head, sizeof section_head))
      fail(path, fmt::format("is cut off at offset {}", section.offset));
    if (section_head.zero != 0 || section_head.bytes > file.size() || section_head.bytes > 2 * kMaxArchive)
      fail(path, fmt::format("bad section at offset {}", section.offset));
    section.kind = static_cast<SectionKind>(section_head.kind);
    section.body.resize(section_head.bytes);
    if (!section.body.empty() && !file.read(section.body.data(), section.body.size()))
      fail(path, fmt::format("is cut off at offset {}", file.offset()));
    if (XXH3_64bits(section.body.data(), section.body.size()) != section_head.checksum)
      fail(path, fmt::format("checksum of the section at offset {} is wrong", section.offset));
    if (section.kind == kEnd) break;
    if (section.kind < kDescription || section.kind > kEnd)
      fail(path, fmt::format("unknown section {} at offset {}", section_head.kind, section.offset));
    identity.add(&section_head, sizeof section_head);
    call(section);
  }
  uint64_t expected = 0;
  if (section.body.size() == sizeof expected) std::memcpy(&expected, section.body.data(), sizeof expected);
  if (section.body.size() != sizeof expected || expected != identity.value())
    fail(path, "its sections do not belong together");
  if (file.offset() != file.size()) fail(path, fmt::format("bytes follow its end at offset {}", file.offset()));
  return expected;
}

// Contexts cost more than a page does.
std::vector<uint8_t> compress(std::span<const uint8_t> data) {
  thread_local const std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context(ZSTD_createCCtx(), ZSTD_freeCCtx);
  std::vector<uint8_t> out(ZSTD_compressBound(data.size()));
  const size_t done = ZSTD_compressCCtx(context.get(), out.data(), out.size(), data.data(), data.size(), kCompression);
  if (ZSTD_isError(done)) throw SnapshotError(fmt::format("snapshot: zstd: {}", ZSTD_getErrorName(done)));
  out.resize(done);
  return out;
}

bool decompress(std::span<const uint8_t> from, std::span<uint8_t> to) {
  if (to.empty()) return from.empty();
  thread_local const std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  const size_t done = ZSTD_decompressDCtx(context.get(), to.data(), to.size(), from.data(), from.size());
  return !ZSTD_isError(done) && done == to.size();
}

bool decompress_at_most(std::span<const uint8_t> from, uint64_t most, std::vector<uint8_t>& to) {
  const auto size = ZSTD_getFrameContentSize(from.data(), from.size());
  if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR || size > most) return false;
  to.resize(size);
  return decompress(from, to);
}

}  // namespace understudy::emu::snapshot
