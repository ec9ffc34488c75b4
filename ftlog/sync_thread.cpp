#include "ftlog/sync_thread.h"

#include <csignal>
#include <utility>

namespace understudy::ftlog {

SyncThread::SyncThread(std::function<void(uint64_t)> done, std::function<void(const File&)> force)
    : done_(std::move(done)), force_(std::move(force)), thread_([this] { run(); }) {}

SyncThread::~SyncThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void SyncThread::ask(uint32_t number, File file, uint64_t sequence, const std::string& directory) {
  {
    const std::lock_guard lock(mutex_);
    if (!jobs_.empty() && jobs_.back().number == number && directory.empty())
      jobs_.back().sequence = sequence;
    else
      jobs_.push_back({number, std::move(file), sequence, directory});
  }
  changed_.notify_all();
}

void SyncThread::drain() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return failure_ || (jobs_.empty() && !busy_); });
}

void SyncThread::check() {
  const std::lock_guard lock(mutex_);
  if (failure_) throw LogError(*failure_);
}

void SyncThread::run() {
  // Signals are for the program's other threads.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || (!jobs_.empty() && !failure_); });
    if (jobs_.empty() || failure_) return;
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    busy_ = true;
    lock.unlock();
    std::optional<LogError> failure;
    try {
      force_(job.file);
      if (!job.directory.empty()) sync_directory(job.directory);
    } catch (const LogError& error) {
      failure = error;
    }
    if (!failure) done_(job.sequence);
    lock.lock();
    busy_ = false;
    failure_ = failure;
    changed_.notify_all();
  }
}

}  // namespace understudy::ftlog
