#include <doctest/doctest.h>

#include "primary/recent_frames.h"

using namespace understudy::primary;
using namespace std::chrono_literals;

namespace {

constexpr size_t kMost = 256;

std::vector<std::vector<uint8_t>> taken(RecentFrames& frames, RecentFrames::Clock::time_point now) {
  std::vector<std::vector<uint8_t>> all;
  frames.take(now, [&all](std::span<const uint8_t> frame) { all.emplace_back(frame.begin(), frame.end()); });
  return all;
}

}  // namespace

TEST_CASE("recent frames: a successor gets the last moments' frames, in order, once") {
  RecentFrames frames(kMost);
  const RecentFrames::Clock::time_point begin{100s};
  for (uint8_t i = 0; i < 10; ++i) frames.add(std::vector<uint8_t>{i}, begin + i * 1s);
  CHECK(taken(frames, begin + 10s) == std::vector<std::vector<uint8_t>>{{7}, {8}, {9}});
  CHECK(taken(frames, begin + 10s).empty());
}

TEST_CASE("recent frames: what is kept for a successor is bounded, and the newest") {
  RecentFrames frames(kMost);
  const RecentFrames::Clock::time_point now{100s};
  for (int i = 0; i < 5000; ++i)
    frames.add(std::vector<uint8_t>{static_cast<uint8_t>(i), static_cast<uint8_t>(i >> 8)}, now);
  CHECK(frames.size() == kMost);
  const auto all = taken(frames, now);
  CHECK(all.size() == kMost);
  CHECK(all.back() == std::vector<uint8_t>{4999 & 0xff, 4999 >> 8});
}
