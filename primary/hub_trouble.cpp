#include "primary/hub_trouble.h"

#include <fmt/format.h>

#include <utility>

namespace understudy::primary {

HubTrouble::HubTrouble(std::string address, std::function<void(const std::string&)> tell)
    : address_(std::move(address)), tell_(std::move(tell)) {}

void HubTrouble::note(const std::string& what) {
  if (told_.insert(what).second && tell_) tell_(fmt::format("hub {}: {}", address_, what));
}

void HubTrouble::waits(bool waiting, Clock::time_point now) {
  if (!waiting) {
    since_.reset();
  } else if (!since_) {
    since_ = now;
  } else if (now - *since_ >= kPatience && told_.empty()) {
    note(fmt::format("no answer for {} s; it is tried until there is one", kPatience.count()));
  }
}

std::optional<HubTrouble::Clock::time_point> HubTrouble::due() const {
  if (!since_ || !told_.empty()) return std::nullopt;
  return *since_ + kPatience;
}

void HubTrouble::over() {
  if (!told_.empty() && tell_) tell_(fmt::format("hub {}: it has let this node in now", address_));
  told_.clear();
  since_.reset();
}

}  // namespace understudy::primary
