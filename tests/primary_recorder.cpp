// What the recorder writes, entry by entry.
#include <doctest/doctest.h>

#include "tests/replay_rig.h"

using namespace understudy;
using namespace understudy::test;
using ftlog::EntryKind;

namespace {

std::vector<EntryKind> kinds(const std::vector<ftlog::LogEntry>& entries) {
  std::vector<EntryKind> all;
  for (const ftlog::LogEntry& entry : entries) all.push_back(entry.kind());
  return all;
}

}  // namespace

TEST_CASE("A recording begins with its start and its clock, and ends with a proof") {
  ToyRecording recording(Guest::counts, 0);
  CHECK(recording.run(100) == emu::MachineStop::limit);
  const auto entries = recording.finish(ftlog::EndReason::stop_at);
  CHECK(kinds(entries) == std::vector{EntryKind::start, EntryKind::clock, EntryKind::state_digest, EntryKind::end});
  CHECK(entries[0].icount == 0);
  CHECK(entries[2].icount == 100);
  const auto& digest = std::get<ftlog::StateDigest>(entries[2].payload);
  CHECK(digest.cpu == recording.digest.cpu);
  CHECK(digest.ram == recording.digest.ram);
  CHECK(digest.devices == recording.digest.devices);
}

TEST_CASE("An input stands in the log where the machine took it, and what left is summed up before the proof") {
  ToyRecording recording(Guest::counts, 0);
  recording.run(50);
  recording.toy.type("ab");
  recording.toy.type("c");
  recording.run(100);
  const auto entries = recording.finish(ftlog::EndReason::stop_at);
  REQUIRE(kinds(entries) == std::vector{EntryKind::start, EntryKind::clock, EntryKind::input, EntryKind::input,
                                        EntryKind::output_mark, EntryKind::state_digest, EntryKind::end});
  CHECK(entries[2].icount == 50);
  CHECK(entries[3].icount == 50);
  CHECK(std::get<ftlog::Input>(entries[2].payload).bytes == std::vector<uint8_t>{'a', 'b'});
  CHECK(std::get<ftlog::OutputMark>(entries[4].payload).total_bytes == 1);
}

TEST_CASE("Digests come at their interval of virtual time, a rate and a reset where they happen") {
  ToyRecording recording(Guest::sleeps, 10'000'000);
  recording.run(2000);
  recording.recorder->set_rate(8000);
  recording.toy.type("r");
  REQUIRE(recording.run(1000) == emu::MachineStop::reset);
  recording.recorder->resetting();
  recording.toy.reset();
  recording.run(500);
  const auto entries = recording.finish(ftlog::EndReason::stop_at);
  uint64_t digests = 0, last_ns = 0, clocks = 0, resets = 0;
  for (const ftlog::LogEntry& entry : entries) {
    clocks += entry.kind() == EntryKind::clock;
    resets += entry.kind() == EntryKind::reset;
    if (entry.kind() != EntryKind::state_digest) continue;
    if (digests++ > 0 && entry.icount != recording.icount) CHECK(entry.virtual_ns >= last_ns + 10'000'000);
    last_ns = entry.virtual_ns;
  }
  CHECK(digests > 5);
  CHECK(clocks == 2);
  CHECK(resets == 1);
}
