// Tells a network where a station is now, without knowing its protocols: a RARP request (RFC 903) of the station for
// its own address, which switches and bridges learn from and hosts ignore. A station that has moved to another host
// says it several times over the first seconds: a port that has just come up may swallow the first ones.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <span>

#include "devices/ethernet.h"

namespace understudy::devices {

std::array<uint8_t, kEthernetMinFrame> station_announcement(const MacAddress& station);

class StationAnnouncer {
 public:
  using Clock = std::chrono::steady_clock;
  explicit StationAnnouncer(const MacAddress& station) : frame_(station_announcement(station)) {}

  // The station is here from now on.
  void begin(Clock::time_point now);
  // To be called often. False once there is nothing more to say.
  bool poll(Clock::time_point now, const std::function<void(std::span<const uint8_t> frame)>& send);

 private:
  static constexpr std::array<std::chrono::milliseconds, 8> kAfter{
      {std::chrono::milliseconds(0), std::chrono::milliseconds(20), std::chrono::milliseconds(50),
       std::chrono::milliseconds(150), std::chrono::milliseconds(300), std::chrono::milliseconds(600),
       std::chrono::milliseconds(1200), std::chrono::milliseconds(2500)}};
  std::array<uint8_t, kEthernetMinFrame> frame_;
  Clock::time_point began_;
  size_t next_ = kAfter.size();
};

}  // namespace understudy::devices
