// Boot ROMs: devices/option_rom.h, and the ROM window of devices/pci_device.h.
#include <doctest/doctest.h>

#include <numeric>
#include <random>
#include <stdexcept>

#include "devices/option_rom.h"
#include "devices/rtl8029.h"
#include "tests/pci_rig.h"

using namespace understudy;
using Image = std::vector<uint8_t>;

namespace {

constexpr unsigned kDevfn = 3 << 3;

Image small_rom() {
  Image rom(1024 + 512, 0x5a);
  rom[0] = 0x55;
  rom[1] = 0xaa;
  rom[2] = 2;
  rom[0x18] = 0x40;
  rom[0x19] = 0;
  const char signature[] = "PCIR";
  std::copy_n(signature, 4, rom.begin() + 0x40);
  rom[0x54] = 0;
  return rom;
}

}  // namespace

TEST_CASE("option rom: names the card, and its bytes add up to zero") {
  const Image rom = devices::option_rom_for(small_rom(), 0x10ec, 0x8029);
  CHECK(Image(rom.begin() + 0x44, rom.begin() + 0x48) == Image{0xec, 0x10, 0x29, 0x80});
  CHECK((std::accumulate(rom.begin(), rom.begin() + 1024, 0u) & 0xff) == 0);
  CHECK(rom.size() == 1536);
}

TEST_CASE("option rom: anything else is refused, whatever its bytes") {
  for (const auto& [at, value] :
       {std::pair<size_t, uint8_t>{0, 0}, {1, 0}, {2, 0}, {2, 4}, {0x19, 0xff}, {0x40, 0}, {0x54, 3}}) {
    Image rom = small_rom();
    rom[at] = value;
    CHECK_THROWS_AS(devices::option_rom_for(rom, 1, 2), std::runtime_error);
  }
  CHECK_THROWS_AS(devices::option_rom_for({}, 1, 2), std::runtime_error);
  CHECK_THROWS_AS(devices::option_rom_for(Image(300 * 1024, 0x55), 1, 2), std::runtime_error);
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    Image rom = small_rom();
    for (unsigned n = 1 + random() % 3; n > 0; --n) rom[random() % 0x60] = static_cast<uint8_t>(random());
    rom.resize(random() % (rom.size() + 1));
    try {
      const Image made = devices::option_rom_for(rom, 1, 2);
      CHECK(made.size() == rom.size());
    } catch (const std::runtime_error&) {
    }
  }
}

TEST_CASE("option rom: appears where its register says, read-only, when both enables are set") {
  tests::PciRig rig;
  devices::Rtl8029 nic(rig.pci, kDevfn, rig.clock, rig.events, rig.world, {0x52, 0x54, 0, 1, 2, 3});
  CHECK(rig.config_read(kDevfn, 0x30, 4) == 0);
  nic.set_rom(small_rom());
  nic.reset();
  rig.config_write(kDevfn, 0x30, 4, 0xfffffffe);
  CHECK(rig.config_read(kDevfn, 0x30, 4) == 0xfffff800);
  rig.config_write(kDevfn, 0x30, 4, 0xe0000000);
  rig.config_write(kDevfn, 0x04, 2, 2);
  CHECK(rig.mmio.is_free(0xe0000000, 2048));
  rig.config_write(kDevfn, 0x30, 4, 0xe0000001);
  CHECK(rig.mmio.read(0xe0000000, 2) == 0xaa55);
  CHECK(rig.mmio.read(0xe0000044, 4) == 0x802910ec);
  rig.mmio.write(0xe0000000, 4, 0);
  CHECK(rig.mmio.read(0xe0000000, 2) == 0xaa55);
  CHECK(rig.mmio.read(0xe0000600, 8) == ~0ull);  // the image is shorter than its window
  rig.config_write(kDevfn, 0x04, 2, 0);
  CHECK(rig.mmio.is_free(0xe0000000, 2048));
  // The other window is where it was.
  rig.config_write(kDevfn, 0x10, 4, 0xc000);
  rig.config_write(kDevfn, 0x04, 2, 1);
  CHECK(rig.ports.read(0xc000, 1) == 0x21);
}
