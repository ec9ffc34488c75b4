// Two replays that part, narrowed to the instruction.
#include <doctest/doctest.h>

#include "backup/narrowing.h"
#include "tests/replay_rig.h"

using namespace understudy;
using namespace understudy::test;

namespace {

// A replay that may have one byte of RAM changed when it gets to a count.
class ToyNarrowable : public backup::NarrowableReplay {
 public:
  ToyNarrowable(Guest guest, const std::vector<ftlog::LogEntry>& entries, uint64_t flip_at = ~0ull,
                uint64_t address = 0x9000)
      : entries_(entries), replay_(guest, entries), keeper_(machine()), flip_at_(flip_at), address_(address) {}
  emu::Machine& machine() override { return replay_.toy.machine(); }
  void run_to(uint64_t icount) override {
    if (!flipped_ && icount >= flip_at_) {
      replay_.replayer.run(flip_at_);
      const auto byte = static_cast<uint8_t>(*machine().memory().bytes_at(address_) ^ 0x10);
      machine().memory().store(address_, {&byte, 1});
      flipped_ = true;
    }
    replay_.replayer.run(icount);
  }
  void hold() override { held_.emplace(Held{keeper_.take(), replay_.replayer.progress(), flipped_}); }
  void go_back() override {
    keeper_.restore(held_->machine);
    replay_.replayer.go_back(held_->progress);
    flipped_ = held_->flipped;
    const auto next = static_cast<std::ptrdiff_t>(held_->progress.next_sequence() - 1);
    replay_.left.assign(entries_.begin() + next, entries_.end());
  }

 private:
  struct Held {
    emu::MemorySnapshot machine;
    backup::Replayer::Progress progress;
    bool flipped;
  };
  const std::vector<ftlog::LogEntry>& entries_;
  ToyReplay replay_;
  emu::SnapshotKeeper keeper_;
  uint64_t flip_at_, address_;
  bool flipped_ = false;
  std::optional<Held> held_;
};

std::vector<ftlog::LogEntry> busy(Guest guest) {
  ToyRecording recording(guest, 100'000);
  for (int i = 0; i < 10; ++i) {
    recording.toy.type("z");
    recording.run(500);
  }
  return recording.finish(ftlog::EndReason::stop_at);
}

}  // namespace

TEST_CASE("The first difference is found to the instruction, wherever it is") {
  for (const Guest guest : {Guest::sleeps, Guest::counts}) {
    const auto entries = busy(guest);
    for (const uint64_t at : {1, 2, 499, 500, 501, 1234, 4998, 4999}) {
      CAPTURE(at);
      ToyNarrowable left(guest, entries, at), right(guest, entries);
      const auto difference = backup::narrow(left, right, 0, 5000);
      REQUIRE(difference);
      CHECK(difference->icount == at);
      CHECK(difference->equal_before);
      CHECK(difference->fields.empty());
      REQUIRE(difference->page_count == 1);
      CHECK(difference->pages[0].address == 0x9000);
      CHECK(difference->pages[0].left == 0x10);
      CHECK(difference->pages[0].right == 0);
      CHECK(difference->pages[0].bytes == 1);
      left.go_back();
      right.go_back();
      CHECK(left.machine().icount() == at - 1);
      CHECK(left.machine().digest() == right.machine().digest());
    }
  }
}

TEST_CASE("Code that was changed shows in the CPU after it ran") {
  const auto entries = busy(Guest::counts);
  // The jump of the counting loop, at 1002h: EBh becomes FBh, and the guest goes astray.
  ToyNarrowable left(Guest::counts, entries, 100, 0x1002), right(Guest::counts, entries);
  const auto difference = backup::narrow(left, right, 0, 5000);
  REQUIRE(difference);
  CHECK(difference->icount == 100);
  const auto later = backup::narrow(left, right, 110, 5000);
  REQUIRE(later);
  CHECK_FALSE(later->equal_before);
  CHECK(later->icount == 110);
  bool cpu = false;
  for (const emu::StateDifference& field : later->fields) cpu |= field.field.starts_with("cpu.");
  CHECK(cpu);
}

TEST_CASE("Replays that agree have no difference") {
  const auto entries = busy(Guest::sleeps);
  ToyNarrowable left(Guest::sleeps, entries), right(Guest::sleeps, entries);
  CHECK_FALSE(backup::narrow(left, right, 0, 5000));
}
