#include "ftlog/arbiter_file.h"

#include <fmt/format.h>

#include "ftlog/reign_directory.h"

namespace understudy::ftlog {

namespace {

Claim unreachable(std::string reason) { return {Verdict::unreachable, {}, std::move(reason)}; }

Claim won(ReignDirectory& directory) {
  directory.sync();
  return {Verdict::won, {}, {}};
}

Claim claim(const std::string& path, const Reign& wanted, const std::atomic<bool>& given_up) {
  ReignDirectory directory(path);
  while (!given_up) {
    const auto last = directory.last();
    // By a claim that was cut off, perhaps before its sync.
    if (last && last->reign == wanted) return won(directory);
    if (last && last->reign.epoch >= wanted.epoch) return {Verdict::lost, last->reign, {}};
    if (!last && wanted.epoch > 1)
      return unreachable(
          fmt::format("arbiter {}: no reign is recorded there, and the first has epoch 1: another path, or "
                      "a disk that is not mounted?",
                      path));
    directory.create();
    const uint64_t number = last ? last->number + 1 : 1;
    directory.add({number, wanted}, [&given_up] { return !given_up; });
    // Ours it is even if a newer one follows already. Another's: the next turn tells what that means.
    if (directory.read(number) == wanted) return won(directory);
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
