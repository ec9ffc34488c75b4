// What --config's file may say, and how what it says wrong is told.
#include <doctest/doctest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>

#include "tests/ftlog_rig.h"
#include "tools/cmd_backup.h"
#include "tools/cmd_hub.h"
#include "tools/cmd_primary.h"
#include "tools/config_file.h"
#include "tools/serial_backend.h"

using namespace understudy::tools;
using understudy::test::TempDir;

namespace {

// Roles with a few options of their own.
struct Roles {
  CLI::App app;
  int lag = 1, port = 0;
  bool durable = false;
  std::vector<std::string> join, images;
  std::string hub, net;
  TempDir scratch;

  Roles() {
    CLI::App* primary = app.add_subcommand("primary");
    auto* group = primary->add_option_group("some");
    group->add_option("--lag", lag)->check(CLI::Range(10, 1000));
    group->add_flag("--durable", durable);
    group->add_option("--hub", hub)->required();
    primary->add_option("IMAGE", images);
    add_config_option(*primary);
    CLI::App* backup = app.add_subcommand("backup");
    backup->add_option("--join", join)->delimiter(',');
    backup->add_option("--lag", lag);
    add_config_option(*backup);
    CLI::App* other = app.add_subcommand("hub");
    other->add_option("--net", net);
    add_config_option(*other);
  }
  std::string path() const { return scratch.path() + "/pair.toml"; }
  void parse(const std::string& text, std::vector<std::string> arguments) {
    std::ofstream(path()) << text;
    arguments.insert(arguments.begin() + 1, {"--config", path()});
    std::reverse(arguments.begin(), arguments.end());
    app.parse(arguments);
  }
  // The complaint, without the file's folder.
  std::string wrong(const std::string& text, std::vector<std::string> arguments = {"primary"}) {
    try {
      parse(text, std::move(arguments));
    } catch (const UsageError& error) {
      const std::string what = error.what();
      return what.substr(what.find("pair.toml"));
    }
    return "nothing is wrong";
  }
};

}  // namespace

TEST_CASE("config: each role takes what it knows, its section goes before the rest, the command line before all") {
  const std::string text =
      "lag = 40\n"
      "hub = \"ipc:///tmp/hub\"  # of every node\n"
      "net = \"user\"\n"
      "[role.primary]\n"
      "durable = true\n"
      "lag = 50\n"
      "image = [\"a\", \"b\"]\n"
      "[role.backup]\n"
      "join = [\"ipc:///x\", \"ipc:///y\"]\n";
  {
    Roles roles;
    roles.parse(text, {"primary"});
    CHECK(roles.lag == 50);
    CHECK(roles.durable);
    CHECK(roles.hub == "ipc:///tmp/hub");
    CHECK(roles.images == std::vector<std::string>{"a", "b"});
    CHECK(roles.join.empty());
    CHECK(roles.net.empty());
  }
  {
    Roles roles;
    roles.parse(text, {"backup"});
    CHECK(roles.lag == 40);
    CHECK(roles.join == std::vector<std::string>{"ipc:///x", "ipc:///y"});
    CHECK_FALSE(roles.durable);
  }
  {
    Roles roles;
    roles.parse(text, {"primary", "--lag", "60", "--hub", "here", "c"});
    CHECK(roles.lag == 60);
    CHECK(roles.hub == "here");
    CHECK(roles.images == std::vector<std::string>{"c"});
    CHECK(roles.durable);
  }
  Roles roles;
  roles.parse("hub = \"x\"\n[role.primary]\ndurable = false\n", {"primary"});
  CHECK_FALSE(roles.durable);
}

TEST_CASE("config: what is wrong is told with file and line") {
  CHECK(Roles().wrong("\nlagg = 3\n") ==
        "pair.toml:2: 'lagg' is no option of any role: see understudy primary --help, and leave out the dashes");
  CHECK(Roles().wrong("[role.backup]\ndurable = true\n") ==
        "pair.toml:2: 'durable' is no option of understudy backup: see its --help, and leave out the dashes");
  CHECK(Roles().wrong("[role.standby]\n") ==
        "pair.toml:1: there is no section [role.standby]: the roles are hub, primary, backup, recover");
  CHECK(Roles().wrong("hub = \"x\"\nlag = 5\n").find("pair.toml:2: --lag: ") == 0);
  CHECK(Roles().wrong("lag = \"soon\"\n").find("pair.toml:1: ") == 0);
  CHECK(Roles().wrong("durable = \"yes\"\n") == "pair.toml:1: durable: want true or false");
  CHECK(Roles().wrong("hub = {a = 1}\n").find("pair.toml:1: hub: want text") == 0);
  CHECK(Roles().wrong("[backup]\nlag = 40\n").find("pair.toml:1: 'backup' is no option of any role") == 0);
  CHECK(Roles().wrong("role.primary = 4\n").find("pair.toml:1: want a section [role.primary]") == 0);
  CHECK(Roles().wrong("hub = [\"a\", \"b\"]\n").find("pair.toml:1: ") == 0);
  CHECK(Roles().wrong("hub = [1979-05-27]\n").find("pair.toml:1: hub: want text") == 0);
  CHECK(Roles().wrong("lag = \n\n").find("pair.toml:1: ") == 0);
  CHECK(Roles().wrong("config = \"another\"\n").find("pair.toml:1: 'config' is no option") == 0);
  CHECK(Roles().wrong("lag = 20\nlag = 30\n").find("pair.toml:2: ") == 0);
  Roles missing;
  std::vector<std::string> arguments{"/nowhere/pair.toml", "--config", "primary"};
  CHECK_THROWS_AS(missing.app.parse(arguments), UsageError);
  // What is required may be in the file, or is missed as ever.
  Roles without;
  CHECK_THROWS_AS(without.parse("lag = 20\n", {"primary"}), CLI::RequiredError);
}

TEST_CASE("config: the roles of the command have it") {
  CLI::App app;
  const auto nothing = [](std::function<int()>) {};
  add_hub_command(app, nothing);
  add_primary_command(app, nothing);
  add_backup_command(app, nothing);
  for (const char* role : {"hub", "primary", "backup"})
    CHECK(app.get_subcommand(role)->get_option_no_throw("--config") != nullptr);
}
