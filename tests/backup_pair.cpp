// A primary and a backup in one process, over a real channel: what each does when the other is well, silent, late,
// different or wrong.
#include <doctest/doctest.h>
#include <unistd.h>

#include <atomic>
#include <random>
#include <thread>

#include "backup/primary_link.h"
#include "backup/state_receiver.h"
#include "primary/backup_link.h"
#include "tests/replay_rig.h"

using namespace understudy;
using namespace understudy::test;
using namespace std::chrono_literals;

namespace {

constexpr auto kPatience = 60s;
constexpr uint64_t kLagBound = 20'000'000'000;

// Of the guest's time.
uint64_t lag_ns(const primary::BackupLink& link) {
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

std::string new_address() {
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

}  // namespace

TEST_CASE("pair: a backup says how far it is although the log brings nothing and its beats are far apart") {
  LocalArbiter arbiter;
  const std::string address = new_address();
  ToyPrimary primary(arbiter, address, 600s, true);
  ToyBackup backup(address);
  REQUIRE(backup.join());
  const uint64_t before = primary.link->status().replayed.virtual_ns;
  CHECK(backup.follow_until([&] { return primary.link->status().replayed.virtual_ns > before + 100'000'000; }));
}

TEST_CASE("pair: what little was replayed is told without waiting for a beat") {
  LocalArbiter arbiter;
  const std::string address = new_address();
  ToyPrimary primary(arbiter, address, 600s, true);
  ToyBackup backup(address);
  REQUIRE(backup.join());
  REQUIRE(backup.follow_until([&] { return backup.link.engaged(); }));
  primary.stand_still();
  emu::Machine& machine = primary.toy.machine();
  // One instruction more; the nanoseconds that passed.
  const auto step = [&] {
    const uint64_t before = machine.now_ns();
    machine.run(machine.icount() + 1);
    primary.link->tell_where();
    return machine.now_ns() - before;
  };
  const auto is_told = [&] {
    return backup.follow_until([&] { return primary.link->status().replayed.icount == machine.icount(); });
  };
  // Out of its sleep, if that is where it was.
  while (step() > 1'000'000) continue;
  REQUIRE(is_told());
  for (int i = 0; i < 3; ++i) {
    REQUIRE(step() < 1'000'000);
    CHECK(is_told());
  }
}

TEST_CASE("pair: a primary whose backup takes the log and does not acknowledge it stops at a bound, and goes on") {
  LocalArbiter arbiter;
  const std::string address = new_address();
  constexpr uint64_t kBound = 20'000;
  ToyPrimary north(arbiter, address, 60'000ms, false, kBound);
  MuteBackup south(address);
  REQUIRE(await([&] { return south.engaged() && north.state() == primary::PairState::lock_step; }));
  const std::string out = north.out();
  REQUIRE(await([&] {
    north.toy.type(std::string(500, 'x'));
    return north.link->full();
  }));
  // It stands still there, and nothing has left.
  REQUIRE(await([&] { return south.heard() == north.link->status().appended; }));
  CHECK(north.out() == out);
  CHECK(north.link->status().acknowledged < north.link->status().appended);
  south.acknowledge();
  CHECK(await([&] { return !north.link->full() && north.out().size() > out.size(); }));
  CHECK(north.state() == primary::PairState::lock_step);
}

TEST_CASE("pair: a log that is no log makes a backup that never takes over, says so, and joins again") {
  const std::string address = new_address();
  FalsePrimary north(address);
  for (const int attempt : {1, 2}) {
    backup::PrimaryLink::Options o;
    o.socket.role = ftlog::ChannelSocket::Role::connected;
    o.socket.address = address;
    o.socket.name = o.node = "south";
    o.build = "test";
    backup::PrimaryLink south(std::move(o));
    REQUIRE(south.join(kPatience));
    CHECK(north.hellos() >= attempt);
    south.ready("machine: toy\n");
    REQUIRE(await([&] { return north.is_ready(); }));
    ftlog::StateEnd end;
    end.log.sequence = 5;
    north.say(end);
    ftlog::Bytes chunk;
    CHECK_FALSE(south.next_chunk(chunk));
    REQUIRE(south.state_end());
    north.say(ftlog::Engaged{});
    ftlog::LogBlock block;
    block.start = end.log;
    block.entries = 3;
    block.body = {0xff, 0xff, 0xff, 0xff, 0xff};
    north.say(block);
    REQUIRE(await([&] { return south.wait(5ms) == backup::LinkEvent::failed; }));
    CHECK(south.trouble().find("the primary's log is damaged") == 0);
    REQUIRE(await([&] { return north.failed().find("damaged") != std::string::npos; }));
  }
}

TEST_CASE("pair: a backup joins a running machine, follows it, and its machine is the same") {
  LocalArbiter arbiter;
  const std::string address = new_address();
  ToyPrimary north(arbiter, address);
  north.toy.type("before");
  ToyBackup south(address);
  REQUIRE(south.join());
  REQUIRE(south.follow_until([&] { return south.link.engaged() && north.state() == primary::PairState::lock_step; }));
  for (const char* text : {"a", "bc", "def"}) {
    const size_t before = north.out().size();
    north.toy.type(text);
    REQUIRE(south.follow_until([&] { return north.out().size() > before; }));
  }
  const uint64_t proofs = south.replayer->proofs();
  CHECK(south.follow_until([&] { return south.replayer->proofs() > proofs + 3; }));
  CHECK(north.link->status().backups_joined == 1);
  CHECK(south.link.status().gaps == 0);
}

TEST_CASE("pair: much input is on its way to the backup while the machine still works on it") {
  LocalArbiter arbiter;
  const std::string address = new_address();
  ToyPrimary north(arbiter, address);
  ToyBackup south(address);
  REQUIRE(south.join());
  REQUIRE(south.follow_until([&] { return north.state() == primary::PairState::lock_step; }));
  north.stand_still();
  const emu::Machine& machine = north.toy.machine();
  const uint64_t before = north.link->last();
  std::minstd_rand random(1);
  for (int frame = 0; frame < 60; ++frame) {
    // What does not compress.
    ftlog::Input input{0, std::vector<uint8_t>(1500)};
    for (uint8_t& byte : input.bytes) byte = static_cast<uint8_t>(random() >> 16);
    north.link->append(machine.icount(), machine.now_ns(), input);
  }
  CHECK(await([&] { return south.link.status().received > before + 40; }));
}

TEST_CASE("pair: what comes in is acknowledged with what waits for it, when it is much, or a little later") {
  LocalArbiter arbiter;
  const std::string address = new_address();
  ToyPrimary north(arbiter, address, 600s, true);
  ToyBackup south(address);
  REQUIRE(south.join());
  REQUIRE(south.follow_until([&] { return north.state() == primary::PairState::lock_step; }));
  north.stand_still();
  north.link->tell_where();
  const emu::Machine& machine = north.toy.machine();
  const auto is_acknowledged = [&] { return north.link->status().acknowledged == north.link->last(); };
  REQUIRE(south.follow_until(
      [&] { return is_acknowledged() && north.link->status().replayed.icount == machine.icount(); }));
  // Nobody runs the backup's machine from here on, and its beats are far apart.
  std::minstd_rand random(1);
  const auto send = [&](ftlog::Payload payload) {
    if (auto* input = std::get_if<ftlog::Input>(&payload))
      for (uint8_t& byte : input->bytes) byte = static_cast<uint8_t>(random() >> 16);
    north.link->append(machine.icount(), machine.now_ns(), payload);
    north.link->service(north.recorder->sums());
  };
  const auto send_some = [&] {
    for (int i = 0; i < 10; ++i) send(ftlog::Input{0, std::vector<uint8_t>(1000)});
    return await([&] { return south.link.status().received == north.link->last(); });
  };
  const uint64_t said = south.link.status().channel.messages_out;
  REQUIRE(send_some());
  CHECK(south.link.status().channel.messages_out == said);
  SUBCASE("an output") {
    send(ftlog::OutputMark{0, 0, 0});
    CHECK(await(is_acknowledged));
  }
  SUBCASE("a lot") {
    const uint64_t acknowledged = north.link->status().acknowledged;
    for (int i = 0; i < 260; ++i) send(ftlog::Input{0, std::vector<uint8_t>(1000)});
    CHECK(await([&] { return north.link->status().acknowledged > acknowledged + 200; }));
    CHECK(south.link.status().channel.messages_out < said + 5);
  }
  SUBCASE("a little later, by who waits for more") {
    for (ftlog::LogEntry entry; south.link.next(entry);) continue;
    std::thread waits([&] { south.link.wait(60s); });
    CHECK(await(is_acknowledged));
    send(ftlog::OutputMark{0, 0, 0});
    waits.join();
  }
}

TEST_CASE("pair: nothing leaves a primary whose backup has fallen silent, until the arbiter has spoken") {
  LocalArbiter arbiter;
  const std::string address = new_address();
  ToyPrimary north(arbiter, address, 300ms);
  auto south = std::make_unique<ToyBackup>(address);
  REQUIRE(south->join());
  REQUIRE(south->follow_until([&] { return south->link.engaged(); }));
  arbiter.reachable = false;
  south.reset();
  REQUIRE(await([&] { return north.state() == primary::PairState::deciding; }));
  // What its last acknowledgements covered has left by now; the machine goes on.
  const std::string out = north.out();
  REQUIRE(await([&] { return north.outputs.counts().held > 100; }));
  CHECK(north.out() == out);
  arbiter.reachable = true;
  REQUIRE(await([&] { return north.state() == primary::PairState::alone; }));
  CHECK(await([&] { return north.out().size() > out.size(); }));
  CHECK(await([&] { return north.epochs_logged == 1; }));
  CHECK(north.link->status().epoch == 2);
  SUBCASE("and another backup may join") {
    ToyBackup next(address);
    REQUIRE(next.join());
    CHECK(next.follow_until([&] { return next.link.engaged(); }));
    CHECK(next.link.epoch() == 2);
  }
}

TEST_CASE("pair: a primary that is silent is found out, and its successor has everything that left") {
  LocalArbiter arbiter;
  const std::string address = new_address();
  ToyPrimary north(arbiter, address, 300ms);
  ToyBackup south(address);
  REQUIRE(south.join());
  REQUIRE(south.follow_until([&] { return south.link.engaged() && north.state() == primary::PairState::lock_step; }));
  for (int i = 0; i < 50; ++i) {
    const size_t before = north.out().size();
    north.toy.type("x");
    REQUIRE(south.follow_until([&] { return north.out().size() > before; }));
  }
  north.kill();
  REQUIRE(await([&] {
    south.step();
    return south.link.wait(5ms) == backup::LinkEvent::lost;
  }));
  CHECK(south.replayer->sums()[0].bytes >= north.out().size());
  CHECK(arbiter.try_acquire(2, "south").verdict == ftlog::Verdict::won);
  // What is still here was not delivered, as far as the primary could say, or only just.
  south.outputs.drop(south.link.status().delivered);
  CHECK(south.outputs.next_offset(0) <= north.out().size());
}

// Its first word, and the log's last block, may be lost with a connection.
TEST_CASE("pair: a primary that hands over goes on to name all that its backup must have") {
  LocalArbiter arbiter;
  const std::string address = new_address();
  ToyPrimary north(arbiter, address);
  ToyBackup south(address);
  REQUIRE(south.join());
  REQUIRE(south.follow_until([&] { return south.link.engaged() && north.state() == primary::PairState::lock_step; }));
  north.stand_still();
  const uint64_t before = north.link->last();
  north.recorder->new_epoch(1);
  REQUIRE(north.link->last() > before);
  REQUIRE(north.link->hand_over());
  CHECK(north.link->status().horizon.sequence == north.link->last());
  CHECK(north.link->status().appended == north.link->last());
}

TEST_CASE("pair: a deposed primary stops, and lets nothing out") {
  LocalArbiter arbiter;
  const std::string address = new_address();
  ToyPrimary north(arbiter, address, 300ms);
  ToyBackup south(address);
  REQUIRE(south.join());
  REQUIRE(south.follow_until([&] { return south.link.engaged() && north.state() == primary::PairState::lock_step; }));
  REQUIRE(arbiter.try_acquire(2, "south").verdict == ftlog::Verdict::won);
  south.link.leave("took over");
  REQUIRE(await([&] { return north.state() == primary::PairState::deposed; }));
  const std::string out = north.out();
  std::this_thread::sleep_for(50ms);
  CHECK(north.out() == out);
  CHECK(north.link->verdict() == "south reigns in epoch 2");
}

TEST_CASE("pair: another build and another machine are refused, with what differs") {
  LocalArbiter arbiter;
  const std::string address = new_address();
  ToyPrimary north(arbiter, address);
  {
    ToyBackup other(address, "newer");
    CHECK_FALSE(other.join());
    CHECK(other.link.refused()->reason == "build newer where this primary has test");
    CHECK_FALSE(other.link.refused()->busy);
  }
  ToyBackup other(address);
  CHECK_FALSE(other.join("machine: another\n"));
  REQUIRE(other.link.refused());
  CHECK(other.link.refused()->reason.find("machine") != std::string::npos);
  CHECK(north.state() == primary::PairState::alone);
}

TEST_CASE("pair: one backup is enough: a second one is asked to wait") {
  LocalArbiter arbiter;
  const std::string address = new_address();
  ToyPrimary north(arbiter, address);
  ToyBackup south(address);
  REQUIRE(south.join());
  REQUIRE(south.follow_until([&] { return south.link.engaged(); }));
  backup::PrimaryLink::Options o;
  o.socket.role = ftlog::ChannelSocket::Role::connected;
  o.socket.address = address;
  o.socket.name = o.node = "east";
  o.build = "test";
  backup::PrimaryLink east(std::move(o));
  CHECK_FALSE(east.join(kPatience));
  REQUIRE(east.refused());
  CHECK(east.refused()->busy);
}

TEST_CASE("pair: a backup that diverges is given up, and never had the epoch") {
  LocalArbiter arbiter;
  const std::string address = new_address();
  ToyPrimary north(arbiter, address);
  ToyBackup south(address);
  REQUIRE(south.join());
  REQUIRE(south.follow_until([&] { return south.link.engaged(); }));
  const uint8_t flipped = 0x80;
  south.toy.machine().memory().store(0x3000, {&flipped, 1});
  backup::ReplayStop stop = backup::ReplayStop::starved;
  REQUIRE(await([&] { return (stop = south.step()) != backup::ReplayStop::starved; }));
  CHECK(stop == backup::ReplayStop::diverged);
  CHECK(south.replayer->divergence()->ram);
  south.link.fail("diverged");
  REQUIRE(await([&] { return north.state() == primary::PairState::alone; }));
  CHECK(north.link->status().epoch == 2);
  CHECK(arbiter.try_acquire(2, "south").verdict == ftlog::Verdict::lost);
}
