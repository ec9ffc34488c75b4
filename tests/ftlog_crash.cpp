// What is left of a log when its writer is killed at any moment, or when the disk is full.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <memory>

#include "ftlog/recording.h"
#include "ftlog/segment_format.h"
#include "tests/ftlog_rig.h"

using namespace understudy::ftlog;
using namespace understudy::test;

namespace {

// Runs `body` in a child process; its exit code, or -1 if it was killed. `meanwhile` runs here.
template <typename Body, typename Meanwhile>
int in_child(Body body, Meanwhile meanwhile) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    int code = 99;
    try {
      code = body();
    } catch (...) {
    }
    ::_exit(code);
  }
  meanwhile(child);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

LogOptions crash_options(uint64_t seed) {
  LogOptions options;
  options.block_bytes = 100 + seed * 37 % 3000;
  options.segment_bytes = 2000 + seed * 997 % 30'000;
  options.sync = SyncPolicy::none;
  return options;
}

}  // namespace

TEST_CASE("a writer killed at any moment leaves a log that is good up to what it had written") {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    CAPTURE(seed);
    const TempDir directory;
    int pipe_ends[2];
    REQUIRE(::pipe(pipe_ends) == 0);
    // The writer tells the sequence it knows to be written, and is killed when enough of these were heard: it goes on
    // for ever otherwise.
    uint64_t told = 0;
    const int code = in_child(
        [&] {
          ::close(pipe_ends[0]);
          LogWriter writer(directory.path(), "seed\n", crash_options(seed));
          EntrySource source(seed, 300);
          for (;;) {
            const uint64_t before = writer.written();
            append(writer, source.next());
            const uint64_t written = writer.written();
            if (written != before && ::write(pipe_ends[1], &written, sizeof written) != sizeof written) return 1;
          }
          return 0;
        },
        [&](pid_t child) {
          ::close(pipe_ends[1]);
          const uint64_t hear = 1 + seed * 13 % 40;
          for (uint64_t i = 0; i < hear; ++i) REQUIRE(::read(pipe_ends[0], &told, sizeof told) == sizeof told);
          ::kill(child, SIGKILL);
          // What it managed to tell before it died counts too.
          while (::read(pipe_ends[0], &told, sizeof told) == sizeof told) {
          }
          ::close(pipe_ends[0]);
        });
    REQUIRE(code == -1);
    const Outcome outcome = read_log(directory.path());
    REQUIRE(outcome.error == "");
    REQUIRE(outcome.state == LogState::torn);
    REQUIRE(outcome.entries.size() >= told);
    EntrySource source(seed, 300);
    for (const auto& entry : outcome.entries) REQUIRE(entry == source.next());
  }
}

TEST_CASE("a disk that fills up leaves a readable log, and the writer says why") {
  for (uint64_t limit = 1; limit < 6000; limit += 371) {
    CAPTURE(limit);
    const TempDir directory;
    LogOptions options;
    options.block_bytes = 500;
    options.segment_bytes = 1u << 20;
    options.sync = SyncPolicy::none;
    const int code = in_child(
        [&] {
          std::signal(SIGXFSZ, SIG_IGN);
          const rlimit most{limit, limit};
          if (::setrlimit(RLIMIT_FSIZE, &most) != 0) return 1;
          std::unique_ptr<LogWriter> writer;
          try {
            writer = std::make_unique<LogWriter>(directory.path(), std::string(300, 'd'), options);
          } catch (const LogError& error) {
            return std::string(error.what()).find("File too large") != std::string::npos ? 10 : 2;
          }
          EntrySource source(limit, 100);
          try {
            for (;;) append(*writer, source.next());
          } catch (const LogError& error) {
            if (std::string(error.what()).find("cannot write: File too large") == std::string::npos) return 3;
            if (error.segment() != segment_path(directory.path(), 1)) return 4;
          }
          try {
            append(*writer, source.next());
            return 5;
          } catch (const LogError&) {
          }
          return 0;
        },
        [](pid_t) {});
    if (limit < 356) {
      // Not even a header: then there is no segment at all.
      REQUIRE(code == 10);
      REQUIRE(std::filesystem::is_empty(directory.path()));
      continue;
    }
    REQUIRE(code == 0);
    const Outcome outcome = read_log(directory.path());
    REQUIRE(outcome.error == "");
    REQUIRE(outcome.state == LogState::torn);
    REQUIRE(outcome.tail.bytes_lost == 0);
    EntrySource source(limit, 100);
    for (const auto& entry : outcome.entries) REQUIRE(entry == source.next());
    if (limit > 3000) REQUIRE(outcome.entries.size() > 5);
  }
}

TEST_CASE("a segment that cannot be followed by another leaves a readable log") {
  const TempDir directory;
  LogOptions options;
  options.block_bytes = 100;
  options.segment_bytes = 1000;
  options.sync = SyncPolicy::none;
  EntrySource source(1, 40);
  LogWriter writer(directory.path(), "", options);
  write_bytes(segment_path(directory.path(), 2), {});
  uint64_t accepted = 0;
  CHECK_THROWS_AS(
      for (;;) {
        append(writer, source.next());
        accepted = writer.written();
      },
      LogError);
  CHECK_THROWS_AS(writer.flush(), LogError);
  CHECK_THROWS_AS(writer.sync(), LogError);
  std::filesystem::remove(segment_path(directory.path(), 2));
  const Outcome outcome = read_log(directory.path());
  CHECK(outcome.error == "");
  CHECK(outcome.entries.size() == accepted);
}

TEST_CASE("a recording goes into a new or an empty directory, and has one writer") {
  const TempDir parent;
  const std::string directory = parent.path() + "/rec";
  const auto refusal = [&] {
    try {
      Recording::create(directory);
    } catch (const RecordingError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK_THROWS_WITH_AS(require_recording(directory), ("recording " + directory + ": no such directory").c_str(),
                       RecordingError);
  {
    const Recording recording = Recording::create(directory);
    CHECK(recording.directory() == directory);
    CHECK(is_being_recorded(directory));
    CHECK_THROWS_WITH_AS(require_recording(directory),
                         ("recording " + directory + ": there is no recording in it").c_str(), RecordingError);
    CHECK(refusal() == "recording " + directory + ": another process is recording there");
    LogWriter writer(directory, "");
    writer.append(0, 0, Start{});
    writer.flush();
    require_recording(directory);
    CHECK(refusal() == "recording " + directory + ": another process is recording there");
  }
  CHECK_FALSE(is_being_recorded(directory));
  CHECK(refusal() == "recording " + directory + ": is not empty: choose a new directory, or remove this one first");
  std::filesystem::remove(segment_path(directory, 1));
  CHECK(refusal() == "");  // the lock alone is not in the way
  CHECK(Recording::create(directory).directory() == directory);
  std::filesystem::remove_all(directory);
  write_bytes(directory, {1});
  CHECK(refusal().find("recording " + directory + ": cannot list it") == 0);
}

TEST_CASE("files of a recording") {
  CHECK(snapshot_path("rec", 123456) == "rec/snap-123456.snap");
  CHECK(is_snapshot_name(snapshot_name(UINT64_MAX)));
  const TempDir directory;
  std::vector<uint8_t> bytes(3'000'000);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * i >> 8);
  write_bytes(directory.path() + "/file", bytes);
  const FileSum sum = sum_file(directory.path() + "/file");
  CHECK(sum == FileSum{checksum(bytes), bytes.size()});
  CHECK_THROWS_AS(sum_file(directory.path() + "/missing"), LogError);
}
