#include "primary/moment.h"

#include <unistd.h>

#include <array>
#include <charconv>
#include <csignal>
#include <stdexcept>

namespace understudy::primary {

namespace {

constexpr std::array kNames = {"input-not-logged",       "logged-not-sent", "sent-not-acknowledged",
                               "acknowledged-not-sent",  "output-sent",     "disk-request-sent",
                               "disk-answer-not-logged", "transfer",        "takeover-won",
                               "takeover-live",          "entry-applied"};
std::atomic<uint64_t> left{0};
std::atomic<bool> hangs{false};

void arm(const std::string& text, bool hang) {
  const size_t colon = text.find(':');
  uint64_t count = 1;
  if (colon != std::string::npos) {
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, count);
    if (error != std::errc() || stop != end || count == 0) throw std::invalid_argument(text + ": want NAME[:COUNT]");
  }
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (text.substr(0, colon) != kNames[i]) continue;
    left = count;
    hangs = hang;
    detail::armed = static_cast<int>(i + 1);
    return;
  }
  throw std::invalid_argument(text + ": no such moment");
}

}  // namespace

std::atomic<int> detail::armed{0};

void detail::reached() {
  if (left.fetch_sub(1) != 1) return;
  if (!hangs) ::kill(::getpid(), SIGKILL);
  while (true) ::pause();
}

static_assert(kNames.size() == static_cast<size_t>(Moment::entry_applied));

std::span<const char* const> moment_names() { return kNames; }

void kill_at(const std::string& text) { arm(text, false); }
void hang_at(const std::string& text) { arm(text, true); }

}  // namespace understudy::primary
