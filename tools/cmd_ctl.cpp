#include "tools/cmd_ctl.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "ftlog/curve_keys.h"
#include "tools/control_socket.h"
#include "tools/key_options.h"

namespace understudy::tools {

namespace {

struct CtlCommand {
  std::string node, level;
  nlohmann::json request;
  KeyOptions keys;
};

int ctl(const CtlCommand& command) {
  const auto keys = load_keys(command.keys);
  try {
    ask_node(command.node, command.request, std::chrono::seconds(2), keys ? &*keys : nullptr);
    return 0;
  } catch (const ControlError& error) {
    fmt::print(stderr, "understudy: {}\n", error.what());
    return 1;
  }
}

}  // namespace

void add_ctl_command(CLI::App& app, const std::function<void(std::function<int()>)>& then) {
  auto command = std::make_shared<CtlCommand>();
  CLI::App* sub = app.add_subcommand("ctl", "Ask a running node to do something");
  sub->add_option("NODE", command->node, "Its --control address")->required();
  add_key_options(*sub, command->keys);
  sub->require_subcommand(1);
  const auto action = [&](const char* name, const char* what) {
    CLI::App* child = sub->add_subcommand(name, what);
    child->callback([command, then, name = std::string(name)] {
      command->request = {{"ask", name}};
      if (!command->level.empty()) command->request["level"] = command->level;
      then([command] { return ctl(*command); });
    });
    return child;
  };
  action("switchover", "A primary hands over to its backup, which goes on at the very next instruction, and ends");
  action("stop", "The node ends: a primary ends its log properly, a backup leaves its primary");
  action("log-level", "How much it says on standard error")
      ->add_option("LEVEL", command->level, "debug, info, warning or error")
      ->required();
  sub->footer("Exit codes\n  0  the node was asked; `status` tells what became of it\n  1  it does not answer");
}

}  // namespace understudy::tools
