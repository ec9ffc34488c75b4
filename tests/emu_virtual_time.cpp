#include <doctest/doctest.h>

#include "emu/io_timing.h"
#include "emu/virtual_time.h"

using namespace understudy;

TEST_CASE("virtual time: an access to a port takes its bus cycle on top of the instruction") {
  uint64_t icount = 1000;
  emu::VirtualTime time([&] { return icount; });
  CHECK(time.now_ns() == 4000);
  time.pass(emu::port_access_ns(0x80));
  CHECK(time.now_ns() == 5000);
  CHECK(time.ns_at(1001) == 5004);
  CHECK(time.icount_at(5004) == 1001);
  // What is due before the access ends is due at once: no count lies before the present.
  CHECK(time.icount_at(4999) <= 1000);
}

TEST_CASE("virtual time: counts and times are each other's inverse across a skip and a change of rate") {
  uint64_t icount = 0;
  emu::VirtualTime time([&] { return icount; });
  time.skip_to(500, 1'000'000);
  CHECK(time.idle_ns() == 1'000'000 - 2000);
  CHECK(time.ns_at(500) == 1'000'000);
  time.set_rate(750, 3333);
  CHECK(time.ns_at(750) == 1'001'000);
  for (uint64_t count = 750; count < 1750; count += 7) {
    CAPTURE(count);
    CHECK(time.icount_at(time.ns_at(count)) <= count);
    CHECK(time.ns_at(time.icount_at(time.ns_at(count) + 1)) > time.ns_at(count));
  }
}
