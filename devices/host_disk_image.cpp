#include "devices/host_disk_image.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

namespace understudy::devices {

namespace {

[[noreturn]] void fail(const std::string& path, std::string_view reason, std::string_view advice) {
  throw DiskImageError(fmt::format("disk image {}: {}; {}", path, reason, advice));
}

[[noreturn]] void fail_host(const std::string& path, std::string_view reason, std::string_view advice) {
  throw DiskHostError(fmt::format("disk image {}: {}; {}", path, reason, advice));
}

// Moves all of `size` bytes; a short read means the file's end.
ssize_t read_all(int fd, uint64_t offset, uint8_t* to, size_t size) {
  size_t done = 0;
  while (done < size) {
    const ssize_t n = pread(fd, to + done, size - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return static_cast<ssize_t>(done);
}

bool write_all(int fd, uint64_t offset, const uint8_t* from, size_t size) {
  size_t done = 0;
  while (done < size) {
    const ssize_t n = pwrite(fd, from + done, size - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = ENOSPC;
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  return true;
}

struct Magic {
  std::string_view bytes;
  std::string_view kind;
  std::string_view advice;
};
constexpr std::string_view kConvert = "raw and qcow2 images are supported: convert it with 'qemu-img convert -O qcow2'";
constexpr std::string_view kUnpack = "unpack it first";
constexpr Magic kMagics[] = {
    {"QED\0", "is a QED image", kConvert},
    {"KDMV", "is a VMDK image", kConvert},
    {"COWD", "is a VMDK image", kConvert},
    {"# Disk DescriptorFile", "is a VMDK descriptor", kConvert},
    {"conectix", "is a VHD image", kConvert},
    {"vhdxfile", "is a VHDX image", kConvert},
    {"<<< ", "is a VDI image", kConvert},
    {std::string_view("\x1f\x8b\x08", 3), "is compressed with gzip", kUnpack},
    {std::string_view("\xfd"
                      "7zXZ\0",
                      6),
     "is compressed with xz", kUnpack},
    {std::string_view("\x28\xb5\x2f\xfd", 4), "is compressed with zstd", kUnpack},
    {"BZh", "is compressed with bzip2", kUnpack},
};

}  // namespace

HostDiskImage::HostDiskImage(const std::string& path, Mode mode) : path_(path), mode_(mode) {
  try {
    open_base();
    const bool qcow2 = check_kind();
    // QEMU's own locks are on the bytes from 100 on (its block/file-posix.c): they keep its writers and its readers
    // apart, among them our qemu-nbd.
    lock_base(qcow2 ? 100 : 0);
    if (qcow2) serve_base();
    size_ = (image_bytes_ + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
    if (mode_ == Mode::kSnapshot) open_overlay();
  } catch (...) {
    if (base_ >= 0) close(base_);
    throw;
  }
}

HostDiskImage::~HostDiskImage() {
  qcow2_.reset();
  if (overlay_ >= 0) close(overlay_);
  close(base_);
}

void HostDiskImage::serve_base() {
  try {
    qcow2_ = std::make_unique<QemuNbd>(base_, mode_ == Mode::kWrite);
  } catch (const QemuNbdError& error) {
    fail(path_, error.what(), error.advice());
  }
  image_bytes_ = qcow2_->size_bytes();
}

void HostDiskImage::open_base() {
  // O_NONBLOCK: opening a FIFO must not hang; it means nothing for a regular file.
  const int access = mode_ == Mode::kWrite ? O_RDWR : O_RDONLY;
  base_ = open(path_.c_str(), access | O_CLOEXEC | O_NONBLOCK);
  if (base_ < 0) {
    const int error = errno;
    if (error == ENOENT) fail(path_, "no such file", "check the path, or create one with 'truncate -s SIZE'");
    if (error == EISDIR) fail(path_, "is a directory", "give the path of an image file");
    if (error == EACCES || error == EPERM || error == EROFS)
      fail(path_,
           fmt::format("may not be opened for {} ({})", mode_ == Mode::kWrite ? "writing" : "reading",
                       std::strerror(error)),
           mode_ == Mode::kWrite ? "change its permissions, or use disk mode snapshot or readonly"
                                 : "change its permissions");
    fail(path_, std::strerror(error), "check that the path names a readable file");
  }
  struct stat info {};
  if (fstat(base_, &info) != 0) fail(path_, std::strerror(errno), "check the file system");
  if (S_ISDIR(info.st_mode)) fail(path_, "is a directory", "give the path of an image file");
  if (!S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode))
    fail(path_, "is neither a regular file nor a block device", "give the path of an image file");
  const off_t end = lseek(base_, 0, SEEK_END);
  if (end < 0) fail(path_, std::strerror(errno), "check the file system");
  if (end == 0) fail(path_, "is empty", "give it a size with 'truncate -s SIZE'");
  image_bytes_ = static_cast<uint64_t>(end);
}

// Whether it is a qcow2 image.
bool HostDiskImage::check_kind() {
  uint8_t head[64] = {};
  const ssize_t n = read_all(base_, 0, head, sizeof head);
  if (n < 0) fail(path_, fmt::format("cannot be read ({})", std::strerror(errno)), "check the host's disk");
  const std::string_view start(reinterpret_cast<const char*>(head), static_cast<size_t>(n));
  for (const Magic& magic : kMagics)
    if (start.starts_with(magic.bytes)) fail(path_, magic.kind, magic.advice);
  return QemuNbd::is_qcow2({head, static_cast<size_t>(n)});
}

// An open file description lock belongs to this open, not to the process, so two disks of one machine exclude each
// other too. All of the file when `bytes` is 0. A file system without locks is taken as it is.
void HostDiskImage::lock_base(off_t bytes) {
  struct flock lock {};
  lock.l_len = bytes;
  lock.l_type = mode_ == Mode::kWrite ? F_WRLCK : F_RDLCK;
  lock.l_whence = SEEK_SET;
  if (fcntl(base_, F_OFD_SETLK, &lock) == 0) return;
  if (errno != EAGAIN && errno != EACCES) return;
  if (mode_ == Mode::kWrite)
    fail(path_, "is in use by another machine or disk", "stop that one, or use disk mode snapshot on both");
  fail(path_, "is being written by another machine or disk", "stop that one, or work on a copy");
}

void HostDiskImage::open_overlay() {
  const char* dir = std::getenv("TMPDIR");
  std::string name = std::string(dir != nullptr && *dir != '\0' ? dir : "/tmp") + "/understudy-overlay-XXXXXX";
  overlay_ = mkostemp(name.data(), O_CLOEXEC);
  if (overlay_ < 0)
    fail(path_, fmt::format("no temporary file {} for its overlay ({})", name, std::strerror(errno)),
         "point TMPDIR to a writable directory");
  unlink(name.c_str());
}

bool HostDiskImage::in_range(uint64_t offset, size_t length) const {
  return offset % kSectorBytes == 0 && length % kSectorBytes == 0 && offset <= size_ && length <= size_ - offset;
}

bool HostDiskImage::read_base(uint64_t offset, std::span<uint8_t> to) {
  if (qcow2_) {
    const uint64_t there = std::min<uint64_t>(to.size(), image_bytes_ - std::min(image_bytes_, offset));
    const auto past = to.subspan(static_cast<size_t>(there));
    std::fill(past.begin(), past.end(), uint8_t{0});
    if (through_qcow2([&] { return qcow2_->read(offset, to.first(static_cast<size_t>(there))); })) return true;
    if (mode_ == Mode::kWrite) return false;
    fail_host(path_, fmt::format("qemu-nbd cannot read it at offset {}", offset), "check the host's disk");
  }
  const ssize_t n = read_all(base_, offset, to.data(), to.size());
  if (n < 0) {
    if (mode_ == Mode::kWrite) return false;
    fail_host(path_, fmt::format("cannot be read at offset {} ({})", offset, std::strerror(errno)),
              "check the host's disk");
  }
  std::fill(to.begin() + n, to.end(), uint8_t{0});
  return true;
}

bool HostDiskImage::read(uint64_t offset, std::span<uint8_t> to) {
  if (!in_range(offset, to.size())) return false;
  if (dirty_.empty()) return read_base(offset, to);
  size_t done = 0;
  while (done < to.size()) {
    const uint64_t sector = (offset + done) / kSectorBytes;
    const bool dirty = is_dirty(sector);
    size_t run = kSectorBytes;
    while (done + run < to.size() && is_dirty(sector + run / kSectorBytes) == dirty) run += kSectorBytes;
    const auto part = to.subspan(done, run);
    if (dirty) {
      if (read_all(overlay_, offset + done, part.data(), run) != static_cast<ssize_t>(run))
        fail_host(path_, fmt::format("its overlay cannot be read ({})", std::strerror(errno)), "check the host's disk");
    } else if (!read_base(offset + done, part)) {
      return false;
    }
    done += run;
  }
  return true;
}

bool HostDiskImage::write(uint64_t offset, std::span<const uint8_t> from) {
  if (!in_range(offset, from.size())) return false;
  switch (mode_) {
    case Mode::kReadOnly:
      return false;
    case Mode::kWrite:
      if (qcow2_) return through_qcow2([&] { return qcow2_->write(offset, from); });
      return write_all(base_, offset, from.data(), from.size());
    case Mode::kSnapshot:
      // A sector becomes dirty only when all of it is in the overlay.
      if (!write_all(overlay_, offset, from.data(), from.size()))
        fail_host(path_, fmt::format("its overlay cannot be written ({})", std::strerror(errno)),
                  "make room where temporary files are, or point TMPDIR to where there is some");
      for (size_t done = 0; done < from.size(); done += kSectorBytes) mark_dirty((offset + done) / kSectorBytes);
      return true;
  }
  return false;
}

bool HostDiskImage::flush() {
  if (mode_ != Mode::kWrite) return true;
  if (qcow2_) return through_qcow2([&] { return qcow2_->flush(); });
  return fdatasync(base_) == 0;
}

template <typename Operation>
bool HostDiskImage::through_qcow2(Operation&& operation) {
  try {
    return operation();
  } catch (const QemuNbdError& error) {
    fail_host(path_, error.what(), error.advice());
  }
}

bool HostDiskImage::is_dirty(uint64_t sector) const {
  const auto node = dirty_.find(sector / kNodeSectors);
  if (node == dirty_.end()) return false;
  const uint64_t bit = sector % kNodeSectors;
  return (node->second[bit / 64] >> (bit % 64) & 1) != 0;
}

void HostDiskImage::mark_dirty(uint64_t sector) {
  const uint64_t bit = sector % kNodeSectors;
  dirty_[sector / kNodeSectors][bit / 64] |= 1ull << (bit % 64);
  changed_[sector / (kPageBytes / kSectorBytes)] = now_;
}

uint64_t HostDiskImage::digest() {
  // What the guest wrote to a qcow2 image may still be on its way into the file, which may have grown.
  if (qcow2_ && !flush()) fail(path_, "its writes cannot be completed", "check the host's disk");
  const off_t end = lseek(base_, 0, SEEK_END);
  if (end < 0) fail(path_, std::strerror(errno), "check the host's disk");
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(), XXH3_freeState);
  XXH3_64bits_reset(state.get());
  std::vector<uint8_t> buffer(1 << 20);
  for (uint64_t at = 0; at < static_cast<uint64_t>(end);) {
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(buffer.size(), static_cast<uint64_t>(end) - at));
    if (read_all(base_, at, buffer.data(), wanted) != static_cast<ssize_t>(wanted))
      fail(path_, "cannot be read to its end", "check the host's disk");
    XXH3_64bits_update(state.get(), buffer.data(), wanted);
    at += wanted;
  }
  return XXH3_64bits_digest(state.get());
}

size_t HostDiskImage::page_bytes(uint64_t page) const {
  return static_cast<size_t>(std::min<uint64_t>(kPageBytes, size_ - page * kPageBytes));
}

void HostDiskImage::read_page(uint64_t page, std::span<uint8_t, kPageBytes> to) {
  const size_t size = page_bytes(page);
  std::fill(to.begin() + static_cast<std::ptrdiff_t>(size), to.end(), uint8_t{0});
  if (!read(page * kPageBytes, to.first(size))) fail_host(path_, "cannot be read", "check the host's disk");
}

void HostDiskImage::write_page(uint64_t page, std::span<const uint8_t, kPageBytes> from) {
  if (!write(page * kPageBytes, from.first(page_bytes(page))))
    fail_host(path_, fmt::format("its overlay cannot be written ({})", std::strerror(errno)), "check the host's disk");
}

bool HostDiskImage::is_base(uint64_t page) {
  for (uint64_t i = 0; i < kPageBytes / kSectorBytes; ++i)
    if (is_dirty(page * (kPageBytes / kSectorBytes) + i)) return false;
  return true;
}

void HostDiskImage::make_base(uint64_t page) {
  const uint64_t first = page * (kPageBytes / kSectorBytes);
  const auto node = dirty_.find(first / kNodeSectors);
  if (node == dirty_.end()) return;
  for (uint64_t bit = first % kNodeSectors; bit < first % kNodeSectors + kPageBytes / kSectorBytes; ++bit)
    node->second[bit / 64] &= ~(1ull << (bit % 64));
  changed_[page] = now_;
}

void HostDiskImage::make_all_base() {
  dirty_.clear();
  for (auto& [page, when] : changed_) when = now_;
}

void HostDiskImage::for_each_changed(emu::ChangeMap::Mark since, const std::function<void(uint64_t page)>& call) {
  // The callee may write pages.
  std::vector<uint64_t> pages;
  for (const auto& [page, when] : changed_)
    if (when > since) pages.push_back(page);
  for (const uint64_t page : pages) call(page);
}

std::vector<HostDiskImage::Run> HostDiskImage::dirty_runs() const {
  std::vector<Run> runs;
  for (const auto& [index, words] : dirty_)
    for (uint64_t bit = 0; bit < kNodeSectors; ++bit) {
      if ((words[bit / 64] >> (bit % 64) & 1) == 0) continue;
      const uint64_t sector = index * kNodeSectors + bit;
      if (!runs.empty() && runs.back().first + runs.back().count == sector)
        ++runs.back().count;
      else
        runs.push_back({sector, 1});
    }
  return runs;
}

}  // namespace understudy::devices
