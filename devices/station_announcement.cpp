#include "devices/station_announcement.h"

#include <algorithm>

namespace understudy::devices {

std::array<uint8_t, kEthernetMinFrame> station_announcement(const MacAddress& station) {
  // RFC 903: laid out as ARP (RFC 826), Ethernet type 8035h, operation 3. IP addresses are zero: they are what is
  // asked.
  constexpr std::array<uint8_t, 10> kRequest{0x80, 0x35, 0, 1, 0x08, 0, 6, 4, 0, 3};
  constexpr size_t kSource = 6, kRequestAt = 12, kSenderAt = 22, kTargetAt = 32;
  std::array<uint8_t, kEthernetMinFrame> frame{};
  std::fill_n(frame.begin(), station.size(), uint8_t{0xff});
  for (const size_t at : {kSource, kSenderAt, kTargetAt}) std::copy(station.begin(), station.end(), frame.begin() + at);
  std::copy(kRequest.begin(), kRequest.end(), frame.begin() + kRequestAt);
  return frame;
}

void StationAnnouncer::begin(Clock::time_point now) {
  began_ = now;
  next_ = 0;
}

bool StationAnnouncer::poll(Clock::time_point now, const std::function<void(std::span<const uint8_t>)>& send) {
  if (next_ < kAfter.size() && now - began_ >= kAfter[next_]) {
    // Who comes late says it once.
    while (next_ < kAfter.size() && now - began_ >= kAfter[next_]) ++next_;
    send(frame_);
  }
  return next_ < kAfter.size();
}

}  // namespace understudy::devices
