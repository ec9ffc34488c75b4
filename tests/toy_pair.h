// A primary and a backup in one process, over a real channel, with toy machines; and peers that say what a test wants.
#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "backup/primary_link.h"
#include "backup/state_receiver.h"
#include "primary/backup_link.h"
#include "tests/replay_rig.h"

namespace understudy::test {

using namespace std::chrono_literals;

constexpr auto kPatience = 60s;
constexpr uint64_t kLagBound = 20'000'000'000;

// Of the guest's time.
inline uint64_t lag_ns(const primary::BackupLink& link) {
  if (!link.has_backup()) return 0;
  const primary::PairStatus pair = link.status();
  return pair.horizon.virtual_ns - std::min(pair.horizon.virtual_ns, pair.replayed.virtual_ns);
}

// The test-and-set of one process.
class LocalArbiter : public ftlog::Arbiter {
 public:
  ftlog::Claim try_acquire(uint64_t epoch, const std::string& node) override {
    const std::lock_guard lock(mutex_);
    if (!reachable) return {ftlog::Verdict::unreachable, {}, "out of reach"};
    if (reign_ && (reign_->epoch > epoch || (reign_->epoch == epoch && reign_->node != node)))
      return {ftlog::Verdict::lost, *reign_, {}};
    reign_ = ftlog::Reign{epoch, node};
    return {ftlog::Verdict::won, *reign_, {}};
  }
  ftlog::Lookup current() override {
    const std::lock_guard lock(mutex_);
    return {reachable, reign_, {}};
  }
  std::atomic<bool> reachable{true};

 private:
  std::mutex mutex_;
  std::optional<ftlog::Reign> reign_;
};

inline std::string new_address() {
  static std::atomic<int> number{0};
  return "ipc:///tmp/understudy-test-" + std::to_string(::getpid()) + "-" + std::to_string(++number);
}

template <typename Condition>
bool await(Condition&& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

// A live toy on a thread of its own. It sleeps and echoes what is typed.
class ToyPrimary {
 public:
  ToyPrimary(LocalArbiter& arbiter, const std::string& address, std::chrono::milliseconds timeout = 2000ms,
             bool quiet = false, uint64_t max_unacknowledged_bytes = 64u << 20)
      : toy(Guest::sleeps), outputs(toy.machine()), quiet_(quiet) {
    const emu::ChannelId channel = toy.machine().world().channel("toy");
    outputs.gate(channel, 0);
    outputs.connect(channel, [this](uint64_t offset, std::span<const uint8_t> bytes) {
      const std::lock_guard lock(mutex_);
      CHECK(offset == out_.size());
      out_.append(bytes.begin(), bytes.end());
      return true;
    });
    outputs.open();
    outputs.be_prompt(true);
    arbiter.try_acquire(1, "north");
    primary::BackupLinkOptions o;
    o.socket.address = address;
    o.build = "test";
    o.node = "north";
    o.description = "machine: toy\n";
    o.timeout = timeout;
    o.max_unacknowledged_bytes = max_unacknowledged_bytes;
    link.emplace(std::move(o), toy.machine(), outputs, arbiter, ftlog::CodecState{}, 1);
    recorder.emplace(toy.machine(), *link, ftlog::Start{}, primary::RecorderOptions{quiet ? 0u : 5'000'000u});
    link->start();
    thread_ = std::thread([this] { run(); });
  }
  ~ToyPrimary() { kill(); }
  // Falls silent, as a process that is killed: the machine stops, the channel closes.
  void kill() {
    stand_still();
    link.reset();
  }
  // The machine stops; the channel does not.
  void stand_still() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  std::string out() const {
    const std::lock_guard lock(mutex_);
    return out_;
  }
  primary::PairState state() const { return link->state(); }

  ToyMachine toy;
  primary::OutputCommit outputs;
  std::optional<primary::BackupLink> link;
  std::optional<primary::Recorder> recorder;
  std::atomic<uint64_t> epochs_logged{0};

 private:
  void run() {
    while (!stop_) {
      if (lag_ns(*link) > kLagBound || outputs.full() || link->full()) {
        link->wait(2ms);
        link->service(recorder->sums());
        continue;
      }
      toy.machine().run(toy.machine().icount() + 500);
      if (const auto epoch = link->take_new_epoch()) {
        recorder->new_epoch(*epoch);
        ++epochs_logged;
      }
      recorder->poll(0);
      if (outputs.has_unmarked() && !quiet_) {
        recorder->mark_outputs();
        outputs.mark(link->last());
      }
      link->service(recorder->sums());
    }
  }
  const bool quiet_;  // nothing is logged but what comes in
  mutable std::mutex mutex_;
  std::string out_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// A backup on the test's thread, step by step.
class ToyBackup {
 public:
  explicit ToyBackup(const std::string& address, const std::string& build = "test")
      : toy(Guest::sleeps), outputs(toy.machine()), link(options(address, build)) {}
  bool join(const std::string& description = "machine: toy\n") {
    if (!link.join(kPatience)) return false;
    link.ready(description);
    backup::StateReceiver receiver(toy.machine());
    bool complete = false;
    for (ftlog::Bytes chunk; link.next_chunk(chunk);) complete = receiver.accept(chunk);
    if (!complete || link.refused()) return false;
    outputs.gate(toy.machine().world().channel("toy"), link.state_end()->streams.at(0).out_bytes);
    replayer.emplace(
        toy.machine(), [this](ftlog::LogEntry& entry) { return link.next(entry); }, [this] { toy.reset(); });
    primary::OutputSums sums(1);
    const ftlog::Stream& stream = link.state_end()->streams.at(0);
    sums.set(0, {stream.out_bytes, stream.out_digest});
    replayer->set_sums(std::move(sums));
    position_ = link.state_end()->log.sequence - 1;
    return true;
  }
  // What there is now.
  backup::ReplayStop step() {
    const backup::ReplayStop stop = replayer->run(UINT64_MAX);
    position_ = std::max(position_, replayer->position());
    if (stop == backup::ReplayStop::starved)
      if (const auto horizon = link.horizon()) replayer->run_to(horizon->icount, horizon->virtual_ns);
    link.replayed({position_, toy.machine().icount(), toy.machine().now_ns()});
    return stop;
  }
  template <typename Condition>
  bool follow_until(Condition&& condition) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      if (step() != backup::ReplayStop::starved) return false;
      link.wait(2ms);
    }
    return true;
  }

  ToyMachine toy;
  primary::OutputCommit outputs;
  backup::PrimaryLink link;
  std::optional<backup::Replayer> replayer;

 private:
  static backup::PrimaryLink::Options options(const std::string& address, const std::string& build) {
    backup::PrimaryLink::Options o;
    o.socket.role = ftlog::ChannelSocket::Role::connected;
    o.socket.address = address;
    o.socket.name = "south";
    o.build = build;
    o.node = "south";
    return o;
  }
  uint64_t position_ = 0;
};

// A backup that says what the test wants: it takes everything, and acknowledges the log only when it is told to.
class MuteBackup {
 public:
  explicit MuteBackup(const std::string& address) : socket_(options(address)) {
    socket_.start({.message = [this](const auto&, ftlog::ChannelMessage&& m) { hear(std::move(m)); },
                   .bad = {},
                   .timer = [this] { return timer(); }});
  }
  ~MuteBackup() { socket_.stop(0ms); }
  bool engaged() const { return engaged_; }
  uint64_t heard() const { return heard_; }
  // From now on, as others do.
  void acknowledge() { mute_ = false; }

 private:
  static ftlog::ChannelSocket::Options options(const std::string& address) {
    ftlog::ChannelSocket::Options o;
    o.role = ftlog::ChannelSocket::Role::connected;
    o.address = address;
    o.name = "mute";
    return o;
  }
  void send(ftlog::ChannelPayload payload) { socket_.send({}, {epoch_, std::move(payload)}); }
  void hear(ftlog::ChannelMessage&& message) {
    if (std::holds_alternative<ftlog::Welcome>(message.payload)) {
      epoch_ = message.epoch;
      send(ftlog::Ready{"machine: toy\n"});
    } else if (std::holds_alternative<ftlog::StateChunk>(message.payload)) {
      ++ack_.chunks;
    } else if (const auto* end = std::get_if<ftlog::StateEnd>(&message.payload)) {
      heard_ = ack_.received = end->log.sequence - 1;
      ack_.replayed = {ack_.received, end->log.icount, end->log.virtual_ns};
    } else if (std::holds_alternative<ftlog::Engaged>(message.payload)) {
      engaged_ = ack_.engaged = true;
    } else if (const auto* block = std::get_if<ftlog::LogBlock>(&message.payload)) {
      heard_ = block->start.sequence + block->entries - 1;
      ack_.replayed = block->horizon;
    }
    if (!engaged_ || !mute_) ack_.received = std::max<uint64_t>(ack_.received, heard_);
    if (epoch_ != 0) send(ack_);
  }
  std::chrono::steady_clock::time_point timer() {
    const auto now = std::chrono::steady_clock::now();
    if (now < due_) return due_;
    if (epoch_ == 0)
      send(ftlog::Hello{"test", "mute"});
    else
      send(ack_);
    return due_ = now + 20ms;
  }
  ftlog::Ack ack_;
  uint64_t epoch_ = 0;
  std::chrono::steady_clock::time_point due_;
  std::atomic<bool> engaged_{false}, mute_{true};
  std::atomic<uint64_t> heard_{0};
  ftlog::ChannelSocket socket_;
};

// A primary that says what the test wants.
class FalsePrimary {
 public:
  explicit FalsePrimary(const std::string& address) : socket_(options(address)) {
    socket_.start({.message = [this](const auto& peer, ftlog::ChannelMessage&& m) { hear(peer, std::move(m)); },
                   .bad = {},
                   .timer = [] { return std::chrono::steady_clock::now() + 1s; }});
  }
  ~FalsePrimary() { socket_.stop(0ms); }
  void say(ftlog::ChannelPayload payload) {
    const std::lock_guard lock(mutex_);
    socket_.send(peer_, {1, std::move(payload)});
  }
  std::string failed() const {
    const std::lock_guard lock(mutex_);
    return failed_;
  }
  int hellos() const { return hellos_; }
  bool is_ready() const { return ready_; }

 private:
  static ftlog::ChannelSocket::Options options(const std::string& address) {
    ftlog::ChannelSocket::Options o;
    o.address = address;
    return o;
  }
  void hear(const ftlog::ChannelSocket::Peer& peer, ftlog::ChannelMessage&& message) {
    const std::lock_guard lock(mutex_);
    if (std::holds_alternative<ftlog::Hello>(message.payload)) {
      ++hellos_;
      ready_ = false;
      failed_.clear();
      peer_ = peer;
      ftlog::Welcome welcome;
      welcome.timeout_ms = 60'000;
      socket_.send(peer, {1, welcome});
    } else if (std::holds_alternative<ftlog::Ready>(message.payload)) {
      ready_ = true;
    } else if (const auto* failed = std::get_if<ftlog::Failed>(&message.payload)) {
      failed_ = failed->reason;
    }
  }
  mutable std::mutex mutex_;
  ftlog::ChannelSocket::Peer peer_;
  std::string failed_;
  std::atomic<int> hellos_{0};
  std::atomic<bool> ready_{false};
  ftlog::ChannelSocket socket_;
};

// A primary whose backup has joined it.
struct LockStep {
  LocalArbiter arbiter;
  const std::string address = new_address();
  ToyPrimary north;
  ToyBackup south{address};

  // What ToyPrimary takes behind the address.
  template <typename... More>
  explicit LockStep(More... more) : north(arbiter, address, more...) {
    REQUIRE(south.join());
    REQUIRE(south.follow_until([&] { return south.link.engaged() && north.state() == primary::PairState::lock_step; }));
  }
};

}  // namespace understudy::test
