// Wakes the thread that runs the machine while it waits for host time to pass: input arrived, or a signal.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace understudy::tools {

class Wakeup {
 public:
  void notify() {
    {
      const std::lock_guard lock(mutex_);
      pending_ = true;
    }
    condition_.notify_one();
  }
  // Until notified or `deadline`; forgets the notification.
  void wait_until(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    condition_.wait_until(lock, deadline, [this] { return pending_; });
    pending_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool pending_ = false;
};

}  // namespace understudy::tools
