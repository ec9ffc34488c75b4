// `understudy log`: what it shows, counts, and finds wrong, and its exit codes.
#include <doctest/doctest.h>
#include <sys/wait.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>

#include "ftlog/recording.h"
#include "ftlog/segment_format.h"
#include "tests/built.h"
#include "tests/ftlog_rig.h"
#include "tools/log_text.h"

using namespace understudy;
using namespace understudy::ftlog;
using namespace understudy::test;

namespace {

struct CommandResult {
  int code = -1;
  std::string out;  // with standard error
  std::vector<std::string> lines() const {
    std::vector<std::string> all;
    std::istringstream stream(out);
    for (std::string line; std::getline(stream, line);) all.push_back(line);
    return all;
  }
  bool says(const std::string& text) const { return out.find(text) != std::string::npos; }
};

CommandResult run_log(const std::string& arguments, const std::string& redirection = "2>&1") {
  CommandResult result;
  std::FILE* pipe = ::popen((std::string(built::kCommand) + " log " + arguments + " " + redirection).c_str(), "r");
  REQUIRE(pipe != nullptr);
  char buffer[4096];
  for (size_t got = 0; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) result.out.append(buffer, got);
  const int status = ::pclose(pipe);
  if (WIFEXITED(status)) result.code = WEXITSTATUS(status);
  return result;
}

// A small recording with an entry of most kinds and one snapshot file.
void make_recording(const std::string& directory, bool ended) {
  const std::vector<uint8_t> snapshot(5000, 0xab);
  write_bytes(snapshot_path(directory, 2000), snapshot);
  LogWriter writer(directory, "memory=64\nimage=\x1b[31mred\n");
  writer.append(0, 0, Start{1767225600, Pacing::paced, "by hand\n\x1b]0;"});
  writer.append(1000, 4000, Input{3, {'l', 's', '\r'}});
  writer.append(1000, 4000, OutputMark{1, 77, 0x1234});
  writer.append(2000, 8000, Snapshot{snapshot_name(2000), checksum(snapshot), snapshot.size()});
  writer.append(2500, 1'000'000'000, ClockChange{3500});
  writer.append(3000, 2'000'000'000, StateDigest{1, 2, 3});
  if (ended) writer.append(3000, 2'000'000'000, End{EndReason::debug_exit, 33});
}

}  // namespace

TEST_CASE("log: a table of what is in a recording") {
  const TempDir directory;
  make_recording(directory.path(), true);
  const CommandResult all = run_log(directory.path());
  CHECK(all.code == 0);
  REQUIRE(all.lines().size() == 8);
  CHECK(all.lines()[1] ==
        "         1                0        0.000000000  start         paced, clock starts at 2026-01-01T00:00:00Z: by "
        "hand\\x0a\\x1b]0;");
  CHECK(all.lines()[2] == "         2             1000        0.000004000  input         channel 3, 3 bytes: 6c 73 0d");
  CHECK(all.lines()[7].find("debug_exit, exit code 33") != std::string::npos);
  const CommandResult some = run_log(directory.path() + " --grep output_mark --grep clock");
  REQUIRE(some.lines().size() == 3);
  CHECK(some.lines()[1].find("channel 1, 77 bytes so far, digest 0000000000001234") != std::string::npos);
  CHECK(some.lines()[2].find("3500 ps per instruction") != std::string::npos);
}

TEST_CASE("log: the same as JSON lines") {
  const TempDir directory;
  make_recording(directory.path(), true);
  const auto lines = run_log(directory.path() + " --json").lines();
  REQUIRE(lines.size() == 7);
  const auto input = nlohmann::json::parse(lines[1]);
  CHECK(input == nlohmann::json{{"sequence", 2},
                                {"icount", 1000},
                                {"virtual_ns", 4000},
                                {"kind", "input"},
                                {"channel", 3},
                                {"bytes", "6c730d"}});
  CHECK(nlohmann::json::parse(lines[3])["file"] == "snap-2000.snap");
  CHECK(nlohmann::json::parse(lines[6])["reason"] == "debug_exit");
}

TEST_CASE("log --stats counts") {
  const TempDir directory;
  make_recording(directory.path(), true);
  const auto json = nlohmann::json::parse(run_log(directory.path() + " --stats --json").out);
  CHECK(json["state"] == "complete");
  CHECK(json["entries"] == 7);
  CHECK(json["entries_per_virtual_s"] == 3.5);
  CHECK(json["log_bytes"] == std::filesystem::file_size(segment_path(directory.path(), 1)));
  CHECK(json["kinds"]["state_digest"]["bytes"] == 32);  // kind, two of count, five of time, digests
  CHECK(json["kinds"]["reset"]["entries"] == 0);
  CHECK(json["snapshot_bytes"] == 5000);
  uint64_t kinds = 0;
  for (const auto& kind : json["kinds"]) kinds += kind["bytes"].get<uint64_t>();
  // Two blocks and a segment header around the entries.
  CHECK(kinds + 2 * kBlockHeadBytes + 56 + json["description"].get<std::string>().size() == json["log_bytes"]);
  const CommandResult text = run_log(directory.path() + " --stats");
  CHECK(text.code == 0);
  CHECK(text.says("  image=\\x1b[31mred\n"));
}

TEST_CASE("log --check: good, and each thing that can be wrong") {
  const TempDir directory;
  const std::string& at = directory.path();
  const std::string segment = segment_path(at, 1), snapshot = snapshot_path(at, 2000);
  const auto check = [&] { return run_log(at + " --check"); };
  make_recording(at, true);
  CHECK(check().code == 0);
  CHECK(check().says("good: 7 entries, 2 blocks, 1 segments, 1 snapshots"));

  write_byte(snapshot, 4000, 0xaa);
  CHECK(check().code == 5);
  CHECK(check().says("understudy: snapshot " + snapshot + " (entry 4): has the checksum "));
  write_byte(snapshot, 4000, 0xab);
  CHECK(check().code == 0);
  std::filesystem::resize_file(snapshot, 4999);
  CHECK(check().code == 5);
  CHECK(check().says("has 4999 bytes, the log says 5000"));
  std::filesystem::remove(snapshot);
  CHECK(check().code == 5);
  CHECK(check().says("there is no such file"));
  write_bytes(snapshot, std::vector<uint8_t>(5000, 0xab));

  const auto good = read_bytes(segment);
  write_byte(segment, 200, static_cast<uint8_t>(good[200] ^ 4));
  for (const char* how : {" --check", "", " --stats"}) {
    const CommandResult result = run_log(at + how);
    CHECK(result.code == 5);
    CHECK(result.says("understudy: log " + segment + ": at offset "));
  }
  const CommandResult as_json = run_log(at + " --check --json");
  const auto json = nlohmann::json::parse(as_json.out.substr(0, as_json.out.find("understudy: ")));
  CHECK(json["good"] == false);
  CHECK(json["problems"].size() == 1);
  write_byte(segment, 200, good[200]);

  std::filesystem::resize_file(segment, good.size() - 1);
  CHECK(check().code == 5);
  CHECK(check().says("not finished: at offset"));
  CHECK(check().says("a block is cut short"));
  write_bytes(segment, good);
  CHECK(check().code == 0);
}

TEST_CASE("log --check: a log that names snapshots without end") {
  const TempDir directory;
  const std::vector<uint8_t> snapshot(100, 1);
  write_bytes(snapshot_path(directory.path(), 1), snapshot);
  {
    LogWriter writer(directory.path(), "");
    for (uint64_t i = 1; i <= 500; ++i) writer.append(i, 4 * i, Snapshot{snapshot_name(1), checksum(snapshot), 100});
    for (uint64_t i = 501; i <= 5000; ++i) writer.append(i, 4 * i, Snapshot{snapshot_name(i), i, i});
    writer.append(5001, 4 * 5001, End{});
  }
  const CommandResult result = run_log(directory.path() + " --check");
  CHECK(result.code == 5);
  REQUIRE(result.lines().size() == 101);
  CHECK(result.lines()[0].find("(entry 501): there is no such file") != std::string::npos);
  CHECK(result.lines()[100].find("snapshots after entry 600 were not looked at") != std::string::npos);
}

TEST_CASE("log --check: an unfinished log is wrong, unless it is being recorded") {
  const TempDir parent;
  const std::string at = parent.path() + "/rec";
  {
    const Recording recording = Recording::create(at);
    make_recording(at, false);
    const CommandResult going_on = run_log(at + " --check");
    CHECK(going_on.code == 0);
    CHECK(going_on.says("good so far, still being recorded: 6 entries"));
  }
  const CommandResult result = run_log(at + " --check");
  CHECK(result.code == 5);
  CHECK(result.says("not finished: at offset"));
  CHECK(result.says("the log goes no further"));
  const CommandResult listing = run_log(at);
  CHECK(listing.code == 0);
  CHECK(listing.lines().size() == 8);
  CHECK(listing.says("understudy: log " + segment_path(at, 1) + ": not finished"));
}

TEST_CASE("log: bad usage") {
  const TempDir directory;
  CHECK(run_log("").code == 2);
  CHECK(run_log(directory.path() + "/nothing").code == 2);
  CHECK(run_log(directory.path() + "/nothing").says("no such directory"));
  CHECK(run_log(directory.path()).code == 2);
  CHECK(run_log(directory.path()).says("there is no recording in it"));
  make_recording(directory.path(), true);
  CHECK(run_log(directory.path() + " --grep nonsense").code == 2);
  CHECK(run_log(directory.path() + " --grep clock --stats").code == 2);
  CHECK(run_log(directory.path() + " --check --stats").code == 2);
  CHECK(run_log(directory.path(), "2>&1 >/dev/full").code == 4);
}
