// Much text, written to a file descriptor as it comes: memory is one buffer, however much it is. A reader who goes away
// (EPIPE) ends it quietly: what is appended from then on goes nowhere.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace understudy::tools {

class OutputStream {
 public:
  explicit OutputStream(int fd) : fd_(fd) { buffer_.reserve(2 * kFlushAt); }

  // To append to; call settle() after each line or object.
  std::string& text() { return buffer_; }
  // Throws std::runtime_error when writing fails for another reason than EPIPE.
  void settle() {
    if (buffer_.size() >= kFlushAt) flush();
  }
  void flush();
  // Nobody reads any more.
  bool closed() const { return closed_; }
  uint64_t bytes() const { return bytes_; }

 private:
  static constexpr size_t kFlushAt = 256u << 10;
  int fd_;
  std::string buffer_;
  bool closed_ = false;
  uint64_t bytes_ = 0;
};

}  // namespace understudy::tools
