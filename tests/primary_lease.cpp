#include <doctest/doctest.h>

#include "primary/lease.h"

using namespace understudy::primary;
using namespace std::chrono_literals;

TEST_CASE("lease: it lasts from when something was sent that was heard, not from when that is known") {
  uint64_t now = 5'000'000'000;
  Lease lease(800ms, [&now] { return now; });
  CHECK_FALSE(lease.holds());
  const uint64_t stamp = lease.stamp();
  now += 600'000'000;
  lease.renew(stamp);
  CHECK(lease.holds());
  now += 99'000'000;
  CHECK(lease.holds());
  now += 1'000'000;
  CHECK_FALSE(lease.holds());
  // As after a stop: the word is old.
  now += 60'000'000'000;
  lease.renew(stamp);
  CHECK_FALSE(lease.holds());
  lease.renew(lease.stamp());
  CHECK(lease.holds());
  lease.end();
  CHECK_FALSE(lease.holds());
}

TEST_CASE("lease: an older word does not shorten it, and one that was never sent does not lengthen it") {
  uint64_t now = 1'000'000'000;
  Lease lease(800ms, [&now] { return now; });
  const uint64_t old = lease.stamp();
  now += 500'000'000;
  lease.renew(lease.stamp());
  lease.renew(old);
  now += 600'000'000;
  CHECK(lease.holds());
  lease.renew(lease.stamp() + 1);
  lease.renew(0);
  lease.renew(UINT64_MAX);
  now += 100'000'000;
  CHECK_FALSE(lease.holds());
}
