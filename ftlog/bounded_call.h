// Calls that may hang in the host's kernel (a file system whose server is gone), made on a thread so that the caller
// waits no longer than it wants to. One call at a time: while one hangs, later ones wait for it, then give up as well.
#pragma once

#include <signal.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

namespace understudy::ftlog {

class BoundedCalls {
 public:
  explicit BoundedCalls(std::chrono::milliseconds timeout) : timeout_(timeout) {}

  // What `work` returns, or nothing if that took too long: then it may still come to its end later, unless it looks at
  // the flag, which is set. `work` throws nothing, and owns all that it touches.
  template <typename Result>
  std::optional<Result> call(std::function<Result(const std::atomic<bool>& given_up)> work) {
    const auto deadline = std::chrono::steady_clock::now() + timeout_;
    std::unique_lock lock(shared_->mutex);
    if (!shared_->changed.wait_until(lock, deadline, [this] { return !shared_->busy; })) return std::nullopt;
    const auto job = std::make_shared<Job<Result>>();
    // Signals are for the threads that wait for them.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      std::thread([shared = shared_, job, work = std::move(work)] {
        Result result = work(job->given_up);
        const std::lock_guard done(shared->mutex);
        job->result = std::move(result);
        shared->busy = false;
        shared->changed.notify_all();
      }).detach();
      shared_->busy = true;  // the thread has to wait for the lock before it can say otherwise
    } catch (const std::system_error&) {
      // No thread to be had: not done in time.
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (!shared_->changed.wait_until(lock, deadline, [&job] { return job->result.has_value(); })) job->given_up = true;
    return job->result;
  }

 private:
  struct Shared {
    std::mutex mutex;
    std::condition_variable changed;
    bool busy = false;
  };
  template <typename Result>
  struct Job {
    std::atomic<bool> given_up = false;
    std::optional<Result> result;
  };
  std::chrono::milliseconds timeout_;
  std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
};

}  // namespace understudy::ftlog
