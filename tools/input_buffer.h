// Bytes on their way from a host thread to the machine's thread: bounded, the writer waits when it is full.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <vector>

namespace understudy::tools {

class InputBuffer {
 public:
  static constexpr size_t kCapacity = 64 << 10;

  // False once closed.
  bool put(std::span<const uint8_t> bytes) {
    for (const uint8_t byte : bytes) {
      std::unique_lock lock(mutex_);
      room_.wait(lock, [this] { return bytes_.size() < kCapacity || closed_; });
      if (closed_) return false;
      bytes_.push_back(byte);
    }
    return true;
  }
  std::vector<uint8_t> take(size_t most) {
    const std::lock_guard lock(mutex_);
    const size_t count = std::min(most, bytes_.size());
    std::vector<uint8_t> taken(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(count));
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(count));
    room_.notify_all();
    return taken;
  }
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    room_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable room_;
  std::deque<uint8_t> bytes_;
  bool closed_ = false;
};

}  // namespace understudy::tools
