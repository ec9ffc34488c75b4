// `understudy timeline`: its JSON is what trace viewers read, and says what `understudy trace` and the log say.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/built.h"
#include "tests/ftlog_rig.h"
#include "tests/understudy_command.h"

using namespace understudy;
using namespace understudy::test;
using Json = nlohmann::json;

namespace {

struct Recording {
  explicit Recording(const char* guest, const std::string& options = "") {
    const Ran ran = understudy_command(
        fmt::format("record {} {}/{}.elf --memory 16 --serial none {}", path, built::kFirmware, guest, options));
    REQUIRE_MESSAGE((ran.code == 33 || ran.code == 0), ran.said);
    end = Json::parse(understudy_command("replay " + path + " --json -", "").said);
  }
  TempDir scratch;
  std::string path = scratch.path() + "/recorded";
  Json end;
};

struct Track {
  uint64_t events = 0, count = 0, bytes = 0;
  double busy_us = 0, last_us = 0;
};

struct Timeline {
  size_t events = 0;
  std::map<std::string, Track> tracks;
  std::map<std::string, std::vector<std::pair<double, Json>>> graphs;
};

// Reads a timeline, and checks all that viewers count on.
Timeline timeline(const Recording& recording, const std::string& options = "") {
  const Ran ran = understudy_command(fmt::format("timeline {} -o - {}", recording.path, options), "");
  REQUIRE(ran.code == 0);
  const Json json = Json::parse(ran.said);
  CHECK(json["displayTimeUnit"] == "ns");
  std::map<int, std::string> names;
  std::map<int, std::vector<std::pair<double, double>>> spans;
  Timeline timeline;
  for (const Json& event : json["traceEvents"]) {
    ++timeline.events;
    REQUIRE(event["ph"].is_string());
    REQUIRE(event["name"].is_string());
    CHECK(event["pid"] == 1);
    const std::string phase = event["ph"], name = event["name"];
    if (phase == "M") {
      if (name == "thread_name") CHECK(names.emplace(event["tid"], event["args"]["name"]).second);
      continue;
    }
    const double ts = event["ts"];
    CHECK(ts >= 0);
    if (phase == "C") {
      for (const auto& [key, value] : event["args"].items()) CHECK(value.is_number());
      auto& graph = timeline.graphs[name];
      if (!graph.empty()) CHECK(ts >= graph.back().first);
      graph.emplace_back(ts, event["args"]);
      continue;
    }
    REQUIRE((phase == "X" || phase == "i"));
    const int tid = event["tid"];
    REQUIRE(names.contains(tid));
    double duration = 0;
    if (phase == "X") {
      duration = event["dur"];
      CHECK(duration > 0);
    } else {
      CHECK(event["s"] == "t");
    }
    spans[tid].emplace_back(ts, ts + duration);
    Track& track = timeline.tracks[names[tid]];
    ++track.events;
    track.count += event["args"]["count"].get<uint64_t>();
    track.busy_us += event["args"]["busy_us"].get<double>();
    track.bytes += event["args"].value("bytes", uint64_t{0});
    CHECK(event["args"]["busy_us"].get<double>() <= duration + 0.001);
    track.last_us = ts + duration;
  }
  // What is on one track does not overlap.
  for (auto& [tid, all] : spans) {
    CAPTURE(names[tid]);
    CHECK(std::is_sorted(all.begin(), all.end()));
    for (size_t i = 1; i < all.size(); ++i) CHECK(all[i - 1].second <= all[i].first + 0.001);
  }
  return timeline;
}

// The area below a graph's steps.
double sum_of(const Timeline& timeline, const std::string& graph, const char* key) {
  const auto& points = timeline.graphs.at(graph);
  double sum = 0;
  for (size_t i = 0; i + 1 < points.size(); ++i)
    sum += points[i].second[key].get<double>() * (points[i + 1].first - points[i].first);
  return sum;
}

// How often the trace tells of each event, by the name that the timeline gives it.
std::map<std::string, uint64_t> traced_events(const Recording& recording) {
  std::map<std::string, uint64_t> events;
  std::istringstream text(understudy_command("trace " + recording.path, "").said);
  for (std::string line; std::getline(text, line);) {
    if (line.compare(14, 3, "-- ") != 0) continue;
    const std::string what = line.substr(17);
    if (what.starts_with("halted") || what.starts_with("input") || what.starts_with("reset")) continue;
    ++events[what.substr(0, what.find(','))];
  }
  CHECK(!events.empty());
  return events;
}

}  // namespace

TEST_CASE("timeline: interrupts by vector, idle time, outputs and speed") {
  const Recording recording("timer");
  const Timeline all = timeline(recording);
  const double total_us = recording.end["virtual_ns"].get<double>() / 1000;
  CHECK(all.tracks.at("kernel").busy_us + all.tracks.at("idle").busy_us == doctest::Approx(total_us));
  CHECK(all.tracks.at("idle").busy_us > total_us / 2);
  CHECK_FALSE(all.tracks.contains("user"));
  const auto traced = traced_events(recording);
  CHECK(traced.at("interrupt 0x20") > 100);
  for (const auto& [name, count] : traced) {
    CAPTURE(name);
    CHECK(all.tracks.at(name).count == count);
  }
  CHECK(sum_of(all, "MIPS", "MIPS") == doctest::Approx(recording.end["icount"].get<double>()).epsilon(0.01));
  CHECK(sum_of(all, "CPU %", "idle") / 100 == doctest::Approx(all.tracks.at("idle").busy_us).epsilon(0.01));
  const Ran marks = understudy_command("log " + recording.path + " --grep output_mark --json", "");
  const Json last = Json::parse(marks.said.substr(marks.said.rfind('{', marks.said.size() - 3)));
  CHECK(all.tracks.at("out: serial0").bytes == last["total_bytes"]);
  CHECK(all.tracks.at("console").count > 3);
}

TEST_CASE("timeline: user and kernel time, exceptions and system calls") {
  for (const char* const guest : {"ring3", "ring3_long"}) {
    CAPTURE(guest);
    const Recording recording(guest);
    const Timeline all = timeline(recording, "--resolution 0");
    CHECK(all.tracks.at("user").count > 10);
    CHECK(all.tracks.at("user").count <= all.tracks.at("kernel").count + 1);
    CHECK(all.tracks.at("user").busy_us + all.tracks.at("kernel").busy_us ==
          doctest::Approx(recording.end["virtual_ns"].get<double>() / 1000).epsilon(0.001));
    CHECK(all.tracks.at("system calls").count > 0);
    for (const auto& [name, count] : traced_events(recording)) {
      CAPTURE(name);
      CHECK(all.tracks.at(name).count == count);
    }
  }
}

TEST_CASE("timeline: what is close together is merged, and nothing of it lost") {
  const Recording recording("timer");
  const Timeline fine = timeline(recording, "--resolution 0"), coarse = timeline(recording, "--resolution 20000");
  CHECK(coarse.events < fine.events / 4);
  for (const auto& [name, track] : fine.tracks) {
    CAPTURE(name);
    CHECK(coarse.tracks.at(name).count == track.count);
    CHECK(coarse.tracks.at(name).bytes == track.bytes);
    CHECK(coarse.tracks.at(name).busy_us == doctest::Approx(track.busy_us));
  }
  // A part of it.
  const Timeline part = timeline(recording, "--from 30000 --to 31000");
  CHECK(part.tracks.at("interrupt 0x20").count < fine.tracks.at("interrupt 0x20").count / 2);
}

TEST_CASE("timeline: bad usage is said in a line") {
  const Recording recording("hello");
  const auto refused = [](const std::string& arguments, const char* why) {
    const Ran ran = understudy_command("timeline " + arguments);
    CAPTURE(ran.said);
    CHECK(ran.code == 2);
    CHECK(ran.said.find(why) != std::string::npos);
  };
  refused(recording.path, "--output is required");
  refused(recording.path + " -o /nonexistent/x", "/nonexistent/x: No such file");
  refused(recording.path + " -o - --from 7 --to 5", "--to 5 is before --from 7");
  refused(recording.path + " -o - --from 99999999", "it ends at instruction");
  refused(recording.path + " -o - --resolution -1", "--resolution");
  refused("/nonexistent -o -", "/nonexistent");
}
