#include "ftlog/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace understudy::ftlog {

LogError::LogError(std::string segment, uint64_t offset, const std::string& what)
    : std::runtime_error(fmt::format("log {}: at offset {}: {}", segment, offset, what)),
      segment_(std::move(segment)),
      offset_(offset) {}

File::File(std::string path, int flags) : path_(std::move(path)) {
  do fd_ = ::open(path_.c_str(), flags | O_CLOEXEC, 0644);
  while (fd_ < 0 && errno == EINTR);
  if (fd_ < 0) throw LogError(path_, 0, fmt::format("cannot open: {}", std::strerror(errno)));
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

uint64_t File::size() const {
  struct stat status {};
  if (::fstat(fd_, &status) != 0) throw LogError(path_, 0, std::strerror(errno));
  return static_cast<uint64_t>(status.st_size);
}

void File::append(std::span<const uint8_t> bytes, uint64_t offset) {
  size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t done = ::write(fd_, bytes.data() + written, bytes.size() - written);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) {
      const int reason = errno;
      // If this fails too, what is left is a torn tail.
      if (written != 0 && ::ftruncate(fd_, static_cast<off_t>(offset)) != 0) errno = reason;
      throw LogError(path_, offset, fmt::format("cannot write: {}", std::strerror(reason)));
    }
    written += static_cast<size_t>(done);
  }
}

size_t File::read_at(std::span<uint8_t> bytes, uint64_t offset) const {
  size_t got = 0;
  while (got < bytes.size()) {
    const ssize_t done = ::pread(fd_, bytes.data() + got, bytes.size() - got, static_cast<off_t>(offset + got));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) throw LogError(path_, offset, fmt::format("cannot read: {}", std::strerror(errno)));
    if (done == 0) break;
    got += static_cast<size_t>(done);
  }
  return got;
}

void File::rename(const std::string& path) {
  if (::rename(path_.c_str(), path.c_str()) != 0)
    throw LogError(path, 0, fmt::format("cannot create: {}", std::strerror(errno)));
  path_ = path;
}

File File::duplicate() const {
  File other;
  other.path_ = path_;
  other.fd_ = ::fcntl(fd_, F_DUPFD_CLOEXEC, 0);
  if (other.fd_ < 0) throw LogError(path_, 0, fmt::format("cannot duplicate: {}", std::strerror(errno)));
  return other;
}

void File::sync() const {
  if (::fdatasync(fd_) != 0) throw LogError(path_, 0, fmt::format("cannot sync: {}", std::strerror(errno)));
}

void sync_directory(const std::string& directory) {
  const File handle(directory, O_RDONLY | O_DIRECTORY);
  if (::fsync(handle.fd()) != 0) throw LogError(directory, 0, fmt::format("cannot sync: {}", std::strerror(errno)));
}

}  // namespace understudy::ftlog
