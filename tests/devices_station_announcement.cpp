#include <doctest/doctest.h>

#include <vector>

#include "devices/station_announcement.h"

using namespace understudy::devices;
using namespace std::chrono_literals;

TEST_CASE("a station that moved asks by RARP for its own address") {
  const auto frame = station_announcement({0x52, 0x54, 0, 0x12, 0x34, 0x56});
  const std::vector<uint8_t> wanted{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0,    0x12, 0x34, 0x56, 0x80, 0x35,
                                    0,    1,    8,    0,    6,    4,    0,    3,    0x52, 0x54, 0,    0x12, 0x34, 0x56,
                                    0,    0,    0,    0,    0x52, 0x54, 0,    0x12, 0x34, 0x56, 0,    0,    0,    0};
  CHECK(std::vector<uint8_t>(frame.begin(), frame.begin() + 42) == wanted);
  CHECK(frame.size() == kEthernetMinFrame);
}

TEST_CASE("a station announces itself several times within seconds, and not more often when it is late") {
  StationAnnouncer announcer({2, 0, 0, 0, 0, 1});
  const StationAnnouncer::Clock::time_point begin{100s};
  int said = 0;
  const auto say = [&said](std::span<const uint8_t>) { ++said; };
  CHECK_FALSE(announcer.poll(begin, say));
  CHECK(said == 0);
  announcer.begin(begin);
  CHECK(announcer.poll(begin, say));
  CHECK(announcer.poll(begin + 10ms, say));
  CHECK(said == 1);
  CHECK(announcer.poll(begin + 160ms, say));
  CHECK(said == 2);
  CHECK_FALSE(announcer.poll(begin + 3s, say));
  CHECK_FALSE(announcer.poll(begin + 4s, say));
  CHECK(said == 3);
}
