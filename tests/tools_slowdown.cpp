#include <doctest/doctest.h>

#include "tools/slowdown.h"

using namespace understudy::tools;
using namespace std::chrono_literals;

TEST_CASE("slowdown: a window's share is told once, when it is notable") {
  const Slowdown::Clock::time_point start{};
  Slowdown slowdown(start);
  CHECK_FALSE(slowdown.add(start + 1s, 500ms));
  CHECK_FALSE(slowdown.add(start + 4s, 2s));
  CHECK(slowdown.share(start + 4s) == 0);
  const auto share = slowdown.add(start + 5s, 0ms);
  REQUIRE(share);
  CHECK(*share == doctest::Approx(0.5));
  CHECK(slowdown.share(start + 6s) == doctest::Approx(0.5));
  CHECK_FALSE(slowdown.add(start + 10s, 100ms));
  CHECK(slowdown.total() == 2600ms);
  CHECK(slowdown.share(start + 21s) == 0);
}
