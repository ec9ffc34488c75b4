// The replayer on a machine known by heart: it follows the log to the letter, and says what is wrong with one that is
// not of this machine's run.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "tests/replay_rig.h"

using namespace understudy;
using namespace understudy::test;
using backup::ReplayStop;
using ftlog::LogEntry;

namespace {

void check_equal(Guest guest, const ToyRecording& recording, const std::vector<LogEntry>& entries) {
  for (const uint64_t slice : {~uint64_t{0}, uint64_t{1}, uint64_t{7}, uint64_t{1000}}) {
    CAPTURE(slice);
    ToyReplay replay(guest, entries);
    const ReplayStop stop = replay.run(slice);
    CHECK_MESSAGE(stop == ReplayStop::ended, replay.what());
    CHECK(replay.toy.machine().icount() == recording.icount);
    CHECK(replay.toy.machine().digest() == recording.digest);
    CHECK(replay.replayer.position() == entries.size() - 1);
  }
}

// A run with inputs, digests and an end of the guest's own making.
std::vector<LogEntry> typical(ToyRecording& recording) {
  recording.run(3000);
  recording.toy.type("a");
  recording.run(3000);
  recording.toy.type("b");
  recording.run(3000);
  recording.toy.type("q");
  REQUIRE(recording.run(3000) == emu::MachineStop::debug_exit);
  return recording.finish(ftlog::EndReason::debug_exit);
}

template <typename T>
LogEntry& find(std::vector<LogEntry>& entries, size_t number = 0) {
  for (LogEntry& entry : entries)
    if (std::holds_alternative<T>(entry.payload) && number-- == 0) return entry;
  throw std::logic_error("no such entry");
}

backup::Divergence diverges(Guest guest, const std::vector<LogEntry>& entries, const std::string& words) {
  ToyReplay replay(guest, entries);
  REQUIRE(replay.run() == ReplayStop::diverged);
  INFO(replay.what());
  CHECK(replay.what().find(words) != std::string::npos);
  // Never run any further.
  const uint64_t icount = replay.toy.machine().icount();
  CHECK(replay.run() == ReplayStop::diverged);
  CHECK(replay.toy.machine().icount() == icount);
  return *replay.replayer.divergence();
}

}  // namespace

TEST_CASE("A replay is equal, whole and in slices, running or asleep") {
  for (const Guest guest : {Guest::sleeps, Guest::counts}) {
    ToyRecording recording(guest);
    const auto entries = typical(recording);
    check_equal(guest, recording, entries);
  }
}

TEST_CASE("A long way between two entries is told of in pieces, and leads to the same state") {
  ToyRecording recording(Guest::counts);
  recording.run(1'700'000);
  recording.toy.type("q");
  REQUIRE(recording.run(3000) == emu::MachineStop::debug_exit);
  const auto entries = recording.finish(ftlog::EndReason::debug_exit);
  ToyReplay replay(Guest::counts, entries);
  uint64_t told = 0, longest = 0;
  replay.replayer.on_underway([&] {
    const uint64_t here = replay.toy.machine().icount();
    longest = std::max(longest, here - told);
    told = here;
  });
  CHECK_MESSAGE(replay.run() == ReplayStop::ended, replay.what());
  CHECK(replay.toy.machine().digest() == recording.digest);
  CHECK(told >= 1'700'000);
  CHECK(longest < backup::Replayer::kUnderwayEvery + 100);
}

TEST_CASE("Inputs at random points, several at once, with the clock's rate changed and resets between") {
  for (const Guest guest : {Guest::sleeps, Guest::counts}) {
    for (uint64_t seed = 1; seed <= 5; ++seed) {
      CAPTURE(seed);
      std::mt19937_64 random(seed);
      ToyRecording recording(guest, 3'000'000);
      for (int i = 0; i < 40; ++i) {
        switch (random() % 6) {
          case 0:
            recording.recorder->set_rate(1000 + random() % 9000);
            break;
          case 1:
            recording.toy.type("r");
            if (recording.run(2000) == emu::MachineStop::reset) {
              recording.recorder->resetting();
              recording.toy.reset();
            }
            break;
          default:
            for (uint64_t n = random() % 3; n > 0; --n) recording.toy.type(std::string(1, 'A' + char(random() % 20)));
        }
        recording.run(random() % 300);
      }
      const auto entries = recording.finish(ftlog::EndReason::stop_at);
      check_equal(guest, recording, entries);
    }
  }
}

TEST_CASE("A paced machine sleeps a part of its time, and inputs of one count have times of their own") {
  ToyRecording recording(Guest::sleeps, 0);
  emu::Machine& machine = recording.toy.machine();
  std::mt19937_64 random(3);
  for (int i = 0; i < 30; ++i) {
    recording.run_to_idle();
    const uint64_t due = machine.idle_until_ns(), now = machine.now_ns();
    machine.skip_idle(now + (due - now) / 3);
    // The device sees the input and wakes the CPU at once; nothing runs between the two.
    recording.toy.type("x");
    machine.run(machine.icount(), emu::Machine::Idle::report);
    machine.skip_idle(now + (due - now) / 2);
    recording.toy.type("y");
    machine.run(machine.icount(), emu::Machine::Idle::report);
    recording.run_to_idle();
    if (i % 3 == 0) machine.skip_idle(machine.idle_until_ns());
  }
  const auto entries = recording.finish(ftlog::EndReason::quit);
  bool same_count_later = false;
  for (size_t i = 1; i < entries.size(); ++i)
    same_count_later |= entries[i].icount == entries[i - 1].icount && entries[i].virtual_ns > entries[i - 1].virtual_ns;
  CHECK(same_count_later);
  check_equal(Guest::sleeps, recording, entries);
}

TEST_CASE("A log that breaks off is replayed to its last entry") {
  ToyRecording recording(Guest::counts);
  auto entries = typical(recording);
  entries.resize(entries.size() - 3);
  ToyReplay replay(Guest::counts, entries);
  CHECK(replay.run() == ReplayStop::starved);
  CHECK(replay.toy.machine().icount() == entries.back().icount);
  CHECK_FALSE(replay.replayer.divergence());
}

TEST_CASE("Each kind of divergence is found and named") {
  for (const Guest guest : {Guest::sleeps, Guest::counts}) {
    ToyRecording recording(guest, guest == Guest::sleeps ? 5'000'000 : 10'000);
    const std::vector<LogEntry> good = typical(recording);
    {
      auto bad = good;
      std::get<ftlog::Input>(find<ftlog::Input>(bad).payload).bytes[0] ^= 1;
      const auto divergence = diverges(guest, bad, "output on toy differs");
      CHECK(divergence.last_proven_icount < divergence.icount);
      CHECK(divergence.last_proven_icount <= find<ftlog::Input>(bad).icount);
    }
    {
      auto bad = good;
      const LogEntry dropped = find<ftlog::Input>(bad);
      std::erase(bad, dropped);
      // The handler's port accesses took their time.
      diverges(guest, bad, "virtual time is ");
    }
    {
      auto bad = good;
      LogEntry& entry = find<ftlog::StateDigest>(bad, 1);
      std::get<ftlog::StateDigest>(entry.payload).ram ^= 1;
      const auto divergence = diverges(guest, bad, "state digests differ in RAM");
      CHECK(divergence.sequence == entry.sequence);
      CHECK(divergence.ram);
      CHECK_FALSE(divergence.cpu);
      CHECK_FALSE(divergence.devices);
      CHECK(divergence.last_proven_icount == find<ftlog::StateDigest>(bad).icount);
    }
    {
      auto bad = good;
      std::get<ftlog::OutputMark>(find<ftlog::OutputMark>(bad).payload).total_bytes += 1;
      diverges(guest, bad, "output on toy differs");
    }
    {
      auto bad = good;
      std::get<ftlog::Input>(find<ftlog::Input>(bad).payload).channel = 7;
      diverges(guest, bad, "an input for channel 7, which this machine does not have");
    }
    {
      auto bad = good;
      find<ftlog::StateDigest>(bad).virtual_ns -= 1;
      diverges(guest, bad, "virtual time is ");
    }
    {
      // The guest goes on where the log says that it ended.
      auto bad = good;
      const uint64_t last_input = find<ftlog::Input>(bad, 2).sequence;
      std::erase_if(bad, [&](const LogEntry& entry) { return entry.sequence >= last_input; });
      bad.push_back({bad.back().sequence + 1, bad.back().icount, bad.back().virtual_ns,
                     ftlog::End{ftlog::EndReason::debug_exit, 0}});
      diverges(guest, bad, "the machine has not debug_exit");
    }
    {
      // The guest ends where the log goes on.
      auto bad = good;
      bad.pop_back();
      bad.back().icount += 100;
      diverges(guest, bad, "the machine wrote to the debug exit at instruction");
    }
    {
      auto bad = good;
      LogEntry& entry = find<ftlog::StateDigest>(bad);
      entry.payload = ftlog::Reset{};
      diverges(guest, bad, "the machine does not ask for a reset at instruction");
    }
  }
}

TEST_CASE("A replay can be taken up where it was") {
  ToyRecording recording(Guest::counts);
  const auto entries = typical(recording);
  ToyReplay replay(Guest::counts, entries);
  REQUIRE(replay.replayer.run(4000) == ReplayStop::limit);
  emu::SnapshotKeeper keeper(replay.toy.machine());
  const emu::MemorySnapshot here = keeper.take();
  const auto progress = replay.replayer.progress();
  for (int i = 0; i < 3; ++i) {
    CHECK(replay.run() == ReplayStop::ended);
    CHECK(replay.toy.machine().digest() == recording.digest);
    keeper.restore(here);
    replay.replayer.go_back(progress);
    replay.left.assign(entries.begin() + static_cast<std::ptrdiff_t>(progress.next_sequence() - 1), entries.end());
  }
}

TEST_CASE("An answer of a disk that the machine does not have is a divergence") {
  ToyRecording recording(Guest::sleeps);
  std::vector<LogEntry> entries = typical(recording);
  find<ftlog::Input>(entries).payload = ftlog::BlockDone{0, 1, true, {1, 2, 3}};
  diverges(Guest::sleeps, entries, "an answer of a disk on channel 0, where this machine has none");
  find<ftlog::BlockDone>(entries).payload = ftlog::BlockDone{999, 1, true, {}};
  diverges(Guest::sleeps, entries, "an answer of a disk on channel 999");
}

// The machine comes back now and then from a sleep in which much happens and nothing is executed.
TEST_CASE("A reset deep in a sleep full of events is found again") {
  // An event every 10 ns, none of which wakes the CPU; the last asks for the reset.
  struct Busy {
    ToyMachine& toy;
    unsigned left = 40'000;
    emu::EventQueue::Id event = toy.machine().events().add("busy", [this](uint64_t) { tick(); });
    void tick() {
      if (--left == 0)
        toy.machine().stop_with(emu::MachineStop::reset);
      else
        toy.machine().events().schedule(event, toy.machine().now_ns() + 10);
    }
    void begin() { toy.machine().events().schedule(event, toy.machine().now_ns() + 10); }
  };
  ToyRecording recording(Guest::sleeps);
  Busy busy{recording.toy};
  busy.begin();
  const uint64_t before = recording.toy.machine().now_ns();
  REQUIRE(recording.run(1000) == emu::MachineStop::reset);
  CHECK(recording.toy.machine().icount() < 10);
  CHECK(recording.toy.machine().now_ns() - before == 400'000);
  recording.recorder->resetting();
  recording.toy.reset();
  recording.run(500);
  const auto entries = recording.finish(ftlog::EndReason::stop_at);

  ToyReplay replay(Guest::sleeps, entries);
  Busy again{replay.toy};
  again.begin();
  CHECK(replay.run() == backup::ReplayStop::ended);
  CHECK(replay.what() == "");
  CHECK(again.left == 0);
  CHECK(replay.toy.machine().digest() == recording.digest);
}
