// The timeline on recordings of our own guests: every point is the same state however it is reached.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "tests/built.h"
#include "tests/ftlog_rig.h"
#include "tools/timeline.h"

using namespace understudy;
using namespace understudy::test;
using tools::Mark;
using tools::Stop;
using tools::Timeline;

namespace {

// A recording of a guest of firmware/, up to a count.
std::string record(const TempDir& scratch, const std::string& guest, uint64_t stop_at) {
  const std::string directory = scratch.path() + "/" + guest;
  const std::string command =
      fmt::format("{} record {} {}/{}.elf --memory 32 --serial none --unpaced --stop-at {} >/dev/null 2>&1 </dev/null",
                  built::kCommand, directory, built::kFirmware, guest, stop_at);
  const int status = std::system(command.c_str());
  REQUIRE(std::filesystem::exists(directory));
  REQUIRE(status != -1);
  return directory;
}

}  // namespace

TEST_CASE("timeline: a thousand steps back and forth end where they began") {
  const TempDir scratch;
  Timeline timeline(record(scratch, "irq_bench", 2'000'000));
  CHECK(timeline.seek(1'000'000).why == Stop::limit);
  const emu::Digest digest = timeline.machine().digest();
  CHECK(timeline.reverse_step(1000).why == Stop::limit);
  CHECK(timeline.position() < 1'000'000);
  CHECK(timeline.machine().digest().all != digest.all);
  CHECK(timeline.step(1000).why == Stop::limit);
  CHECK(timeline.mark() == Mark{1'000'000, 0});
  CHECK(timeline.machine().digest() == digest);
}

TEST_CASE("timeline: a small budget drops snapshots, and every point is the same without them") {
  const TempDir scratch;
  const std::string directory = record(scratch, "irq_bench", 120'000'000);
  Timeline wide(directory);
  Timeline narrow(directory, {1});
  for (Timeline* timeline : {&wide, &narrow}) CHECK(timeline->seek(timeline->last()).at.icount > 70'000'001);
  CHECK(wide.snapshots().dropped == 0);
  CHECK(wide.snapshots().snapshots.size() == wide.snapshots().taken);
  CHECK(wide.snapshots().bytes > 1);
  CHECK(narrow.snapshots().dropped > 0);
  CHECK(narrow.snapshots().snapshots.size() == 2);
  CHECK(narrow.snapshots().bytes < wide.snapshots().bytes);
  for (const uint64_t at : {70'000'001u, 20'000'000u, 0u, 45'678'901u}) {
    for (Timeline* timeline : {&wide, &narrow}) CHECK(timeline->seek(at).why == Stop::limit);
    CHECK(wide.machine().digest() == narrow.machine().digest());
  }
}
