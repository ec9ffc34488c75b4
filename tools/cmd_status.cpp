#include "tools/cmd_status.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "ftlog/curve_keys.h"
#include "tools/control_socket.h"
#include "tools/key_options.h"
#include "tools/run_result.h"

namespace understudy::tools {

namespace {

using nlohmann::ordered_json;

struct StatusCommand {
  std::vector<std::string> nodes;
  bool json = false;
  unsigned timeout_ms = 2000;
  KeyOptions keys;
};

std::string field(const ordered_json& json, const char* name) {
  const auto found = json.find(name);
  if (found == json.end()) return "-";
  if (found->is_string()) return found->get<std::string>();
  if (found->is_number_float()) return fmt::format("{:.1f}", found->get<double>());
  return found->dump();
}

void print_line(const std::string& address, const ordered_json& s) {
  fmt::print("{}: {} {}, {}, epoch {}, instruction {}", address, field(s, "role"), field(s, "node"), field(s, "state"),
             field(s, "epoch"), field(s, "icount"));
  if (s.contains("lag_ms")) fmt::print(", lag {} ms", field(s, "lag_ms"));
  if (s.contains("acknowledged")) fmt::print(", commit point {} of {}", field(s, "acknowledged"), field(s, "appended"));
  if (s.contains("replayed")) fmt::print(", replayed {} of {}", field(s, "replayed"), field(s, "received"));
  if (const auto log = s.find("log"); log != s.end() && log->contains("kbit_s"))
    fmt::print(", log {} kbit/s", field(*log, "kbit_s"));
  if (const auto out = s.find("outputs"); out != s.end() && out->contains("median_wait_us"))
    fmt::print(", outputs wait {} us", field(*out, "median_wait_us"));
  fmt::print("\n");
}

int status(const StatusCommand& command) {
  const auto keys = load_keys(command.keys);
  ordered_json all = ordered_json::array();
  int code = 0;
  for (const std::string& address : command.nodes) {
    ftlog::check_address(address, keys.has_value(), command.keys.insecure);
    try {
      ordered_json answer = ask_node(address, {{"ask", "status"}}, std::chrono::milliseconds(command.timeout_ms),
                                     keys ? &*keys : nullptr);
      if (!command.json) print_line(address, answer);
      all.push_back({{"address", address}, {"status", std::move(answer)}});
    } catch (const ControlError& error) {
      code = 1;
      if (!command.json) fmt::print(stderr, "understudy: {}\n", error.what());
      all.push_back({{"address", address}, {"error", error.what()}});
    }
  }
  if (command.json) fmt::print("{}\n", all.dump(2));
  return code;
}

}  // namespace

void add_status_command(CLI::App& app, const std::function<void(std::function<int()>)>& then) {
  auto command = std::make_shared<StatusCommand>();
  CLI::App* sub = app.add_subcommand("status", "What nodes and hubs are, and how far");
  sub->add_option("NODE", command->nodes, "Their --control addresses")->required();
  sub->add_flag("--json", command->json, "Everything they say, as JSON");
  sub->add_option("--timeout", command->timeout_ms, "Wait so long for each answer")
      ->type_name("MS")
      ->check(CLI::Range(1u, 600'000u))
      ->capture_default_str();
  add_key_options(*sub, command->keys);
  sub->footer("Exit codes\n  0  all answered\n  1  one did not");
  sub->callback([command, then] { then([command] { return status(*command); }); });
}

}  // namespace understudy::tools
