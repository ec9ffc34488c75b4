// A guest's clock beside the host's, with a host whose speed the test chooses.
#include <doctest/doctest.h>

#include <algorithm>
#include <optional>

#include "tests/replay_rig.h"
#include "tools/pace.h"
#include "tools/record_session.h"

using namespace understudy;
using namespace understudy::test;
using emu::MachineStop;

namespace {

constexpr uint64_t kMs = 1'000'000, kSecond = 1'000'000'000;

// A host that needs so many picoseconds for a guest's instruction, does something else after every so much computing,
// and wakes up late from each wait.
struct FakeHost {
  explicit FakeHost(emu::Machine& machine) : machine_(machine) {}
  tools::HostClock clock() {
    return {[this] { return now(); },
            [this] {
              now();
              return cpu_ns_;
            },
            [this](uint64_t ns) {
              now();
              if (ns > ns_) ns_ = ns + late_ns;
            }};
  }
  uint64_t now() {
    const uint64_t computed = (machine_.icount() - icount_) * ps_per_instruction / 1000;
    icount_ = machine_.icount();
    ns_ += computed + (cpu_ns_ + computed) / busy_every_ns * busy_ns - cpu_ns_ / busy_every_ns * busy_ns;
    cpu_ns_ += computed;
    return ns_;
  }
  void stand_still(uint64_t ns) { ns_ += ns; }
  uint64_t computed_ns() { return now(), cpu_ns_; }

  uint64_t ps_per_instruction = 20'000;
  uint64_t busy_ns = 0, busy_every_ns = 4 * kMs;
  uint64_t late_ns = 50'000;

 private:
  emu::Machine& machine_;
  uint64_t ns_ = 5 * kSecond;
  uint64_t cpu_ns_ = 0;
  uint64_t icount_ = 0;
};

struct PacedMachine {
  // With or without a log of it.
  explicit PacedMachine(Guest guest, bool recorded = false, uint64_t digest_every_ns = 5 * kMs)
      : host(make(guest, recorded, digest_every_ns)) {
    pace.emplace(machine(), host.clock(), [this](uint64_t rate) {
      rates.push_back(rate);
      if (recording)
        recording->recorder->set_rate(rate);
      else
        machine().time().set_rate(machine().icount(), rate);
    });
    host_start = host.now();
    guest_start = machine().now_ns();
  }
  emu::Machine& machine() { return recording ? recording->toy.machine() : plain->machine(); }
  int64_t behind() {
    return static_cast<int64_t>(host.now() - host_start) - static_cast<int64_t>(machine().now_ns() - guest_start);
  }

  // For so long by the host's clock. Looks at the clock after each slice.
  void run(uint64_t ns) {
    most_behind = most_ahead = 0;
    for (const uint64_t end = host.now() + ns; host.now() < end;) {
      const uint64_t before = machine().now_ns();
      const MachineStop stop = machine().run(machine().icount() + pace->slice(), emu::Machine::Idle::report);
      REQUIRE((stop == MachineStop::limit || stop == MachineStop::idle));
      most_behind = std::max(most_behind, behind());
      most_ahead = std::max(most_ahead, -behind());
      if (recording) recording->recorder->poll(host.now());
      pace->after_slice(stop == MachineStop::idle);
      REQUIRE(machine().now_ns() >= before);
    }
  }

  std::optional<ToyMachine> plain;
  std::optional<ToyRecording> recording;
  FakeHost host;
  std::optional<tools::Pace> pace;
  std::vector<uint64_t> rates;
  uint64_t host_start = 0, guest_start = 0;
  int64_t most_behind = 0, most_ahead = 0;

 private:
  emu::Machine& make(Guest guest, bool recorded, uint64_t digest_every_ns) {
    if (recorded)
      recording.emplace(guest, digest_every_ns, tools::log_options({}, true));
    else
      plain.emplace(guest);
    return machine();
  }
};

}  // namespace

TEST_CASE("A guest that computes is given what the host can do, and its clock stays with the host's") {
  PacedMachine paced(Guest::counts);
  SUBCASE("a fast host") { paced.host.ps_per_instruction = 3000; }
  SUBCASE("a slow host") { paced.host.ps_per_instruction = 40'000; }
  paced.run(2 * kSecond);
  const uint64_t before = paced.machine().icount();
  paced.rates.clear();
  paced.run(kSecond);
  CHECK(paced.rates.empty());
  CHECK(paced.most_behind < static_cast<int64_t>(4 * kMs));
  CHECK(paced.most_ahead <= static_cast<int64_t>(tools::Pace::kAheadNs) + 1000);
  // Most of the host's time goes into the guest.
  const double used = static_cast<double>((paced.machine().icount() - before) * paced.host.ps_per_instruction) / 1e12;
  CHECK(used > 0.8);
}

TEST_CASE("A host that becomes slower at once is followed within milliseconds, with few changes") {
  PacedMachine paced(Guest::counts);
  paced.host.ps_per_instruction = 8'000;
  paced.run(4 * kSecond);
  CHECK(paced.machine().time().ps_per_instruction() < 12'000);
  paced.rates.clear();
  for (int turn = 0; turn < 5; ++turn) {
    paced.host.ps_per_instruction = 24'000;
    paced.run(700 * kMs);
    CHECK(paced.most_behind < static_cast<int64_t>(10 * kMs));
    paced.host.ps_per_instruction = 8'000;
    paced.run(700 * kMs);
    CHECK(paced.most_behind < static_cast<int64_t>(10 * kMs));
  }
  CHECK(paced.rates.size() < 15);
}

TEST_CASE("A guest of fast and slow code by turns does not wait for what its slow code would have needed") {
  PacedMachine paced(Guest::counts);
  uint64_t fast_ns = 0, slow_ns = 0;
  SUBCASE("by milliseconds") { fast_ns = 3 * kMs, slow_ns = 5 * kMs; }
  SUBCASE("by tens of milliseconds") { fast_ns = 150 * kMs, slow_ns = 40 * kMs; }
  SUBCASE("mostly slow") { fast_ns = 10 * kMs, slow_ns = 150 * kMs; }
  const auto run = [&](uint64_t ns) {
    int64_t most_behind = 0;
    for (const uint64_t end = paced.host.now() + ns; paced.host.now() < end;) {
      paced.host.ps_per_instruction = 2'000;
      paced.run(fast_ns);
      most_behind = std::max(most_behind, paced.most_behind);
      paced.host.ps_per_instruction = 16'000;
      paced.run(slow_ns);
      most_behind = std::max(most_behind, paced.most_behind);
    }
    return most_behind;
  };
  run(2 * kSecond);
  const uint64_t before = paced.host.computed_ns(), began = paced.host.now();
  CHECK(run(10 * kSecond) < static_cast<int64_t>(12 * kMs));
  CHECK(static_cast<double>(paced.host.computed_ns() - before) / static_cast<double>(paced.host.now() - began) > 0.75);
}

TEST_CASE("New code that takes long once is no reason for another rate") {
  PacedMachine paced(Guest::counts);
  paced.host.ps_per_instruction = 3'000;
  paced.run(2 * kSecond);
  paced.rates.clear();
  for (int turn = 0; turn < 20; ++turn) {
    paced.host.ps_per_instruction = 400'000;
    paced.run(4 * kMs);
    paced.host.ps_per_instruction = 3'000;
    paced.run(300 * kMs);
    CHECK(std::abs(paced.behind()) < static_cast<int64_t>(5 * kMs));
  }
  for (const uint64_t rate : paced.rates) CHECK(rate < 9'000);
}

TEST_CASE("What a busy host held up is caught up") {
  PacedMachine paced(Guest::counts);
  paced.run(2 * kSecond);
  paced.host.stand_still(kSecond);
  paced.run(2 * kSecond);
  paced.run(100 * kMs);
  CHECK(paced.most_behind < static_cast<int64_t>(10 * kMs));
  CHECK(paced.pace->counts().lost_ns == 0);
}

TEST_CASE("On a host that is busy with others a guest that computes gets its share, and its clock stays near") {
  PacedMachine paced(Guest::counts);
  paced.host.busy_ns = 12 * kMs;
  paced.run(2 * kSecond);
  paced.rates.clear();
  const uint64_t before = paced.machine().icount();
  paced.run(4 * kSecond);
  const double used = static_cast<double>((paced.machine().icount() - before) * paced.host.ps_per_instruction) / 1e12;
  CHECK(used > 0.75);
  CHECK(used < 1.01);
  CHECK(paced.most_behind < static_cast<int64_t>(40 * kMs));
  CHECK(paced.rates.size() < 16);
  // Alone again, it is soon as fast as it can be.
  paced.host.busy_ns = 0;
  paced.run(2 * kSecond);
  const uint64_t alone = paced.machine().icount();
  paced.run(kSecond);
  CHECK(static_cast<double>((paced.machine().icount() - alone) * paced.host.ps_per_instruction) / 1e12 > 0.8);
}

TEST_CASE("Minutes of standstill are given up, and told") {
  PacedMachine paced(Guest::counts);
  paced.run(kSecond);
  paced.host.stand_still(60 * kSecond);
  paced.run(kSecond);
  CHECK(paced.pace->counts().lost_ns >= 60 * kSecond - 10 * kMs);
  CHECK(std::abs(paced.pace->counts().behind_ns) < static_cast<int64_t>(10 * kMs));
  CHECK(paced.behind() == doctest::Approx(60e9).epsilon(0.001));
}

TEST_CASE("A host that is too slow for any rate loses time, but only then") {
  PacedMachine paced(Guest::counts);
  paced.host.ps_per_instruction = 2 * tools::Pace::kMaxRate;
  paced.run(30 * kSecond);
  CHECK(paced.machine().time().ps_per_instruction() == tools::Pace::kMaxRate);
  CHECK(paced.pace->counts().lost_ns >= tools::Pace::kGiveUpNs);
}

TEST_CASE("An idle guest's clock follows the host's with no change of rate at all") {
  PacedMachine paced(Guest::sleeps);
  paced.run(60 * kSecond);
  CHECK(paced.rates.empty());
  CHECK(paced.most_behind < static_cast<int64_t>(kMs));
  CHECK(paced.most_ahead <= static_cast<int64_t>(tools::Pace::kAheadNs));
  // Held up, it is right again at its next halts.
  paced.host.stand_still(kSecond);
  paced.run(100 * kMs);
  CHECK(std::abs(paced.behind()) < static_cast<int64_t>(kMs));
  CHECK(paced.rates.empty());
}

TEST_CASE("An idle guest at a thousand timer interrupts a second leaves less than 2 kbit/s in its log") {
  PacedMachine paced(Guest::sleeps, true, kSecond);
  paced.run(2 * kSecond);
  const uint64_t before = paced.recording->log_bytes();
  paced.run(60 * kSecond);
  const uint64_t bits = 8 * (paced.recording->log_bytes() - before) / 60;
  CHECK(bits < 1200);
  CHECK(bits > 100);
}

TEST_CASE("A guest that spends its time in ports stays no further ahead than any other") {
  PacedMachine paced(Guest::counts);
  // in al,80h; jmp back: a microsecond each time
  const uint8_t code[] = {0xe4, 0x80, 0xeb, 0xfc};
  paced.machine().memory().store(0x1000, code);
  paced.run(kSecond);
  CHECK(paced.most_ahead <= static_cast<int64_t>(tools::Pace::kAheadNs) + 2000);
}

TEST_CASE("A machine that an input wakes pauses where it was told to, with no timer on its way") {
  ToyMachine toy(Guest::sleeps);
  emu::Machine& machine = toy.machine();
  // The handler, at first: in al,10h; iret. Then: inc ax; jmp back to it.
  const uint8_t iret[] = {0xe4, 0x10, 0xcf}, stays[] = {0x40, 0xeb, 0xfd};
  machine.memory().store(0x1100, iret);
  REQUIRE(machine.run(1'000'000, emu::Machine::Idle::report) == MachineStop::idle);
  machine.skip_idle(machine.idle_until_ns());
  REQUIRE(machine.run(1'000'000, emu::Machine::Idle::report) == MachineStop::halted);
  machine.memory().store(0x1100, stays);
  uint64_t pause_ns = 0;
  SUBCASE("later") { pause_ns = machine.now_ns() + 2 * kMs; }
  SUBCASE("before that") { pause_ns = machine.now_ns(); }
  machine.pause_at(pause_ns);
  CHECK(machine.run(1'000'000, emu::Machine::Idle::report) == MachineStop::halted);
  toy.type("x");
  CHECK(machine.run(machine.icount() + 10'000'000, emu::Machine::Idle::report) == MachineStop::limit);
  CHECK(machine.now_ns() >= pause_ns);
  CHECK(machine.now_ns() < pause_ns + 2000);
}

TEST_CASE("A paced run, busy and idle by turns on a host of changing speed, replays from its log") {
  PacedMachine paced(Guest::works, true);
  for (const auto& [speed, ns] : {std::pair{9'000u, kSecond}, {60'000u, kSecond}, {20'000u, 4 * kSecond}}) {
    paced.host.ps_per_instruction = speed;
    paced.run(ns);
    CHECK(paced.behind() < static_cast<int64_t>(10 * kMs));
    paced.recording->toy.type("x");
  }
  CHECK(paced.rates.size() >= 1);
  CHECK(paced.rates.size() < 16);
  const auto entries = paced.recording->finish(ftlog::EndReason::stop_at);
  const auto clocks = std::count_if(entries.begin(), entries.end(),
                                    [](const auto& entry) { return entry.kind() == ftlog::EntryKind::clock; });
  CHECK(static_cast<size_t>(clocks) == 1 + paced.rates.size());
  for (const uint64_t slice : {uint64_t{1} << 60, uint64_t{9973}}) {
    ToyReplay replay(Guest::works, entries);
    CHECK(replay.run(slice) == backup::ReplayStop::ended);
    CHECK(replay.what() == "");
    CHECK(replay.toy.machine().digest() == paced.recording->digest);
  }
}
