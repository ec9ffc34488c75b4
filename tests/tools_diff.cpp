// `understudy diff`: of recordings that were changed with care, and of points.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "ftlog/recording.h"
#include "tests/built.h"
#include "tests/ftlog_rig.h"
#include "tests/understudy_command.h"

using namespace understudy;
using namespace understudy::test;
using Json = nlohmann::json;

namespace {

struct Ended {
  int code;
  Json json;
};

Ended diff(const std::string& left, const std::string& right, const std::string& more = "") {
  const Ran ran = understudy_command(fmt::format("diff {} {} --json {}", left, right, more));
  INFO(ran.said);
  REQUIRE((ran.code == 0 || ran.code == 1));
  return {ran.code, Json::parse(ran.said)};
}

// A recording of a guest, and copies of it whose log is another.
struct Rig {
  TempDir scratch;
  std::string original = scratch.path() + "/original";

  explicit Rig(const std::string& options = "--state-digest 0.02", unsigned memory = 16) {
    const Ran ran = understudy_command(fmt::format("record {} {}/paging32.elf --memory {} --serial none {}", original,
                                                   built::kFirmware, memory, options));
    REQUIRE_MESSAGE((ran.code == 33 || ran.code == 0), ran.said);
  }
  std::vector<ftlog::LogEntry> entries() const {
    std::vector<ftlog::LogEntry> all;
    ftlog::LogReader reader(original);
    for (ftlog::LogEntry entry; reader.next(entry);) all.push_back(entry);
    return all;
  }
  // The folder of the new recording.
  std::string written(const std::string& name, const std::vector<ftlog::LogEntry>& entries) const {
    const std::string path = scratch.path() + "/" + name;
    REQUIRE(std::filesystem::create_directory(path));
    ftlog::LogWriter writer(path, ftlog::LogReader(original).description());
    for (const ftlog::LogEntry& entry : entries) writer.append(entry.icount, entry.virtual_ns, entry.payload);
    writer.flush();
    return path;
  }
};

size_t nth_digest(const std::vector<ftlog::LogEntry>& entries, unsigned n) {
  for (size_t i = 0; i < entries.size(); ++i)
    if (std::holds_alternative<ftlog::StateDigest>(entries[i].payload) && n-- == 0) return i;
  FAIL("no such digest");
  return 0;
}

}  // namespace

TEST_CASE("diff: equal recordings, however often they have digests") {
  const Rig rig, other("--state-digest 0.05");
  const Ended same = diff(rig.original, rig.original);
  CHECK(same.code == 0);
  CHECK(same.json["equal"] == true);
  CHECK(same.json["compared_digests"] > 3);
  const Ended rarer = diff(rig.original, other.original);
  CHECK(rarer.code == 0);
  CHECK(rarer.json["compared_digests"] >= 1);
  CHECK(rarer.json["compared_digests"] < same.json["compared_digests"]);
  const Ran text = understudy_command(fmt::format("diff {} {}", rig.original, other.original));
  CHECK(text.code == 0);
  CHECK(text.said.ends_with("\nequal\n"));
}

TEST_CASE("diff: an input more is named, and so is the instruction at which the states part") {
  const Rig rig;
  auto entries = rig.entries();
  const size_t digest = nth_digest(entries, 1);
  const uint64_t icount = entries[digest].icount, ns = entries[digest].virtual_ns;
  entries.insert(entries.begin() + static_cast<std::ptrdiff_t>(digest) + 1,
                 ftlog::LogEntry{0, icount, ns, ftlog::Input{1, {'x'}}});
  const std::string changed = rig.written("changed", entries);
  const Ended ended = diff(rig.original, changed);
  CHECK(ended.code == 1);
  CHECK(ended.json["machines"].empty());
  CHECK(ended.json["entries"]["right"]["kind"] == "input");
  CHECK(ended.json["entries"]["right"]["icount"] == icount);
  CHECK(ended.json["entries"]["left"]["kind"] == "end");
  CHECK(ended.json["entries"]["before"].back()["kind"] == "clock");
  CHECK_FALSE(ended.json.contains("digests"));
  CHECK(ended.json["replayed"]["equal"] == false);
  CHECK(ended.json["difference"]["icount"] == icount);
  // All that has happened by then is that a byte is in the serial port.
  CHECK(ended.json["difference"]["ram"].empty());
  bool uart = false;
  for (const Json& field : ended.json["difference"]["fields"])
    uart |= field["field"].get<std::string>().starts_with("uart");
  CHECK(uart);
  const Ran text = understudy_command(fmt::format("diff {} {}", rig.original, changed));
  CHECK(text.said.find(fmt::format("different at instruction {}:", icount)) != std::string::npos);
  CHECK(text.said.find("channel 1, 1 byte: 78") != std::string::npos);
  // The logs alone.
  CHECK_FALSE(diff(rig.original, changed, "--no-replay").json.contains("replayed"));
}

TEST_CASE("diff: a digest that is another is found, and replays that agree are said to") {
  const Rig rig;
  auto entries = rig.entries();
  const size_t good = nth_digest(entries, 1), bad = nth_digest(entries, 2);
  std::get<ftlog::StateDigest>(entries[bad].payload).ram ^= 1;
  const Ended ended = diff(rig.original, rig.written("changed", entries));
  CHECK(ended.code == 1);
  CHECK(ended.json["digests"]["icount"] == entries[bad].icount);
  CHECK(ended.json["last_equal_digest"] == entries[good].icount);
  CHECK_FALSE(ended.json.contains("entries"));
  CHECK(ended.json["replayed"]["equal"] == true);
}

TEST_CASE("diff: one recording ends earlier; machines that are not the same") {
  const Rig rig, shorter("--stop-at 100000");
  const Ended ended = diff(rig.original, shorter.original);
  CHECK(ended.code == 1);
  CHECK(ended.json["entries"]["right"]["icount"] == 100000);
  CHECK(ended.json["replayed"]["equal"] == true);
  const Rig larger("--stop-at 1000", 32);
  const Ended other = diff(rig.original, larger.original);
  CHECK(other.code == 1);
  // The boot loader's memory map is another, too.
  CHECK(other.json["machines"].size() == 2);
  CHECK(other.json["machines"][0] == Json{{"key", "memory"}, {"left", "16 MiB"}, {"right", "32 MiB"}});
  CHECK_FALSE(other.json.contains("replayed"));
}

TEST_CASE("diff: two points") {
  const Rig rig("--stop-at 200000");
  const std::string at = rig.original + "@";
  CHECK(diff(at + "5000", at + "5000").code == 0);
  const Ended ended = diff(at + "5000", at + "150000");
  CHECK(ended.code == 1);
  CHECK(ended.json["difference"]["ram_pages"] > 0);
  const Json& page = ended.json["difference"]["ram"][0];
  CHECK(page["ranges"].size() >= 1);
  CHECK(ended.json["difference"]["fields"][0]["field"] != "");
  const auto refused = [](const std::string& arguments, const char* why) {
    const Ran ran = understudy_command("diff " + arguments);
    CAPTURE(ran.said);
    CHECK(ran.code == 2);
    CHECK(ran.said.find(why) != std::string::npos);
  };
  refused(rig.original + " " + at + "5", "want two recordings, or a point of each");
  refused(at + "5 " + at + "99999999", "it ends at instruction 200000");
  refused(at + "5x " + at + "6", "want a recording, or RECORDING@ICOUNT");
  refused(rig.original + " /nonexistent", "/nonexistent");
}

TEST_CASE("diff: two points between which only the disk's contents are looked at") {
  const TempDir scratch;
  const std::string disk = scratch.path() + "/disk.img", recording = scratch.path() + "/recording";
  write_bytes(disk, {});
  std::filesystem::resize_file(disk, 8u << 20);
  const Ran ran = understudy_command(
      fmt::format("record {} {}/disk.elf --memory 32 --serial none --disk {}", recording, built::kFirmware, disk));
  REQUIRE_MESSAGE(ran.code == 33, ran.said);
  const std::string at = recording + "@";
  // By then the guest has written to its first sectors.
  const Ended ended = diff(at + "5000", at + "300000");
  CHECK(ended.code == 1);
  CHECK(ended.json["difference"]["disk_pages"] > 0);
  REQUIRE(!ended.json["difference"]["disks"].empty());
  const Json& page = ended.json["difference"]["disks"][0];
  CHECK(page["disk"] == "disk0");
  CHECK(page["offset"] < 4096);
  CHECK(page["bytes"] > 0);
  const Ran text = understudy_command(fmt::format("diff {}5000 {}300000", at, at));
  CHECK(text.said.find("disk0 at byte ") != std::string::npos);
  CHECK(diff(at + "300000", at + "300000").json["equal"] == true);
}
