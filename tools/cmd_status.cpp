#include "tools/cmd_status.h"

#include <fmt/format.h>

#include <chrono>
#include <memory>

#include "tools/control_socket.h"
#include "tools/key_options.h"

namespace understudy::tools {

namespace {

struct StatusCommand {
  std::string address;
  unsigned timeout_ms = 2000;
  KeyOptions keys;
};

int run(const StatusCommand& command) {
  const auto keys = load_keys(command.keys);
  ftlog::check_address(command.address, keys.has_value(), command.keys.insecure);
  const auto answer = ask_node(command.address, {{"ask", "status"}}, std::chrono::milliseconds(command.timeout_ms),
                               keys ? &*keys : nullptr);
  fmt::print("{}\n", answer.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  return 0;
}

}  // namespace

void add_status_command(CLI::App& app, const std::function<void(std::function<int()>)>& then) {
  auto options = std::make_shared<StatusCommand>();
  CLI::App* command = app.add_subcommand("status", "Ask a running node how it is");
  command->footer("Prints a JSON object. Example: understudy status ipc:///tmp/hub-control");
  command->add_option("ADDRESS", options->address, "The node's --control")->required();
  command->add_option("--timeout", options->timeout_ms, "Wait so long for the answer")
      ->type_name("MS")
      ->check(CLI::Range(1u, 600'000u))
      ->capture_default_str();
  add_key_options(*command, options->keys);
  command->callback([options, then] { then([options] { return run(*options); }); });
}

}  // namespace understudy::tools
