#include <doctest/doctest.h>

#include "emu/boot_flat.h"
#include "tests/boot_images.h"

using namespace understudy;
using namespace understudy::tests;
using emu::MemoryLayout;

namespace {
emu::BootPlan flat(const Image& image, uint64_t address, std::optional<emu::RealModeAddress> entry = {}) {
  return emu::plan_flat({"boot.bin", image, address, entry}, MemoryLayout(16 << 20));
}
}  // namespace

TEST_CASE("boot flat: real mode at the image's start") {
  const Image image{0xeb, 0xfe, 3};
  auto plan = flat(image, 0x7c00);
  CHECK(is_sound(plan, MemoryLayout(16 << 20)));
  CHECK(plan.bypasses_firmware);
  CHECK(planned(plan, 0x7c00, 3) == image);
  CHECK(plan.cpu.cs.selector == 0);
  CHECK(plan.cpu.cs.base == 0);
  CHECK(plan.cpu.rip == 0x7c00);
  CHECK((plan.cpu.cr0 & 1) == 0);
  CHECK(plan.cpu.idtr.limit == 0x3ff);

  plan = flat(image, 0x20000);
  CHECK(plan.cpu.cs.selector == 0x2000);
  CHECK(plan.cpu.cs.base == 0x20000);
  CHECK(plan.cpu.rip == 0);

  plan = flat(image, 0x20000, emu::RealModeAddress{0x1ff0, 0x102});
  CHECK(plan.cpu.cs.selector == 0x1ff0);
  CHECK(plan.cpu.cs.base == 0x1ff00);
  CHECK(plan.cpu.rip == 0x102);
}

TEST_CASE("boot flat: refusals") {
  const Image image(512, 1);
  check_refused([&] { flat({}, 0x7c00); }, "boot.bin", "empty");
  check_refused([&] { flat(image, 0); }, "boot.bin", "does not fit");
  check_refused([&] { flat(image, 0x9fb00); }, "boot.bin", "does not fit");
  check_refused([&] { flat(image, 0x100000); }, "boot.bin", "does not fit");
  check_refused([&] { flat(image, ~0ull); }, "boot.bin", "does not fit");
  check_refused([&] { flat(Image(700000), 0x7c00); }, "boot.bin", "does not fit");
  check_refused([&] { flat(image, 0x20008); }, "boot.bin", "multiple of 16");
}

TEST_CASE("boot flat: a ROM ends at 4 GiB, is shadowed, and starts at the reset vector") {
  Image image(256 << 10);
  for (size_t i = 0; i < image.size(); ++i) image[i] = static_cast<uint8_t>(i * 13 + (i >> 9));
  const auto plan = emu::plan_rom("bios.bin", image);
  REQUIRE(plan.roms.size() == 1);
  CHECK(plan.roms[0].address == 0xfffc0000);
  CHECK(plan.roms[0].bytes == image);
  REQUIRE(plan.chunks.size() == 1);
  CHECK(plan.chunks[0].address == 0xe0000);
  CHECK(plan.chunks[0].bytes == Image(image.end() - (128 << 10), image.end()));
  CHECK_FALSE(plan.bypasses_firmware);
  // RESET (SDM vol. 3, table 9-1).
  CHECK(plan.cpu.cs.selector == 0xf000);
  CHECK(plan.cpu.cs.base == 0xffff0000);
  CHECK(plan.cpu.rip == 0xfff0);
  CHECK(plan.cpu.cr0 == 0x60000010);
  CHECK(plan.cpu.rflags == 2);
  CHECK(plan.cpu.ds.limit == 0xffff);
}

TEST_CASE("boot flat: small and odd ROMs") {
  Image image(1000, 0x90);
  image[984] = 0xea;
  const auto plan = emu::plan_rom("rom", image);
  CHECK(plan.roms[0].address == 0xfffff000);
  CHECK(plan.roms[0].bytes.size() == 4096);
  CHECK(plan.roms[0].bytes[0] == 0xff);
  CHECK(plan.roms[0].bytes[4096 - 16] == 0xea);
  CHECK(plan.chunks[0].address == 0xff000);

  check_refused([] { emu::plan_rom("rom", Image(8)); }, "rom", "not possible");
  check_refused([] { emu::plan_rom("rom", Image((16 << 20) + 1)); }, "rom", "not possible");
  check_refused([] { emu::plan_rom("rom", Image(65536)); }, "rom", "reset vector");
}
