// What a replica's user is told while its hub does not let it in: each trouble once, and that it is over. The link goes
// on trying meanwhile. On the link's thread.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <set>
#include <string>

namespace understudy::primary {

class HubTrouble {
 public:
  using Clock = std::chrono::steady_clock;
  // No answer for so long is trouble.
  static constexpr std::chrono::seconds kPatience{3};

  // `tell` may be empty; it gets one line, which begins with the hub's address.
  HubTrouble(std::string address, std::function<void(const std::string&)> tell);

  // Something keeps this replica out.
  void note(const std::string& what);
  // Whether an answer of the hub's is missing just now; it is waited for from the first time that this is said.
  void waits(bool waiting, Clock::time_point now);
  // When waits() should be said again at the latest.
  std::optional<Clock::time_point> due() const;
  // The hub has let this replica in.
  void over();

 private:
  const std::string address_;
  const std::function<void(const std::string&)> tell_;
  std::set<std::string> told_;
  std::optional<Clock::time_point> since_;
};

}  // namespace understudy::primary
