// ftlog/log_writer and ftlog/log_reader: round trips, roll-over, seeking, following, and when what is on the disk.
#include <doctest/doctest.h>

#include <thread>

#include "ftlog/segment_format.h"
#include "tests/ftlog_rig.h"

using namespace understudy::ftlog;
using namespace understudy::test;

namespace {

LogOptions small_options(size_t block_bytes = 512, uint64_t segment_bytes = 8192) {
  LogOptions options;
  options.block_bytes = block_bytes;
  options.segment_bytes = segment_bytes;
  options.sync = SyncPolicy::none;
  return options;
}

size_t segments_in(const std::string& directory) {
  size_t count = 0;
  while (std::filesystem::exists(segment_path(directory, static_cast<uint32_t>(count + 1)))) ++count;
  return count;
}

}  // namespace

TEST_CASE("a finished log comes back whole, whatever the sizes of blocks and segments") {
  for (const uint64_t seed : {1, 2, 3, 4, 5, 6}) {
    CAPTURE(seed);
    const TempDir directory;
    const auto entries = make_entries(seed, 400, true);
    write_log(directory.path(), entries, small_options(seed * 211, seed * 4099));
    const Outcome outcome = read_log(directory.path());
    CHECK(outcome.error == "");
    CHECK(outcome.state == LogState::complete);
    CHECK(outcome.entries == entries);
    CHECK(segments_in(directory.path()) > 3);
    CHECK(LogReader(directory.path()).description() == "memory=64\nmachine=test\n");
  }
}

TEST_CASE("a log that was not finished is readable and says so") {
  const TempDir directory;
  const auto entries = make_entries(1, 100, false);
  write_log(directory.path(), entries, small_options());
  const Outcome outcome = read_log(directory.path());
  CHECK(outcome.entries == entries);
  CHECK(outcome.state == LogState::torn);
  CHECK(outcome.tail.bytes_lost == 0);
  CHECK(outcome.tail.reason == "the log goes no further");
  CHECK(outcome.tail.segment == segment_path(directory.path(), static_cast<uint32_t>(segments_in(directory.path()))));
  CHECK(outcome.tail.offset == std::filesystem::file_size(outcome.tail.segment));
}

TEST_CASE("seeking finds the first entry at or after a count, and any sequence") {
  const TempDir directory;
  const auto entries = make_entries(3, 500, true);
  write_log(directory.path(), entries, small_options());
  LogReader reader(directory.path());
  LogEntry entry;
  std::mt19937_64 random(1);
  for (int i = 0; i < 300; ++i) {
    const LogEntry& target = entries[random() % entries.size()];
    const uint64_t icount = target.icount + random() % 3 - 1 + (target.icount == 0 ? 1 : 0);
    reader.seek_icount(icount);
    size_t expected = 0;
    while (expected < entries.size() && entries[expected].icount < icount) ++expected;
    for (int step = 0; step < 5 && expected < entries.size(); ++step, ++expected) {
      REQUIRE(reader.next(entry));
      REQUIRE(entry == entries[expected]);
    }
    reader.seek_sequence(target.sequence);
    REQUIRE(reader.next(entry));
    REQUIRE(entry == target);
  }
  reader.seek_icount(entries.back().icount + 1);
  CHECK_FALSE(reader.next(entry));
  CHECK(reader.state() == LogState::complete);
  reader.seek_icount(0);
  size_t count = 0;
  while (reader.next(entry)) CHECK(entry == entries[count++]);
  CHECK(count == entries.size());
}

TEST_CASE("a reader follows a log that is being written, across segments") {
  const TempDir directory;
  const auto entries = make_entries(5, 300, true);
  LogWriter writer(directory.path(), "", small_options(200, 2000));
  LogReader reader(directory.path());
  LogEntry entry;
  size_t seen = 0;
  for (const auto& next : entries) {
    append(writer, next);
    if (next.sequence % 7 == 0) writer.flush();
    while (reader.next(entry)) REQUIRE(entry == entries[seen++]);
    REQUIRE(seen == writer.written());
    REQUIRE(reader.state() == (next.kind() == EntryKind::end ? LogState::complete : LogState::torn));
  }
  CHECK(seen == entries.size());
}

TEST_CASE("a reader beside a writer sees every entry, and never takes what is coming for damage") {
  const TempDir directory;
  const auto entries = make_entries(6, 3000, true, 60);
  LogWriter writer(directory.path(), "", small_options(1, 300));
  std::thread writing([&] {
    for (const auto& entry : entries) append(writer, entry);
  });
  size_t seen = 0;
  std::string problem;
  try {
    LogReader reader(directory.path());
    LogEntry entry;
    while (reader.state() != LogState::complete)
      while (reader.next(entry)) {
        if (entry != entries[seen]) problem = "another entry";
        ++seen;
      }
  } catch (const LogError& error) {
    problem = error.what();
  }
  writing.join();
  CHECK(problem == "");
  CHECK(seen == entries.size());
}

TEST_CASE("what is written and synced when") {
  const auto at = [](LogWriter& writer) { return std::pair(writer.written(), writer.synced()); };
  using Pair = std::pair<uint64_t, uint64_t>;
  SUBCASE("interval: by the caller's clock") {
    const TempDir directory;
    LogWriter writer(directory.path(), "");
    writer.tick(5'000'000'000);
    writer.append(1, 4, Reset{});
    CHECK(at(writer) == Pair{0, 0});
    writer.tick(5'199'999'999);
    CHECK(at(writer) == Pair{0, 0});
    writer.tick(5'200'000'000);
    CHECK(at(writer) == Pair{1, 0});
    writer.append(2, 8, OutputMark{});
    writer.tick(5'999'999'999);
    CHECK(at(writer) == Pair{2, 0});
    writer.tick(6'000'000'000);
    writer.settle();
    CHECK(at(writer) == Pair{2, 2});
    writer.tick(8'000'000'000);  // nothing new: nothing to do
    CHECK(at(writer) == Pair{2, 2});
    writer.append(3, 12, Reset{});
    writer.flush();
    CHECK(at(writer) == Pair{3, 2});
    writer.append(4, 16, End{});
    CHECK(at(writer) == Pair{4, 4});
  }
  SUBCASE("output: before the output's mark is acknowledged") {
    const TempDir directory;
    LogOptions options;
    options.sync = SyncPolicy::output;
    LogWriter writer(directory.path(), "", options);
    writer.append(1, 4, Reset{});
    CHECK(at(writer) == Pair{0, 0});
    writer.append(2, 8, OutputMark{});
    CHECK(at(writer) == Pair{2, 2});
  }
  SUBCASE("none: only when asked") {
    const TempDir directory;
    LogWriter writer(directory.path(), "", small_options(1, 300));
    for (uint64_t i = 1; i <= 20; ++i) writer.append(i, 4 * i, OutputMark{});
    writer.tick(1);
    writer.tick(1'000'000'000'000);
    CHECK(at(writer) == Pair{20, 0});
    CHECK(segments_in(directory.path()) > 3);
    writer.sync();
    CHECK(at(writer) == Pair{20, 20});
  }
}

TEST_CASE("nothing follows the end, and no second log goes where one is") {
  const TempDir directory;
  LogWriter writer(directory.path(), "", small_options());
  writer.append(1, 4, End{});
  CHECK(writer.finished());
  CHECK_THROWS_AS(writer.append(2, 8, Reset{}), std::logic_error);
  CHECK_THROWS_AS(LogWriter(directory.path(), ""), LogError);
  CHECK(read_log(directory.path()).state == LogState::complete);
  CHECK_THROWS_AS(LogWriter(directory.path() + "/missing", ""), LogError);
  CHECK_THROWS_AS(LogWriter(directory.path(), std::string(kMaxDescription + 1, 'x')), std::invalid_argument);
}

TEST_CASE("large entries fill blocks of their own size") {
  const TempDir directory;
  const auto entries = make_entries(9, 60, true, 60'000);
  LogOptions options;
  options.block_bytes = SIZE_MAX;  // taken for the most that is possible
  write_log(directory.path(), entries, options);
  const Outcome outcome = read_log(directory.path());
  CHECK(outcome.error == "");
  CHECK(outcome.entries == entries);
}
