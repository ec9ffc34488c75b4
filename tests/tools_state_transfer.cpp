// State transfer between whole machines that run our guests, while they run.
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "backup/state_receiver.h"
#include "primary/state_sender.h"
#include "tests/built.h"
#include "tools/machine_setup.h"

using namespace understudy;

namespace {

constexpr uint64_t kForEver = ~0ull >> 1;

tools::MachineSetup guest(const std::string& name, const std::string& disk = {}) {
  tools::RunOptions options;
  options.images = {std::string(built::kFirmware) + "/" + name + ".elf"};
  options.memory_mib = 16;
  if (!disk.empty()) options.disks = {disk};
  return tools::set_up_machine(options, 1767225600);
}

struct End {
  emu::MachineStop stop;
  uint64_t icount;
  emu::Digest digest;
  bool operator==(const End&) const = default;
};
End run_to_end(emu::Machine& machine) {
  const emu::MachineStop stop = machine.run(kForEver);
  return {stop, machine.icount(), machine.digest()};
}

// Transfers while `from` runs on in slices to `at`, where `to` becomes equal to it.
void transfer(emu::Machine& from, emu::Machine& to, uint64_t at, std::mt19937_64& random) {
  backup::StateReceiver receiver(to);
  bool complete = false;
  const auto sink = [&](std::vector<uint8_t>&& chunk) {
    REQUIRE_FALSE(complete);
    complete = receiver.accept(chunk);
  };
  primary::StateSender sender(from);
  const uint64_t slice = at / 20 + 1;
  while (from.icount() < at) {
    REQUIRE(from.run(std::min(at, from.icount() + 1 + random() % slice)) == emu::MachineStop::limit);
    sender.step(random() % 300, sink);
  }
  sender.finish(sink);
  REQUIRE(complete);
  CHECK(sender.counts().rounds > 1);
  CHECK(receiver.progress().pages == sender.counts().pages);
  CHECK(receiver.progress().bytes == sender.counts().bytes);
  CHECK(to.icount() == from.icount());
  CHECK(to.now_ns() == from.now_ns());
  CHECK(to.digest() == from.digest());
}

}  // namespace

TEST_CASE("a guest's state goes over while it runs, and both ends run on to the same end") {
  for (const auto* name :
       {"paging_pae", "paging_long", "smc", "timer", "ring3", "task_switch", "apic_timer", "fpu_sse", "real_mode"}) {
    CAPTURE(name);
    const auto alone = guest(name);
    const End expected = run_to_end(alone.pc->machine());
    REQUIRE(expected.stop == emu::MachineStop::debug_exit);
    std::mt19937_64 random(expected.icount);
    const auto from = guest(name);
    auto to = guest(name);
    transfer(from.pc->machine(), to.pc->machine(), expected.icount / 2, random);
    CHECK(run_to_end(to.pc->machine()) == expected);
    CHECK(run_to_end(from.pc->machine()) == expected);
  }
}

TEST_CASE("what a guest wrote to its disk goes over too, and on to a third machine") {
  std::string path = (std::filesystem::temp_directory_path() / "understudy-disk-XXXXXX").string();
  const int fd = ::mkstemp(path.data());
  REQUIRE(fd >= 0);
  REQUIRE(::ftruncate(fd, 8 << 20) == 0);
  ::close(fd);
  const auto alone = guest("disk", path);
  const End expected = run_to_end(alone.pc->machine());
  REQUIRE(expected.stop == emu::MachineStop::debug_exit);
  std::mt19937_64 random(1);
  auto from = guest("disk", path), to = guest("disk", path), third = guest("disk", path);
  transfer(from.pc->machine(), to.pc->machine(), expected.icount / 3, random);
  transfer(to.pc->machine(), third.pc->machine(), expected.icount * 2 / 3, random);
  CHECK(run_to_end(third.pc->machine()) == expected);
  CHECK(run_to_end(to.pc->machine()) == expected);
  CHECK(run_to_end(from.pc->machine()) == expected);
  std::vector<uint8_t> bytes(8 << 20), others(8 << 20);
  REQUIRE(alone.drives.at(0).image->read(0, bytes));
  REQUIRE(third.drives.at(0).image->read(0, others));
  CHECK(bytes == others);
  std::filesystem::remove(path);
}
