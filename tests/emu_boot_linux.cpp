#include <doctest/doctest.h>

#include "emu/boot_linux.h"
#include "tests/boot_images.h"

using namespace understudy;
using namespace understudy::tests;
using emu::InitialCpu;
using emu::LinuxBoot;
using emu::LinuxEntry;
using emu::MemoryLayout;

namespace {
constexpr uint64_t kMiB = 1 << 20;

struct Setup {
  Image kernel = small_bzimage();
  Image initrd;
  LinuxBoot boot;
  uint64_t ram = 64 * kMiB;

  emu::BootPlan plan() {
    boot.kernel_name = "vmlinuz";
    boot.kernel = kernel;
    boot.initrd_name = "initrd.gz";
    boot.initrd = initrd;
    return emu::plan_linux(boot, MemoryLayout(ram));
  }
  void refused(const std::string& words) {
    check_refused([&] { plan(); }, "vmlinuz", words);
  }
};
}  // namespace

TEST_CASE("boot linux: the 32-bit protocol") {
  Setup s;
  s.initrd = Image(10000, 0x5a);
  s.boot.command_line = "console=ttyS0 quiet";
  s.boot.rsdp_address = 0xf0000;
  const auto plan = s.plan();
  CHECK(is_sound(plan, MemoryLayout(s.ram)));
  CHECK(plan.bypasses_firmware);
  CHECK(plan.roms.empty());

  // The payload without its setup sectors, at the preferred address.
  CHECK(planned(plan, 0x1000000, 64 << 10) == Image(s.kernel.begin() + 1024, s.kernel.end()));

  // boot.rst: "32-bit boot protocol".
  const InitialCpu& cpu = plan.cpu;
  CHECK(cpu.rip == 0x1000000);
  CHECK((cpu.cr0 & 0x80000001) == 1);
  CHECK(cpu.efer == 0);
  CHECK(cpu.rflags == 2);
  CHECK(cpu.cs.selector == 0x10);
  CHECK(cpu.cs.limit == 0xffffffff);
  CHECK(cpu.cs.access == 0x00cf9b00);
  for (const auto& seg : {cpu.ds, cpu.es, cpu.ss}) {
    CHECK(seg.selector == 0x18);
    CHECK(seg.access == 0x00cf9300);
    CHECK(seg.limit == 0xffffffff);
  }
  CHECK(cpu.general[InitialCpu::rbp] == 0);
  CHECK(cpu.general[InitialCpu::rdi] == 0);
  CHECK(cpu.general[InitialCpu::rbx] == 0);
  CHECK(planned_value(plan, cpu.gdtr.base + 0x10, 8) == 0x00cf9b000000ffff);
  CHECK(planned_value(plan, cpu.gdtr.base + 0x18, 8) == 0x00cf93000000ffff);
  CHECK(cpu.gdtr.limit == 31);

  const uint64_t page = cpu.general[InitialCpu::rsi];
  CHECK(planned_value(plan, page + 0x202, 4) == 0x53726448);
  CHECK(planned_value(plan, page + 0x210, 1) == 0xff);
  CHECK(planned_value(plan, page + 0x214, 4) == 0x1000000);
  CHECK(planned_value(plan, page + 0x70, 8) == 0xf0000);
  CHECK(planned_text(plan, planned_value(plan, page + 0x228, 4)) == "console=ttyS0 quiet");
  const uint64_t initrd = planned_value(plan, page + 0x218, 4);
  CHECK(initrd % 4096 == 0);
  CHECK(planned_value(plan, page + 0x21c, 4) == 10000);
  CHECK(planned(plan, initrd, 10000) == s.initrd);
  // As high as possible, below the firmware tables.
  CHECK(initrd == ((64 * kMiB - MemoryLayout::kTableArea - 10000) & ~0xfffull));
}

TEST_CASE("boot linux: the e820 map in the zero page is the machine's") {
  Setup s;
  const auto plan = s.plan();
  const uint64_t page = plan.cpu.general[InitialCpu::rsi];
  const auto ranges = MemoryLayout(s.ram).ranges();
  REQUIRE(planned_value(plan, page + 0x1e8, 1) == ranges.size());
  for (size_t i = 0; i < ranges.size(); ++i) {
    CHECK(planned_value(plan, page + 0x2d0 + 20 * i, 8) == ranges[i].base);
    CHECK(planned_value(plan, page + 0x2d8 + 20 * i, 8) == ranges[i].length);
    CHECK(planned_value(plan, page + 0x2e0 + 20 * i, 4) == static_cast<uint32_t>(ranges[i].type));
  }
  CHECK(ranges[0].length == 0x9fc00);
  CHECK(ranges[3].base == 0x100000);
  CHECK(ranges[3].base + ranges[3].length + MemoryLayout::kTableArea == s.ram);
  CHECK(planned_value(plan, 0x40e, 2) == 0x9fc0);
}

TEST_CASE("boot linux: the 64-bit protocol") {
  Setup s;
  s.boot.entry = LinuxEntry::bits64;
  const auto plan = s.plan();
  CHECK(is_sound(plan, MemoryLayout(s.ram)));
  const InitialCpu& cpu = plan.cpu;
  CHECK(cpu.rip == 0x1000200);
  CHECK(cpu.cr0 == 0x80000011);
  CHECK(cpu.cr4 == 0x20);
  CHECK(cpu.efer == 0x500);
  CHECK(cpu.cs.selector == 0x10);
  CHECK(cpu.cs.access == 0x00af9b00);
  CHECK(planned_value(plan, cpu.gdtr.base + 0x10, 8) == 0x00af9b000000ffff);
  // Walk the page tables for addresses all over the first 4 GiB.
  for (uint64_t address :
       {0ull, 0x1000200ull, 0x3fffffffull, 0x40000000ull, 0xbfe12345ull, 0xfee00000ull, 0xffffffffull}) {
    const uint64_t pml4e = planned_value(plan, cpu.cr3 + 8 * (address >> 39 & 511), 8);
    REQUIRE((pml4e & 0x83) == 3);
    const uint64_t pdpte = planned_value(plan, (pml4e & ~0xfffull) + 8 * (address >> 30 & 511), 8);
    REQUIRE((pdpte & 0x83) == 3);
    const uint64_t pde = planned_value(plan, (pdpte & ~0xfffull) + 8 * (address >> 21 & 511), 8);
    REQUIRE((pde & 0x83) == 0x83);
    CHECK(((pde & ~0x1fffffull) | (address & 0x1fffff)) == address);
  }
  put(s.kernel, 0x236, 0, 2);
  s.refused("no 64-bit entry");
  put(s.kernel, 0x236, 3, 2);
  put(s.kernel, 0x206, 0x20b, 2);  // the flag is younger than this protocol
  s.refused("no 64-bit entry");
}

TEST_CASE("boot linux: where the kernel goes") {
  Setup s;
  SUBCASE("not relocatable: 1 MiB") {
    put(s.kernel, 0x234, 0, 1);
    CHECK(s.plan().cpu.rip == 0x100000);
  }
  SUBCASE("relocatable without a preferred address: 1 MiB, aligned") {
    put(s.kernel, 0x206, 0x205, 2);
    CHECK(s.plan().cpu.rip == 0x200000);
  }
  SUBCASE("fields past the end of a short header do not count") {
    put(s.kernel, 0x201, 0x258 - 0x202, 1);  // ends where pref_address would start
    CHECK(s.plan().cpu.rip == 0x200000);
    put(s.kernel, 0x201, 0x262 - 0x202, 1);  // init_size is cut off, and so is too small to matter
    put(s.kernel, 0x260, 0x7fffffff, 4);
    CHECK(s.plan().cpu.rip == 0x1000000);
  }
  SUBCASE("an entry point beyond the start") {
    put(s.kernel, 0x214, 0x100040, 4);
    CHECK(s.plan().cpu.rip == 0x1000040);
  }
  SUBCASE("init_size is memory that the initrd keeps out of") {
    put(s.kernel, 0x260, 40 * kMiB, 4);
    s.initrd = Image(7 * kMiB);
    const auto plan = s.plan();
    CHECK(planned_value(plan, plan.cpu.general[InitialCpu::rsi] + 0x218, 4) >= 56 * kMiB);
    s.initrd = Image(8 * kMiB);
    check_refused([&] { s.plan(); }, "initrd.gz", "does not fit");
  }
  SUBCASE("the initrd respects initrd_addr_max") {
    put(s.kernel, 0x22c, 0x1ffffff, 4);
    s.initrd = Image(5000);
    const auto plan = s.plan();
    CHECK(planned_value(plan, plan.cpu.general[InitialCpu::rsi] + 0x218, 4) == 0x1ffe000);
  }
  SUBCASE("zero setup sectors mean four") {
    put(s.kernel, 0x1f1, 0, 1);
    put(s.kernel, 0x1f4, 0, 4);
    CHECK(planned(s.plan(), 0x1000000, 16) == Image(s.kernel.begin() + 2560, s.kernel.begin() + 2576));
  }
}

TEST_CASE("boot linux: a text screen is announced, or not") {
  Setup s;
  auto plan = s.plan();
  uint64_t page = plan.cpu.general[InitialCpu::rsi];
  CHECK(planned_value(plan, page + 7, 1) == 80);
  CHECK(planned_value(plan, page + 0x0e, 2) == 0x0119);
  s.boot.text_screen = false;
  plan = s.plan();
  page = plan.cpu.general[InitialCpu::rsi];
  CHECK(planned_value(plan, page + 7, 1) == 0);
  CHECK(planned_value(plan, page + 0x0e, 2) == 0);
}

TEST_CASE("boot linux: refusals name the file and the way out") {
  Setup s;
  SUBCASE("not a kernel") {
    put(s.kernel, 0x202, 0, 4);
    s.refused("HdrS");
  }
  SUBCASE("ancient") {
    put(s.kernel, 0x206, 0x201, 2);
    s.refused("2.02");
  }
  SUBCASE("zImage") {
    put(s.kernel, 0x211, 0, 1);
    s.refused("bzImage");
  }
  SUBCASE("real-mode only") {
    put(s.kernel, 0x214, 0, 4);
    s.refused("ISO");
  }
  SUBCASE("truncated") {
    s.kernel.resize(s.kernel.size() - 16);
    s.refused("truncated");
    s.kernel.resize(900);
    s.refused("truncated");
    s.kernel.resize(100);
    s.refused("truncated");
  }
  SUBCASE("too little memory") {
    s.ram = 16 * kMiB;
    s.refused("at least 18 MiB");
  }
  SUBCASE("absurd memory") {
    put(s.kernel, 0x258, 0xffffffffffe00000, 8);
    s.refused("damaged");
  }
  SUBCASE("command line too long") {
    s.boot.command_line = std::string(2047, 'x');
    CHECK_NOTHROW(s.plan());
    s.boot.command_line += 'x';
    s.refused("at most 2047");
  }
}

TEST_CASE("boot linux: RAM that cannot be") {
  CHECK_THROWS_AS(MemoryLayout(0), emu::BootError);
  CHECK_THROWS_AS(MemoryLayout(1 * kMiB), emu::BootError);
  CHECK_THROWS_AS(MemoryLayout(64 * kMiB + 1), emu::BootError);
  CHECK_THROWS_AS(MemoryLayout(3073 * kMiB), emu::BootError);
  CHECK_THROWS_AS(MemoryLayout(~0ull << 12), emu::BootError);
  CHECK_NOTHROW(MemoryLayout(3072 * kMiB));
  const MemoryLayout memory(64 * kMiB);
  CHECK(memory.usable(0, 0x9fc00));
  CHECK_FALSE(memory.usable(0, 0x9fc01));
  CHECK_FALSE(memory.usable(0x9f000, 0x100000));
  CHECK_FALSE(memory.usable(kMiB, ~0ull));
  CHECK_FALSE(memory.usable(~0ull, 2));
}

TEST_CASE("boot linux: mutated kernels are refused or planned soundly") {
  std::mt19937 random(2);
  const Image original = small_bzimage();
  const Image initrd(3000, 1);
  unsigned planned_ok = 0;
  unsigned refused = 0;
  for (unsigned i = 0; i < 1500; ++i) {
    const Image kernel = mutated(original, random, 0x268);
    LinuxBoot boot;
    boot.kernel_name = "k";
    boot.kernel = kernel;
    boot.initrd_name = "i";
    boot.initrd = initrd;
    boot.entry = i % 2 == 0 ? LinuxEntry::bits32 : LinuxEntry::bits64;
    const MemoryLayout memory(32 * kMiB);
    try {
      const emu::BootPlan plan = emu::plan_linux(boot, memory);
      REQUIRE(is_sound(plan, memory));
      ++planned_ok;
    } catch (const emu::BootError&) {
      ++refused;
    }
  }
  CHECK(planned_ok > 100);
  CHECK(refused > 100);
}
