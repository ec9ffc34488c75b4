// An eventfd: wakes a thread that polls it, beside ZeroMQ's sockets. Readable from notify() to clear().
#pragma once

#include <cstdint>

namespace understudy::ftlog {

class WakeEvent {
 public:
  // Throws std::system_error.
  WakeEvent();
  ~WakeEvent();
  WakeEvent(const WakeEvent&) = delete;
  WakeEvent& operator=(const WakeEvent&) = delete;
  int fd() const { return fd_; }
  // Any thread.
  void notify();
  void clear();

 private:
  int fd_;
};

}  // namespace understudy::ftlog
