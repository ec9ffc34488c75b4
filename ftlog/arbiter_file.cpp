#include "ftlog/arbiter_file.h"

#include <fmt/format.h>

#include "ftlog/reign_directory.h"

namespace understudy::ftlog {

namespace {

Claim unreachable(std::string reason) { return {Verdict::unreachable, {}, std::move(reason)}; }

Claim claim(const std::string& path, const Reign& wanted, const std::atomic<bool>& given_up) {
  ReignDirectory directory(path);
  while (!given_up) {
    const auto last = directory.last();
    if (last && last->reign == wanted) {
      // Won before, by a claim that may have ended before its sync.
      directory.sync();
      return {Verdict::won, {}, {}};
    }
    if (last && last->reign.epoch >= wanted.epoch) return {Verdict::lost, last->reign, {}};
    if (!last && wanted.epoch > 1)
      return unreachable(
          fmt::format("arbiter {}: no reign is recorded there, and the first has epoch 1: another path, or "
                      "a disk that is not mounted?",
                      path));
    directory.create();
    // Ours or another's: the next turn tells.
    directory.add({last ? last->number + 1 : 1, wanted}, [&given_up] { return !given_up; });
  }
  return unreachable("given up");
}

std::string no_answer(const std::string& path) {
  return fmt::format("arbiter {}: the file system gave no answer in time", path);
}

}  // namespace

Claim FileArbiter::try_acquire(uint64_t epoch, const std::string& node) {
  check_claim(epoch, node);
  auto done = calls_.call<Claim>([path = directory_, wanted = Reign{epoch, node}](const std::atomic<bool>& given_up) {
    try {
      return claim(path, wanted, given_up);
    } catch (const std::exception& error) {
      return unreachable(error.what());
    }
  });
  return done ? *done : unreachable(no_answer(directory_));
}

Lookup FileArbiter::current() {
  auto done = calls_.call<Lookup>([path = directory_](const std::atomic<bool>&) -> Lookup {
    try {
      const auto last = ReignDirectory(path).last();
      return {true, last ? std::optional(last->reign) : std::nullopt, {}};
    } catch (const std::exception& error) {
      return {false, std::nullopt, error.what()};
    }
  });
  return done ? *done : Lookup{false, std::nullopt, no_answer(directory_)};
}

}  // namespace understudy::ftlog
