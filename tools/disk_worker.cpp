#include "tools/disk_worker.h"

#include <fmt/format.h>

#include <csignal>

namespace understudy::tools {

namespace {

using namespace std::chrono_literals;
using devices::HostNbd;
using emu::BlockOperation;
using SteadyClock = std::chrono::steady_clock;

constexpr auto kConnect = 5s;
constexpr auto kRetry = 100ms;
// A server that stays away is spoken of again after this time.
constexpr auto kRemind = 30s;

bool is_power_of_two(uint64_t n) { return n != 0 && (n & (n - 1)) == 0; }

}  // namespace

DiskWorker::DiskWorker(std::string name, const std::string& uri, Done done, Report report)
    : name_(std::move(name)),
      done_(std::move(done)),
      report_(std::move(report)),
      nbd_(uri),
      shape_(nbd_.open(kConnect)) {
  counts_.connected = true;
  nbd_.on_slow([this] {
    report_(fmt::format("disk {}: its server {} has not answered for {} s; requests wait", name_, nbd_.uri(),
                        HostNbd::kSlow.count()));
  });
  thread_ = std::thread([this] { run(); });
}

DiskWorker::~DiskWorker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  nbd_.stop();
  thread_.join();
}

bool DiskWorker::ask(Job job) {
  {
    const std::lock_guard lock(mutex_);
    if (jobs_.size() >= kMaxWaiting) return false;
    jobs_.push_back(std::move(job));
  }
  changed_.notify_all();
  return true;
}

void DiskWorker::fence(uint64_t epoch) {
  {
    const std::lock_guard lock(mutex_);
    epoch_ = std::max(epoch_, epoch);
  }
  changed_.notify_all();
}

bool DiskWorker::drain(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, patience, [this] { return jobs_.empty(); });
}

DiskWorker::Counts DiskWorker::counts() const {
  const std::lock_guard lock(mutex_);
  Counts counts = counts_;
  counts.waiting = jobs_.size();
  return counts;
}

bool DiskWorker::is_over(const Job& job) const { return stopping_ || job.epoch < epoch_; }

void DiskWorker::run() {
  // Signals are for the program's other threads.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (stopping_) return;
    const Job& job = jobs_.front();  // stays where it is: others only push behind it
    emu::BlockAnswer answer;
    bool answered = !is_over(job);
    if (answered) {
      lock.unlock();
      answered = carry_out(job, answer);
      lock.lock();
    }
    const uint64_t epoch = job.epoch;
    if (!answered) ++counts_.superseded;
    jobs_.pop_front();
    changed_.notify_all();
    if (!answered) continue;
    lock.unlock();
    done_(epoch, std::move(answer));
    lock.lock();
  }
}

bool DiskWorker::carry_out(const Job& job, emu::BlockAnswer& answer) {
  const emu::BlockRequest& request = job.request;
  answer.number = request.number;
  while (true) {
    HostNbd::Outcome outcome = HostNbd::Outcome::failed;
    switch (request.operation) {
      case BlockOperation::read:
        answer.data.resize(request.length);
        outcome = nbd_.read(request.offset, answer.data);
        break;
      case BlockOperation::write:
        outcome = nbd_.write(request.offset, request.data, job.durable);
        break;
      case BlockOperation::flush:
        outcome = nbd_.flush();
        break;
    }
    switch (outcome) {
      case HostNbd::Outcome::done: {
        const std::lock_guard lock(mutex_);
        answer.ok = true;
        counts_.reads += request.operation == BlockOperation::read;
        counts_.writes += request.operation == BlockOperation::write;
        counts_.flushes += request.operation == BlockOperation::flush;
        counts_.bytes_read += answer.data.size();
        counts_.bytes_written += request.data.size();
        return true;
      }
      case HostNbd::Outcome::failed:
        answer.data.clear();
        note_failure(job);
        return true;
      case HostNbd::Outcome::gone:
        if (!reconnect(job)) return false;
        break;
      case HostNbd::Outcome::stopped:
        return false;
    }
  }
}

void DiskWorker::note_failure(const Job& job) {
  uint64_t failed = 0;
  {
    const std::lock_guard lock(mutex_);
    failed = ++counts_.failed;
    counts_.error = nbd_.error();
  }
  if (!is_power_of_two(failed)) return;
  const emu::BlockRequest& request = job.request;
  report_(fmt::format("disk {}: a {} of {} bytes at {} failed at {}: {}; the guest sees a device error ({} so far)",
                      name_, to_string(request.operation), request.length, request.offset, nbd_.uri(), nbd_.error(),
                      failed));
}

// False when the job is over meanwhile. A request that was under way is sent again. One thing is the server's to
// promise: that it carries out nothing of a lost connection once it has taken the next one, so that the first attempt
// cannot come in between later requests. nbdkit and qemu-nbd on this host do, as a connection is lost there only with
// its server.
bool DiskWorker::reconnect(const Job& job) {
  const auto begin = SteadyClock::now();
  auto next_report = begin;
  std::string error = nbd_.error();
  nbd_.close();
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      counts_.connected = false;
      counts_.error = error;
      if (is_over(job)) return false;
    }
    if (SteadyClock::now() >= next_report) {
      report_(fmt::format("disk {}: its server {} is gone ({}); {} requests wait, and it is looked for", name_,
                          nbd_.uri(), error, counts().waiting));
      next_report = SteadyClock::now() + kRemind;
    }
    try {
      const HostNbd::Shape shape = nbd_.open(kConnect);
      {
        const std::lock_guard lock(mutex_);
        counts_.connected = true;
        ++counts_.reconnects;
      }
      report_(fmt::format("disk {}: its server is back after {:.1f} s", name_,
                          std::chrono::duration<double>(SteadyClock::now() - begin).count()));
      if (shape.bytes < shape_.bytes)
        report_(fmt::format("disk {}: it has {} bytes now, where it had {}: what lies beyond fails", name_, shape.bytes,
                            shape_.bytes));
      return true;
    } catch (const devices::NbdError& refused) {
      error = refused.what();
    }
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kRetry, [&] { return is_over(job); });
  }
}

}  // namespace understudy::tools
