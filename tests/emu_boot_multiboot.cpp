#include <doctest/doctest.h>

#include "emu/boot_multiboot.h"
#include "tests/boot_images.h"

using namespace understudy;
using namespace understudy::tests;
using emu::InitialCpu;
using emu::MemoryLayout;
using emu::MultibootBoot;

namespace {
constexpr uint64_t kMiB = 1 << 20;

struct Setup {
  Image kernel = small_multiboot();
  MultibootBoot boot;
  uint64_t ram = 16 * kMiB;

  emu::BootPlan plan() {
    boot.kernel_name = "kernel.elf";
    boot.kernel = kernel;
    return emu::plan_multiboot(boot, MemoryLayout(ram));
  }
  void refused(const std::string& words) {
    check_refused([&] { plan(); }, "kernel.elf", words);
  }
};
}  // namespace

TEST_CASE("boot multiboot: an ELF kernel, its CPU state and its information") {
  Setup s;
  s.boot.command_line = "kernel --verbose";
  const Image first(5000, 0x11);
  const Image second(100, 0x22);
  s.boot.modules = {{"m1", first, "one 1"}, {"m2", second, ""}};
  const auto plan = s.plan();
  CHECK(is_sound(plan, MemoryLayout(s.ram)));
  CHECK(plan.bypasses_firmware);

  CHECK(planned(plan, 0x100000, 300) == Image(300, 0x90));
  CHECK(planned(plan, 0x102000, 3) == Image{1, 2, 3});

  // Section 3.2.
  const InitialCpu& cpu = plan.cpu;
  CHECK(cpu.rip == 0x100010);
  CHECK(cpu.general[InitialCpu::rax] == 0x2badb002);
  CHECK((cpu.cr0 & 0x80000001) == 1);
  CHECK((cpu.rflags & 0x20200) == 0);
  CHECK(cpu.cs.limit == 0xffffffff);
  CHECK(cpu.cs.access == 0x00cf9b00);
  CHECK(cpu.ss.access == 0x00cf9300);
  CHECK(planned_value(plan, cpu.gdtr.base + cpu.cs.selector, 8) == 0x00cf9b000000ffff);
  CHECK(planned_value(plan, cpu.gdtr.base + cpu.ds.selector, 8) == 0x00cf93000000ffff);

  // Section 3.3.
  const uint64_t info = cpu.general[InitialCpu::rbx];
  CHECK(info < 0x9fc00);
  CHECK(planned_value(plan, info, 4) == 0x124d);
  CHECK(planned_value(plan, info + 4, 4) == 639);
  CHECK(planned_value(plan, info + 8, 4) == (s.ram - kMiB - MemoryLayout::kTableArea) / 1024);
  CHECK(planned_text(plan, planned_value(plan, info + 16, 4)) == "kernel --verbose");
  CHECK(planned_text(plan, planned_value(plan, info + 64, 4)) == "Understudy");

  REQUIRE(planned_value(plan, info + 20, 4) == 2);
  const uint64_t modules = planned_value(plan, info + 24, 4);
  const uint64_t start = planned_value(plan, modules, 4);
  CHECK(start == 0x104000);  // above the second segment's zeros, on a page
  CHECK(planned_value(plan, modules + 4, 4) == start + 5000);
  CHECK(planned(plan, start, 5000) == first);
  CHECK(planned_text(plan, planned_value(plan, modules + 8, 4)) == "one 1");
  const uint64_t next = planned_value(plan, modules + 16, 4);
  CHECK(next == 0x106000);
  CHECK(planned(plan, next, 100) == second);
  CHECK(planned_text(plan, planned_value(plan, modules + 24, 4)).empty());

  const auto ranges = MemoryLayout(s.ram).ranges();
  REQUIRE(planned_value(plan, info + 44, 4) == 24 * ranges.size());
  const uint64_t map = planned_value(plan, info + 48, 4);
  for (size_t i = 0; i < ranges.size(); ++i) {
    CHECK(planned_value(plan, map + 24 * i, 4) == 20);
    CHECK(planned_value(plan, map + 24 * i + 4, 8) == ranges[i].base);
    CHECK(planned_value(plan, map + 24 * i + 12, 8) == ranges[i].length);
    CHECK(planned_value(plan, map + 24 * i + 20, 4) == static_cast<uint32_t>(ranges[i].type));
  }
  CHECK(planned_value(plan, info + 88, 8) == 0xb8000);
  CHECK(planned_value(plan, info + 109, 1) == 2);
}

TEST_CASE("boot multiboot: an entry point may be virtual or physical") {
  Setup s;
  s.kernel = multiboot_elf(0, 0xc0100004, {{0xc0100000, 0x100000, Image(64, 0x90), 64}});
  CHECK(s.plan().cpu.rip == 0x100004);
  s.kernel = multiboot_elf(0, 0x100008, {{0xc0100000, 0x100000, Image(64, 0x90), 64}});
  CHECK(s.plan().cpu.rip == 0x100008);
}

TEST_CASE("boot multiboot: a 64-bit ELF file is loaded the same way") {
  Setup s;
  s.kernel = multiboot_elf(0, 0x100004, {{0x100000, 0x100000, Image(64, 0x90), 64}}, true);
  const auto plan = s.plan();
  CHECK(plan.cpu.rip == 0x100004);
  CHECK(plan.cpu.efer == 0);
  CHECK(planned(plan, 0x100000, 64) == Image(64, 0x90));
}

TEST_CASE("boot multiboot: the address fields") {
  Setup s;
  s.kernel = multiboot_kludge();
  auto plan = s.plan();
  CHECK(plan.cpu.rip == 0x100040);
  CHECK(planned(plan, 0x100000, 0x80) == Image(s.kernel.begin() + 8, s.kernel.begin() + 0x88));
  SUBCASE("a zero load end means the whole file") {
    put(s.kernel, 16 + 20, 0, 4);
    plan = s.plan();
    CHECK(planned(plan, 0x100000, 0xf8) == Image(s.kernel.begin() + 8, s.kernel.end()));
  }
  SUBCASE("more than the file holds") {
    put(s.kernel, 16 + 20, 0x100200, 4);
    s.refused("truncated");
  }
  SUBCASE("before the file's start") {
    put(s.kernel, 16 + 16, 0xfff00, 4);
    s.refused("before the start");
  }
  SUBCASE("backwards") {
    put(s.kernel, 16 + 20, 0xfffff, 4);
    s.refused("load_end_addr");
  }
}

TEST_CASE("boot multiboot: the information keeps out of a kernel in low memory") {
  Setup s;
  s.kernel = multiboot_elf(0, 0x10000, {{0x10000, 0x10000, Image(0x8000, 0x90), 0x20000}});
  const auto plan = s.plan();
  CHECK(is_sound(plan, MemoryLayout(s.ram)));
  CHECK(plan.cpu.gdtr.base >= 0x30000);
  s.kernel = multiboot_elf(0, 0x10000, {{0x10000, 0x10000, Image(16, 0x90), 0x8fc00}});
  s.refused("no base memory");
}

TEST_CASE("boot multiboot: refusals name the file and the way out") {
  Setup s;
  const auto elf = [&](const ElfSegment& segment) { s.kernel = multiboot_elf(0, segment.address, {segment}); };
  SUBCASE("no header") {
    s.kernel = Image(9000);
    s.refused("no Multiboot 1 header");
  }
  SUBCASE("unknown requirement") {
    s.kernel = multiboot_elf(8, 0x100000, {{0x100000, 0x100000, Image(16), 16}});
    s.refused("requires");
  }
  SUBCASE("neither ELF nor address fields") {
    s.kernel[0] = 0;
    s.refused("ELF");
  }
  SUBCASE("another machine") {
    put(s.kernel, 18, 40, 2);
    s.refused("i386");
  }
  SUBCASE("nothing to load") {
    put(s.kernel, 44, 0, 2);
    s.refused("program headers");
  }
  SUBCASE("truncated program headers") {
    put(s.kernel, 44, 0xffff, 2);
    s.refused("truncated");
  }
  SUBCASE("truncated segment") {
    s.kernel.pop_back();
    s.refused("truncated");
  }
  SUBCASE("larger in the file than in memory") {
    elf({0x100000, 0x100000, Image(16), 8});
    s.refused("larger in the file");
  }
  SUBCASE("beyond RAM") {
    elf({0x100000, 0x100000, Image(16), 64 << 20});
    s.refused("give more memory");
  }
  SUBCASE("in the video memory") {
    elf({0xa0000, 0xa0000, Image(16), 16});
    s.refused("no usable RAM");
  }
  SUBCASE("over the BIOS data area") {
    elf({0x400, 0x400, Image(16), 16});
    s.refused("BIOS data area");
  }
  SUBCASE("overlapping segments") {
    s.kernel = multiboot_elf(0, 0x100000, {{0x100000, 0x100000, Image(32), 32}, {0x100010, 0x100010, Image(32), 32}});
    s.refused("overlap");
  }
  SUBCASE("entry point nowhere") {
    s.kernel = multiboot_elf(0, 0x200000, {{0x100000, 0x100000, Image(32), 32}});
    s.refused("entry point");
  }
  SUBCASE("module too large") {
    const Image module(16 << 20);
    s.boot.modules = {{"big.mod", module, ""}};
    check_refused([&] { s.plan(); }, "big.mod", "does not fit");
  }
  SUBCASE("command line too long for base memory") {
    s.boot.command_line = std::string(700000, 'x');
    s.refused("shorten");
  }
}

TEST_CASE("boot multiboot: mutated kernels are refused or planned soundly") {
  std::mt19937 random(3);
  const Image originals[] = {small_multiboot(), multiboot_kludge(),
                             multiboot_elf(0, 0x100004, {{0x100000, 0x100000, Image(64, 0x90), 64}}, true)};
  const size_t headers[] = {52 + 64 + 12, 48, 64 + 56};
  const Image module(700, 3);
  unsigned planned_ok = 0;
  unsigned refused = 0;
  for (unsigned i = 0; i < 3000; ++i) {
    const Image kernel = mutated(originals[i % 3], random, headers[i % 3]);
    MultibootBoot boot;
    boot.kernel_name = "k";
    boot.kernel = kernel;
    boot.modules = {{"m", module, "m"}};
    const MemoryLayout memory(16 * kMiB);
    try {
      const emu::BootPlan plan = emu::plan_multiboot(boot, memory);
      REQUIRE(is_sound(plan, memory));
      ++planned_ok;
    } catch (const emu::BootError&) {
      ++refused;
    }
  }
  CHECK(planned_ok > 100);
  CHECK(refused > 100);
}
