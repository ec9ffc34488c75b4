#include "tools/node_control.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <stdexcept>

namespace understudy::tools {

using nlohmann::ordered_json;

NodeControl::NodeControl(const PairOptions& options, const PairIdentity& identity) : node_(identity.node) {
  if (options.control.empty()) return;
  ftlog::check_address(options.control, identity.keys != nullptr, options.insecure);
  if (identity.keys) guard_.emplace(context_);
  std::map<std::string, ControlServer::Handler> handlers;
  handlers["status"] = [this](const nlohmann::json&) { return status(); };
  handlers["switchover"] = [this](const nlohmann::json&) { return ask(switchover_); };
  handlers["stop"] = [this](const nlohmann::json&) { return ask(stop_); };
  handlers["log-level"] = [](const nlohmann::json& request) {
    const std::string level = request.at("level").get<std::string>();
    const auto parsed = spdlog::level::from_str(level);
    if (parsed == spdlog::level::off && level != "off") throw std::runtime_error("no log level " + level);
    spdlog::set_level(parsed);
    return ordered_json{{"level", level}};
  };
  server_.emplace(context_, options.control, std::move(handlers), guard_ ? &*guard_ : nullptr, identity.keys.get());
}

void NodeControl::answer_with(Status status) {
  const std::lock_guard lock(mutex_);
  status_ = std::move(status);
}

void NodeControl::on_request(std::function<void()> wake) {
  const std::lock_guard lock(mutex_);
  wake_ = std::move(wake);
}

ordered_json NodeControl::status() {
  const std::lock_guard lock(mutex_);
  ordered_json answer = status_ ? status_() : ordered_json{{"role", "starting"}};
  answer["node"] = node_;
  answer["pid"] = ::getpid();
  return answer;
}

ordered_json NodeControl::ask(std::atomic<bool>& what) {
  what = true;
  const std::lock_guard lock(mutex_);
  if (wake_) wake_();
  return {{"asked", true}};
}

}  // namespace understudy::tools
