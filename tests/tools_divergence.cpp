// `understudy replay` on recordings that were changed with care: every checksum is right, but it is not what happened.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdio>

#include "ftlog/recording.h"
#include "tests/built.h"
#include "tests/ftlog_rig.h"
#include "tests/understudy_command.h"

using namespace understudy;
using namespace understudy::test;

namespace {

// The log of `from` again in the folder `to`, with each entry as `change` leaves it.
template <typename F>
void write_again(const std::string& from, const std::string& to, F&& change) {
  ftlog::LogReader reader(from);
  ftlog::LogWriter writer(to, reader.description());
  for (ftlog::LogEntry entry; reader.next(entry);) {
    change(entry);
    append(writer, entry);
  }
  writer.flush();
}

}  // namespace

TEST_CASE("A recording whose digest is not the machine's is told from a replay that does not repeat") {
  const TempDir scratch, again;
  const std::string recorded = scratch.path() + "/recorded";
  const Ran record = understudy_command(fmt::format(
      "record {} {}/paging32.elf --memory 16 --serial none --state-digest 0.02", recorded, built::kFirmware));
  REQUIRE_MESSAGE(record.code == 33, record.said);
  uint64_t proven = 0, wrong = 0, digests = 0;
  write_again(recorded, again.path(), [&](ftlog::LogEntry& entry) {
    auto* const digest = std::get_if<ftlog::StateDigest>(&entry.payload);
    if (digest == nullptr) return;
    if (++digests == 1) proven = entry.icount;
    if (digests != 2) return;
    digest->devices ^= 1;
    wrong = entry.icount;
  });
  REQUIRE(digests > 2);
  const Ran replay = understudy_command("replay " + again.path());
  CHECK(replay.code == 5);
  INFO(replay.said);
  CHECK(replay.said.find("state digests differ in devices") != std::string::npos);
  CHECK(replay.said.find(fmt::format("at instruction {}, log entry ", wrong)) != std::string::npos);
  CHECK(replay.said.find(fmt::format("all was equal at instruction {}", proven)) != std::string::npos);
  CHECK(replay.said.find("two more replays agree with each other") != std::string::npos);
  CHECK(understudy_command("replay " + recorded).code == 0);
}
