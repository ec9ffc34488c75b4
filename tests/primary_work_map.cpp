// What a backup's place is worth in work of the primary's.
#include <doctest/doctest.h>

#include "primary/work_map.h"

using understudy::primary::WorkMap;

namespace {

constexpr uint64_t kMs = 1'000'000;

}  // namespace

TEST_CASE("between two notes work goes with the instructions") {
  WorkMap work;
  work.note({1000, 10}, 5 * kMs);
  work.note({2000, 20}, 15 * kMs);
  work.note({2100, 30}, 45 * kMs);
  CHECK(work.at({1000, 10}) == 5 * kMs);
  CHECK(work.at({1500, 12}) == 10 * kMs);
  CHECK(work.at({2000, 20}) == 15 * kMs);
  CHECK(work.at({2050, 29}) == 30 * kMs);
  CHECK(work.at({2100, 30}) == 45 * kMs);
}

TEST_CASE("before the first note and behind the last, work is theirs") {
  WorkMap work;
  CHECK(work.at({5, 5}) == 0);
  work.note({1000, 10}, 5 * kMs);
  CHECK(work.at({0, 0}) == 5 * kMs);
  CHECK(work.at({5000, 50}) == 5 * kMs);
  work.note({1000, 10}, 9 * kMs);
  // What the thread did while the machine stood still, nobody has to do again.
  CHECK(work.at({1000, 10}) == 9 * kMs);
}

TEST_CASE("time that a guest skips is no work") {
  WorkMap work;
  work.note({1000, 10}, 5 * kMs);
  work.note({1000, 1'000'000}, 7 * kMs);
  work.note({2000, 1'001'000}, 17 * kMs);
  CHECK(work.at({1000, 500}) == 5 * kMs);
  CHECK(work.at({1000, 999'999}) == 5 * kMs);
  CHECK(work.at({1000, 1'000'000}) == 7 * kMs);
  CHECK(work.at({1500, 1'000'500}) == 12 * kMs);
}

TEST_CASE("a backup that stands still costs notes by the work done, not by how often it was noted") {
  WorkMap work;
  work.note({0, 0}, 0);
  for (uint64_t i = 1; i <= 1'000'000; ++i) work.note({i, i}, i * 100);
  CHECK(work.notes() <= 100 * kMs / WorkMap::kGrain + 2);
  const uint64_t half = work.at({500'000, 500'000});
  CHECK(half > 49 * kMs);
  CHECK(half < 51 * kMs);
  CHECK(work.at({1'000'000, 1'000'000}) == 100 * kMs);
  CHECK(work.notes() == 1);
}
