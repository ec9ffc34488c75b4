// What a thread asks of the scheduler for the sake of who waits for it. Kernels before 6.12 say nothing of slices (0).
#include <doctest/doctest.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <thread>

#include "ftlog/short_slice.h"

namespace {

struct Attributes {
  uint32_t size = sizeof(Attributes), policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime_ns = 0, deadline_ns = 0, period_ns = 0;
};

Attributes mine() {
  Attributes attributes;
  REQUIRE(::syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) == 0);
  return attributes;
}

}  // namespace

TEST_CASE("short slices are a thread's while it asks, and those of the threads that it starts") {
  const Attributes before = mine();
  const bool told = before.runtime_ns != 0 && before.policy == SCHED_OTHER;
  std::thread child;
  uint64_t childs = 0;
  {
    const understudy::ftlog::ShortSlice slice;
    const Attributes during = mine();
    CHECK(during.policy == before.policy);
    CHECK(during.nice == before.nice);
    if (told) CHECK(during.runtime_ns < before.runtime_ns);
    child = std::thread([&childs] { childs = mine().runtime_ns; });
  }
  child.join();
  if (told) CHECK(childs < before.runtime_ns);
  CHECK(mine().runtime_ns == before.runtime_ns);
  CHECK(mine().nice == before.nice);
}
