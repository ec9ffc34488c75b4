// A file descriptor that closes itself, with the few calls a log needs; what fails is a LogError with the system's
// reason.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "ftlog/log_error.h"

namespace understudy::ftlog {

class File {
 public:
  File() = default;
  // Throws LogError if it cannot be opened.
  File(std::string path, int flags);
  ~File();
  File(File&& other) noexcept : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}
  File& operator=(File&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(fd_, other.fd_);
    return *this;
  }

  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  const std::string& path() const { return path_; }

  uint64_t size() const;
  // At the end of the file, which is at `offset`. What was written of it is taken back if not all can be.
  void append(std::span<const uint8_t> bytes, uint64_t offset);
  // Returns how many bytes there were: fewer than asked at the end of the file.
  size_t read_at(std::span<uint8_t> bytes, uint64_t offset) const;
  void rename(const std::string& path);
  // Another descriptor of the same open file.
  File duplicate() const;
  void sync() const;

 private:
  std::string path_;
  int fd_ = -1;
};

// Makes a directory's new names durable.
void sync_directory(const std::string& directory);

}  // namespace understudy::ftlog
