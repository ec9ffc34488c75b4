#include <doctest/doctest.h>

#include <thread>

#include "devices/user_stack.h"
#include "tests/fake_guest.h"

using namespace understudy::devices;
using namespace understudy::net_test;

namespace {

// Polls once, for as long as it is told to.
void go_round(UserStack& stack) {
  std::vector<pollfd> polls;
  const int wait = stack.add_polls(polls);
  const int ready = ::poll(polls.data(), polls.size(), wait);
  stack.serve(ready < 0 ? std::span<const pollfd>() : std::span<const pollfd>(polls));
}

Bytes who_has_the_host() {
  Bytes frame;
  put(frame, Mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), put(frame, FakeGuest::kMac), put16(frame, 0x0806);
  put16(frame, 1), put16(frame, 0x0800), put8(frame, 6), put8(frame, 4), put16(frame, 1);
  put(frame, FakeGuest::kMac), put32(frame, ip4(10, 0, 2, 15)), put(frame, Mac{}), put32(frame, ip4(10, 0, 2, 2));
  return frame;
}

}  // namespace

TEST_SUITE("user stack") {
  TEST_CASE("user stack: answers come on the thread that serves it, and at no other time") {
    std::vector<std::thread::id> answers;
    UserStack stack({}, [&](View) {
      answers.push_back(std::this_thread::get_id());
      return true;
    });
    for (size_t n = 1; n <= 3; ++n) {
      stack.send(who_has_the_host());
      CHECK(answers.size() == n - 1);
      // What waits is not waited for.
      std::vector<pollfd> polls;
      CHECK(stack.add_polls(polls) == 0);
      go_round(stack);
      CHECK(answers == std::vector(n, std::this_thread::get_id()));
    }
    CHECK(stack.counts().frames_out == 3);
    CHECK(stack.counts().frames_in == 3);
  }

  TEST_CASE("user stack: so many frames wait and no more, and what poll() could not say is no harm") {
    UserStack stack({}, [](View) { return true; });
    for (size_t n = 0; n < UserStack::kMaxWaiting + 7; ++n) stack.send(who_has_the_host());
    stack.send(Bytes(kMinFrame - 1));
    stack.serve({});
    CHECK(stack.counts().frames_out == UserStack::kMaxWaiting);
    CHECK(stack.counts().frames_in == UserStack::kMaxWaiting);
    CHECK(stack.counts().out_queue_full == 7);
    CHECK(stack.counts().out_bad_size == 1);
  }
}
