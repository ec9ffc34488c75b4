// When what a machine sends may leave: by its backup's word, by its own disk's, or both.
#include <doctest/doctest.h>

#include "primary/output_commit.h"
#include "tests/replay_rig.h"

using namespace understudy;
using namespace understudy::test;

namespace {

// A toy that has sent three times, each marked: sequences 1, 2 and 3.
struct Sent {
  ToyMachine toy{Guest::sleeps};
  emu::ChannelId channel = toy.machine().world().channel("toy");
  primary::OutputCommit outputs{toy.machine()};
  std::string out;

  Sent() {
    outputs.gate(channel, 0);
    outputs.connect(channel, [this](uint64_t, std::span<const uint8_t> bytes) {
      out.append(bytes.begin(), bytes.end());
      return true;
    });
  }
  void send() {
    for (uint64_t sequence = 1; sequence <= 3; ++sequence) {
      const uint8_t byte = static_cast<uint8_t>('a' + sequence - 1);
      toy.machine().world().emit(channel, {&byte, 1});
      outputs.mark(sequence);
    }
  }
};

}  // namespace

TEST_CASE("output commit: with a disk that counts, the later word lets an output go") {
  Sent sent;
  sent.outputs.require_disk(0);
  SUBCASE("the backup's first") {
    sent.send();
    sent.outputs.release(2);
    CHECK(sent.out.empty());
    CHECK(sent.outputs.delivered() == 0);
    sent.outputs.on_disk(1);
    CHECK(sent.out == "a");
    sent.outputs.on_disk(3);
    CHECK(sent.out == "ab");
    sent.outputs.release(3);
    CHECK(sent.out == "abc");
    CHECK(sent.outputs.delivered() == 3);
  }
  SUBCASE("the disk's first") {
    sent.send();
    sent.outputs.on_disk(3);
    CHECK(sent.out.empty());
    sent.outputs.release(1);
    CHECK(sent.out == "a");
  }
  SUBCASE("alone, the disk's only") {
    sent.outputs.open();
    sent.send();
    CHECK(sent.out.empty());
    sent.outputs.on_disk(2);
    CHECK(sent.out == "ab");
  }
}

TEST_CASE("output commit: without one, its word means nothing") {
  Sent sent;
  sent.send();
  sent.outputs.on_disk(3);
  CHECK(sent.out.empty());
  CHECK(sent.outputs.disk() == UINT64_MAX);
  sent.outputs.release(3);
  CHECK(sent.out == "abc");
}

TEST_CASE("output commit: the longest wait counts while it lasts, and once when it is over") {
  using namespace std::chrono_literals;
  Sent sent;
  CHECK(sent.outputs.take_longest_wait() == 0us);
  sent.send();
  for (const auto until = std::chrono::steady_clock::now() + 2ms; std::chrono::steady_clock::now() < until;) {
  }
  CHECK(sent.outputs.take_longest_wait() >= 2ms);
  CHECK(sent.outputs.take_longest_wait() >= 2ms);
  sent.outputs.release(3);
  CHECK(sent.outputs.take_longest_wait() >= 2ms);
  CHECK(sent.outputs.take_longest_wait() == 0us);
  // Alone nothing waits for anybody.
  sent.send();
  sent.outputs.open();
  CHECK(sent.outputs.take_longest_wait() == 0us);
}

TEST_CASE("output commit: the machine comes back soon for a short output, and lets long ones gather") {
  Sent sent;
  emu::Machine& machine = sent.toy.machine();
  const std::vector<uint8_t> bytes(1514);
  const auto send = [&](size_t size) { machine.world().emit(sent.channel, std::span(bytes).first(size)); };
  // jmp $
  const uint8_t code[] = {0xeb, 0xfe};
  machine.memory().store(0x1000, code);
  uint64_t least = 0;
  const auto ran = [&] {
    const uint64_t before = machine.icount();
    CHECK(machine.run(before + 10'000'000, emu::Machine::Idle::report) == emu::MachineStop::limit);
    return machine.icount() - before;
  };
  SUBCASE("not at all while nobody wants it") {
    send(60);
    CHECK(ran() == 10'000'000);
    return;
  }
  sent.outputs.be_prompt(true);
  SUBCASE("a short one") {
    least = 5'000;
    send(60);
  }
  SUBCASE("long ones") {
    least = 60'000;
    send(1514);
    send(1000);
  }
  SUBCASE("a short one behind a long one") {
    least = 5'000;
    send(1514);
    send(999);
  }
  SUBCASE("a long one behind a short one") {
    least = 5'000;
    send(999);
    send(1514);
  }
  const uint64_t instructions = ran();
  CHECK(instructions >= least);
  CHECK(instructions < least + 100);
  sent.outputs.mark(1);
  CHECK(ran() == 10'000'000);
}
