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
