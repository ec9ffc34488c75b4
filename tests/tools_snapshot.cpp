// Snapshots of whole machines that run our guests: in files, in chains of files, in memory, and damaged.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>

#include "emu/memory_snapshot.h"
#include "emu/snapshot_file.h"
#include "tests/built.h"
#include "tools/machine_setup.h"

using namespace understudy;

namespace {

constexpr uint64_t kForEver = ~0ull >> 1;

struct Scratch {
  Scratch() {
    std::string name = (std::filesystem::temp_directory_path() / "understudy-test-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Scratch() { std::filesystem::remove_all(path); }
  std::string file(const std::string& name) const { return path + "/" + name; }
  std::string path;
};

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

std::vector<char> contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void write(const std::string& path, const std::vector<char>& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// The message of the SnapshotError that a load gives, empty when it succeeds.
std::string refusal(emu::Machine& machine, const emu::MachineDescription& description, const std::string& path) {
  try {
    emu::load_snapshot(machine, description, path);
  } catch (const emu::SnapshotError& error) {
    return error.what();
  }
  return {};
}

// Clears accessed and dirty bits of pages that it goes on using, without INVLPG, and sums up what it finds in their
// entries later. Loaded and entered at 100000h, flat 32-bit, paging off:
//   tables at 200000h map 4 MiB onto themselves; CR3, CR0.PG; ECX = 20000
//   loop: mov eax, [300000h] / mov [301000h], ecx / and dword [entry of 300000h], ~60h / the same for 301000h
//         spin 20 / mov eax, [300000h] / mov [301000h], ecx / add and rotate both entries into ESI / loop
//   out 0f4h, 10h
constexpr uint8_t kTouchesEntries[] = {
    0xbc, 0x00, 0x00, 0x18, 0x00, 0xbf, 0x00, 0x00, 0x20, 0x00, 0xc7, 0x07, 0x03, 0x10, 0x20, 0x00, 0xbf, 0x00,
    0x10, 0x20, 0x00, 0xb8, 0x03, 0x00, 0x00, 0x00, 0x89, 0x07, 0x05, 0x00, 0x10, 0x00, 0x00, 0x83, 0xc7, 0x04,
    0x81, 0xff, 0x00, 0x20, 0x20, 0x00, 0x72, 0xee, 0xb8, 0x00, 0x00, 0x20, 0x00, 0x0f, 0x22, 0xd8, 0x0f, 0x20,
    0xc0, 0x0d, 0x00, 0x00, 0x00, 0x80, 0x0f, 0x22, 0xc0, 0xb9, 0x20, 0x4e, 0x00, 0x00, 0x31, 0xf6, 0xa1, 0x00,
    0x00, 0x30, 0x00, 0x89, 0x0d, 0x00, 0x10, 0x30, 0x00, 0x83, 0x25, 0x00, 0x1c, 0x20, 0x00, 0x9f, 0x83, 0x25,
    0x04, 0x1c, 0x20, 0x00, 0x9f, 0xbb, 0x14, 0x00, 0x00, 0x00, 0x4b, 0x75, 0xfd, 0xa1, 0x00, 0x00, 0x30, 0x00,
    0x89, 0x0d, 0x00, 0x10, 0x30, 0x00, 0xa1, 0x00, 0x1c, 0x20, 0x00, 0x01, 0xc6, 0xc1, 0xc6, 0x03, 0xa1, 0x04,
    0x1c, 0x20, 0x00, 0x01, 0xc6, 0xc1, 0xc6, 0x03, 0xe2, 0xbe, 0xb0, 0x10, 0xe6, 0xf4, 0xeb, 0xfe};

std::unique_ptr<devices::Pc> entry_toucher() {
  devices::PcConfig config;
  config.ram_bytes = 16 << 20;
  auto pc = std::make_unique<devices::Pc>(config, std::vector<uint8_t>{}, std::vector<devices::OptionRom>{});
  emu::BootPlan plan;
  plan.bypasses_firmware = true;
  plan.chunks.push_back({0x100000, {std::begin(kTouchesEntries), std::end(kTouchesEntries)}});
  plan.cpu.rip = 0x100000;
  plan.cpu.cr0 = 0x11;
  plan.cpu.cs = {8, 0, 0xffffffff, 0xc09b00};
  plan.cpu.ss = plan.cpu.ds = plan.cpu.es = {16, 0, 0xffffffff, 0xc09300};
  pc->start(std::move(plan));
  return pc;
}

}  // namespace

TEST_CASE("Accessed and dirty bits tell nobody when snapshots, digests or stops were") {
  auto whole = entry_toucher();
  const End expected = run_to_end(whole->machine());
  REQUIRE(expected.stop == emu::MachineStop::debug_exit);
  for (const uint64_t step : {500, 2000, 9000}) {
    CAPTURE(step);
    auto pc = entry_toucher();
    emu::SnapshotKeeper keeper(pc->machine());
    std::mt19937_64 random(step);
    emu::MemorySnapshot middle;
    for (uint64_t at = 0; at < expected.icount - step - 1;) {
      at = std::min(at + 1 + random() % step, expected.icount - 1);
      REQUIRE(pc->machine().run(at) == emu::MachineStop::limit);
      if (random() % 2) pc->machine().digest();
      if (random() % 2) middle = keeper.take();
    }
    CHECK(run_to_end(pc->machine()) == expected);
    keeper.restore(middle);
    CHECK(run_to_end(pc->machine()) == expected);
  }
}

TEST_CASE("A chain of snapshot files holds changes only and brings the machine back") {
  const Scratch scratch;
  std::ofstream(scratch.file("disk.img"), std::ios::binary).close();
  std::filesystem::resize_file(scratch.file("disk.img"), 8 << 20);
  for (const std::string name : {"hello", "paging_long", "ring3", "task_switch", "disk"}) {
    CAPTURE(name);
    const std::string disk = name == "disk" ? scratch.file("disk.img") : "";
    uint64_t total = 0;
    End expected;
    {
      auto whole = guest(name, disk);
      expected = run_to_end(whole.pc->machine());
      total = expected.icount;
      REQUIRE(expected.stop == emu::MachineStop::debug_exit);
    }
    auto first = guest(name, disk);
    const emu::MachineDescription description = first.description();
    emu::Machine& machine = first.pc->machine();
    machine.run(total / 4);
    emu::SavedSnapshot saved = emu::save_snapshot(machine, description, scratch.file("0"));
    std::vector<emu::Digest> digests{machine.digest()};
    for (unsigned i = 1; i < 4; ++i) {
      machine.run(total / 4 + total / 6 * i);
      saved = emu::save_snapshot(machine, description, scratch.file(std::to_string(i)), &saved);
      digests.push_back(machine.digest());
    }
    CHECK(run_to_end(machine) == expected);
    for (unsigned i = 0; i < 4; ++i) {
      CAPTURE(i);
      auto second = guest(name, disk);
      const emu::SavedSnapshot loaded =
          emu::load_snapshot(second.pc->machine(), second.description(), scratch.file(std::to_string(i)));
      CHECK(second.pc->machine().digest() == digests[i]);
      if (i == 3) CHECK(loaded.identity == saved.identity);
      // What was loaded can be the parent of what comes next.
      second.pc->machine().run(second.pc->machine().icount() + total / 20);
      emu::save_snapshot(second.pc->machine(), description, scratch.file("next"), &loaded);
      CHECK(run_to_end(second.pc->machine()) == expected);
      auto third = guest(name, disk);
      emu::load_snapshot(third.pc->machine(), description, scratch.file("next"));
      CHECK(run_to_end(third.pc->machine()) == expected);
    }
  }
}

TEST_CASE("An incremental snapshot is small") {
  const Scratch scratch;
  auto setup = guest("paging_long");
  emu::Machine& machine = setup.pc->machine();
  const emu::MachineDescription description = setup.description();
  machine.run(40'000);
  std::vector<uint8_t> noise(8 << 20);
  std::mt19937_64 random(1);
  for (uint8_t& byte : noise) byte = static_cast<uint8_t>(random());
  machine.memory().store(4 << 20, noise);
  const emu::SavedSnapshot full = emu::save_snapshot(machine, description, scratch.file("full"));
  CHECK(std::filesystem::file_size(full.path) > noise.size());
  machine.memory().store(5 << 20, {noise.data(), 100});
  const emu::SavedSnapshot next = emu::save_snapshot(machine, description, scratch.file("next"), &full);
  CHECK(std::filesystem::file_size(next.path) < 64 << 10);
}

TEST_CASE("Snapshots in memory leave no trace in the run and bring back any moment of it") {
  const Scratch scratch;
  std::ofstream(scratch.file("disk.img"), std::ios::binary).close();
  std::filesystem::resize_file(scratch.file("disk.img"), 8 << 20);
  for (const std::string name : {"hello64", "paging32", "paging_pae", "paging_long", "ring3", "ring3_long", "smc",
                                 "smc_long", "task_switch", "cmpxchg8b", "real_mode", "disk", "timer"}) {
    CAPTURE(name);
    const std::string disk = name == "disk" ? scratch.file("disk.img") : "";
    End expected;
    {
      auto whole = guest(name, disk);
      expected = run_to_end(whole.pc->machine());
    }
    auto setup = guest(name, disk);
    emu::Machine& machine = setup.pc->machine();
    emu::SnapshotKeeper keeper(machine);
    std::mt19937_64 random(42);
    std::vector<uint64_t> counts;
    for (int i = 0; i < 25; ++i) counts.push_back(random() % expected.icount);
    std::ranges::sort(counts);
    std::vector<emu::MemorySnapshot> snapshots;
    std::vector<emu::Digest> digests;
    for (const uint64_t count : counts) {
      REQUIRE(machine.run(count) == emu::MachineStop::limit);
      snapshots.push_back(keeper.take());
      // Some moments have a digest of their own, taken before or after the snapshot; it must not matter.
      digests.push_back(machine.digest());
      CHECK(snapshots.back().icount() == count);
    }
    CHECK(run_to_end(machine) == expected);
    for (int i = 0; i < 25; ++i) {
      const size_t k = random() % snapshots.size();
      CAPTURE(counts[k]);
      keeper.restore(snapshots[k]);
      CHECK(machine.icount() == counts[k]);
      CHECK(machine.digest() == digests[k]);
      if (k + 1 < snapshots.size()) {
        machine.run(counts[k + 1]);
        CHECK(machine.digest() == digests[k + 1]);
      }
      if (i % 5 == 0) snapshots[k] = keeper.take(), digests[k] = machine.digest(), counts[k] = machine.icount();
      if (i % 8 == 0) CHECK(run_to_end(machine) == expected);
    }
  }
}

TEST_CASE("A snapshot in memory costs what changed") {
  auto setup = guest("hello");
  emu::Machine& machine = setup.pc->machine();
  emu::SnapshotKeeper keeper(machine);
  const emu::MemorySnapshot first = keeper.take();
  CHECK(keeper.pages_added() > 0);
  const emu::MemorySnapshot again = keeper.take();
  CHECK(keeper.pages_added() == 0);
  const uint8_t byte = 1;
  machine.memory().store(0x500000, {&byte, 1});
  machine.memory().store(0x600fff, {&byte, 1});
  keeper.take();
  CHECK(keeper.pages_added() == 2);
  keeper.restore(first);
  CHECK(machine.memory().load32(0x500000) == 0);
}

TEST_CASE("A RAM digest depends on the bytes, not on when digests were taken") {
  emu::PhysicalMemory one(2 << 20), two(2 << 20);
  emu::PageHashes often(one), once(two);
  std::mt19937_64 random(7);
  for (int i = 0; i < 200; ++i) {
    const uint64_t address = random() % ((2 << 20) - 8);
    const uint64_t value = i % 3 == 0 ? 0 : random();
    for (emu::PhysicalMemory* memory : {&one, &two})
      memory->store(address, {reinterpret_cast<const uint8_t*>(&value), sizeof value});
    if (i % 7 == 0) often.digest();
  }
  CHECK(often.digest() == once.digest());
  const uint64_t before = often.digest();
  const uint8_t byte = 0x5a;
  one.store(12345, {&byte, 1});
  CHECK(often.digest() != before);
  one.clear();
  emu::PhysicalMemory empty(2 << 20);
  CHECK(often.digest() == emu::PageHashes(empty).digest());
}

TEST_CASE("A snapshot of another machine is refused with the keys that differ") {
  const Scratch scratch;
  auto setup = guest("hello");
  emu::MachineDescription description = setup.description();
  emu::save_snapshot(setup.pc->machine(), description, scratch.file("s"));
  emu::MachineDescription other;
  for (const auto& [key, value] : description.entries()) other.add(key, key == "engine" ? "Unicorn 9.9.9" : value);
  other.add("disk0.xxh3", "0123456789abcdef");
  const std::string message = refusal(setup.pc->machine(), other, scratch.file("s"));
  CHECK(message.find("engine is Unicorn 2.") != std::string::npos);
  CHECK(message.find("Unicorn 9.9.9 in this machine") != std::string::npos);
  CHECK(message.find("disk0.xxh3 is nothing in the snapshot and 0123456789abcdef in this machine") !=
        std::string::npos);
  CHECK(message.find("memory") == std::string::npos);
  CHECK(message.find('\n') == std::string::npos);
}

TEST_CASE("A description survives its text and refuses what is none") {
  emu::MachineDescription description;
  description.add("memory", "64 MiB");
  description.add("disk0.path", "a: b\n\x80");
  const auto again = emu::MachineDescription::from_text(description.to_text());
  CHECK(again.entries() == description.entries());
  CHECK(*again.find("disk0.path") == "a: b??");
  for (const char* text : {"memory", "memory: 1", ": 1\n", "a: 1\na: 2\n", "a: \x01\n", "a\n: 1\n"})
    CHECK_THROWS_AS(emu::MachineDescription::from_text(text), std::runtime_error);
  CHECK_THROWS_AS(emu::MachineDescription::from_text("a: " + std::string(70000, 'x') + "\n"), std::runtime_error);
}

TEST_CASE("Damaged snapshots give one line and leave the machine alone") {
  const Scratch scratch;
  auto setup = guest("hello");
  emu::Machine& machine = setup.pc->machine();
  const emu::MachineDescription description = setup.description();
  machine.run(3000);
  const emu::SavedSnapshot parent = emu::save_snapshot(machine, description, scratch.file("parent"));
  machine.run(5000);
  emu::save_snapshot(machine, description, scratch.file("child"), &parent);
  const emu::Digest here = machine.digest();
  std::mt19937_64 random(20261124);
  auto refused = [&](const std::string& what) {
    CAPTURE(what);
    const std::string message = refusal(machine, description, scratch.file("child"));
    CHECK(message.starts_with("snapshot " + scratch.path));
    CHECK(message.find('\n') == std::string::npos);
    CHECK(machine.digest() == here);
  };
  for (const std::string name : {"child", "parent"}) {
    const std::vector<char> good = contents(scratch.file(name));
    REQUIRE(good.size() > 500);
    for (int i = 0; i < 400; ++i) {
      std::vector<char> bad = good;
      const size_t at = i < 200 ? static_cast<size_t>(i) : random() % bad.size();
      bad[at] = static_cast<char>(bad[at] ^ 1 << random() % 8);
      write(scratch.file(name), bad);
      refused(fmt::format("a flip at {} of {}", at, name));
    }
    for (int i = 0; i < 100; ++i) {
      std::vector<char> bad = good;
      bad.resize(i < 50 ? static_cast<size_t>(i) : random() % good.size());
      write(scratch.file(name), bad);
      refused(fmt::format("{} cut to {}", name, bad.size()));
    }
    std::vector<char> longer = good;
    longer.push_back(0);
    write(scratch.file(name), longer);
    refused(name + " with a byte too many");
    std::filesystem::remove(scratch.file(name));
    refused("no " + name);
    std::filesystem::create_directory(scratch.file(name));
    refused(name + " is a folder");
    std::filesystem::remove(scratch.file(name));
    write(scratch.file(name), good);
  }
  // Another file of this machine in the parent's place; the child as its own parent.
  emu::save_snapshot(machine, description, scratch.file("parent"));
  refused("another parent");
  std::filesystem::copy_file(scratch.file("child"), scratch.file("parent"),
                             std::filesystem::copy_options::overwrite_existing);
  refused("its own parent");
}
