#include <doctest/doctest.h>

#include <map>
#include <utility>

#include "devices/i440fx.h"
#include "tests/pci_rig.h"

using namespace understudy;
using understudy::tests::PciRig;

namespace {
struct Rig : PciRig {
  devices::I440fx bridge{pci};
  std::map<unsigned, std::pair<bool, bool>> pam;
  unsigned calls = 0;
  Rig() {
    bridge.on_pam_change([this](unsigned region, bool read, bool write) {
      pam[region] = {read, write};
      ++calls;
    });
  }
};
}  // namespace

TEST_CASE("i440fx: identity and reset values") {
  Rig rig;
  CHECK(rig.config_read(0, 0, 4) == 0x12378086);
  CHECK(rig.config_read(0, 0x0a, 2) == 0x0600);
  CHECK(rig.config_read(0, 0x0e, 1) == 0);
  CHECK(rig.config_read(0, 0x59, 1) == 0);
  CHECK(rig.config_read(0, 0x72, 1) == 0x02);
  CHECK(rig.config_read(0, 0x2c, 4) == 0x11001af4);
}

TEST_CASE("i440fx: PAM registers name thirteen regions") {
  Rig rig;
  rig.config_write(0, 0x59, 1, 0x30);
  CHECK(rig.calls == 1);
  CHECK(rig.pam.at(12) == std::pair(true, true));
  CHECK(devices::I440fx::pam_region(12).base == 0xf0000);
  CHECK(devices::I440fx::pam_region(12).length == 0x10000);
  rig.config_write(0, 0x5a, 1, 0x21);  // C0000: read; C4000: write
  CHECK(rig.pam.at(0) == std::pair(true, false));
  CHECK(rig.pam.at(1) == std::pair(false, true));
  CHECK(devices::I440fx::pam_region(1).base == 0xc4000);
  rig.config_write(0, 0x5f, 1, 0x30);
  CHECK(rig.pam.at(11) == std::pair(true, true));
  CHECK(devices::I440fx::pam_region(11).base == 0xec000);
  CHECK(rig.calls == 4);
  rig.config_write(0, 0x5f, 1, 0x30);  // no change, no call
  CHECK(rig.calls == 4);
  rig.config_write(0, 0x5c, 4, 0xffffffff);
  CHECK(rig.config_read(0, 0x5c, 4) == 0x33333333);
  CHECK(rig.bridge.pam_read_dram(12));
  rig.bridge.reset();
  CHECK(rig.pam.at(12) == std::pair(false, false));
  CHECK_FALSE(rig.bridge.pam_write_dram(11));
}

TEST_CASE("i440fx: the SMRAM lock closes the window until reset") {
  Rig rig;
  rig.config_write(0, 0x72, 1, 0x4a);
  CHECK(rig.config_read(0, 0x72, 1) == 0x4a);
  rig.config_write(0, 0x72, 1, 0x5f);
  CHECK(rig.config_read(0, 0x72, 1) == 0x1a);
  rig.config_write(0, 0x70, 4, 0xffffffff);
  CHECK(rig.config_read(0, 0x72, 1) == 0x1a);
  rig.bridge.reset();
  CHECK(rig.config_read(0, 0x72, 1) == 0x02);
}

TEST_CASE("i440fx: a load reports every region") {
  Rig rig;
  rig.config_write(0, 0x59, 1, 0x10);
  rig.config_write(0, 0x72, 1, 0x12);
  tests::StateDump dump;
  rig.bridge.visit_state(dump);
  Rig other;
  tests::StateLoad load(dump.fields);
  other.bridge.visit_state(load);
  other.bridge.state_loaded();
  CHECK(other.pam.size() == 13);
  CHECK(other.pam.at(12) == std::pair(true, false));
  other.config_write(0, 0x72, 1, 0x42);
  CHECK(other.config_read(0, 0x72, 1) == 0x12);  // still locked
}
