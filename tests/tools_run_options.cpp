#include <doctest/doctest.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "tools/machine_setup.h"
#include "tools/run_options.h"

using namespace understudy::tools;

namespace {
RunOptions parse(std::vector<std::string> arguments) {
  CLI::App command;
  RunOptions options;
  add_run_options(command, options);
  std::reverse(arguments.begin(), arguments.end());
  command.parse(arguments);
  return options;
}
}  // namespace

TEST_CASE("flags with an opposite: what neither says is left open") {
  CHECK_FALSE(parse({"--serial", "none"}).paced);
  CHECK_FALSE(parse({}).reboot);
  CHECK(parse({"--paced"}).paced == true);
  CHECK(parse({"--unpaced"}).paced == false);
  CHECK(parse({"--reboot"}).reboot == true);
  CHECK(parse({"--no-reboot"}).reboot == false);
}

TEST_CASE("a machine on a network is paced, unless it is told otherwise") {
  CHECK(is_paced(parse({"--serial", "none", "--net", "user"})));
  CHECK_FALSE(is_paced(parse({"--serial", "none", "--net", "user", "--unpaced"})));
  CHECK_FALSE(is_paced(parse({"--serial", "none"})));
  CHECK(is_paced(parse({"--serial", "none", "--paced"})));
}
