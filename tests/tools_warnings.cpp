// What `understudy run` says of a guest that relies on what the engine does not do.
#include <doctest/doctest.h>

#include <fstream>

#include "tests/ftlog_rig.h"
#include "tests/understudy_command.h"

namespace {

using understudy::test::understudy_command;

TEST_CASE("a data watchpoint is warned of with its place, unless --trace error asks for quiet") {
  const understudy::test::TempDir folder;
  const std::string image = folder.path() + "/floppy.img";
  // mov eax, 10001h; mov dr7, eax (write, DR0); cli; hlt
  std::string sector{"\x66\xb8\x01\x00\x01\x00\x0f\x23\xf8\xfa\xf4", 11};
  sector.resize(510);
  sector += "\x55\xaa";
  sector.resize(1474560);
  std::ofstream(image, std::ios::binary) << sector;
  const auto loud = understudy_command(fmt::format("run {} --memory 16 --serial none", image));
  CHECK(loud.code == 3);
  CHECK(loud.said.find("understudy: warning: ") != std::string::npos);
  CHECK(loud.said.find("CS:IP 0000:00007c06") != std::string::npos);
  const auto quiet = understudy_command(fmt::format("run {} --memory 16 --serial none --trace error", image));
  CHECK(quiet.code == 3);
  CHECK(quiet.said.find("warning") == std::string::npos);
}

}  // namespace
