#include "tools/control_socket.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <csignal>
#include <vector>

namespace understudy::tools {

namespace {

using Json = nlohmann::ordered_json;

// Answers that wait for one asker, and questions that wait for us.
constexpr int kHighWater = 16;
// A question: the asker's id, an empty part from a REQ socket, and the text.
constexpr size_t kMaxParts = 3;

std::string text_of(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

}  // namespace

ControlServer::ControlServer(zmq::context_t& context, const std::string& address,
                             std::map<std::string, Handler> handlers, ftlog::KeyGuard* guard,
                             const ftlog::CurveIdentity* keys)
    : handlers_(std::move(handlers)), socket_(context, zmq::socket_type::router) {
  try {
    socket_.set(zmq::sockopt::linger, 100);
    socket_.set(zmq::sockopt::sndhwm, kHighWater);
    socket_.set(zmq::sockopt::rcvhwm, kHighWater);
    socket_.set(zmq::sockopt::maxmsgsize, static_cast<int64_t>(kMaxControlRequest));
    socket_.set(zmq::sockopt::ipv6, 1);
    if (guard != nullptr && keys != nullptr) guard->secure_server(socket_, *keys, "control");
    socket_.bind(address);
  } catch (const zmq::error_t& error) {
    throw ControlError(fmt::format("control {}: {}", address, error.what()));
  }
  endpoint_ = socket_.get(zmq::sockopt::last_endpoint);
  thread_ = std::thread([this] { serve(); });
}

ControlServer::~ControlServer() {
  stop_.notify();
  thread_.join();
}

void ControlServer::serve() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  while (true) {
    std::array<zmq::pollitem_t, 2> items{{{socket_.handle(), 0, ZMQ_POLLIN, 0}, {nullptr, stop_.fd(), ZMQ_POLLIN, 0}}};
    zmq::poll(items, std::chrono::milliseconds(-1));
    if (items[1].revents != 0) return;
    std::vector<zmq::message_t> parts;
    bool more = true, whole = true;
    while (more) {
      zmq::message_t part;
      if (!socket_.recv(part, zmq::recv_flags::dontwait)) break;
      more = part.more();
      whole = whole && parts.size() < kMaxParts;
      if (whole) parts.push_back(std::move(part));
    }
    if (!whole || parts.size() < 2) continue;
    const std::string text = text_of(answer(parts.back()));
    // To whoever has gone, or takes nothing, ZeroMQ's router drops it.
    parts.pop_back();
    for (auto& part : parts) socket_.send(part, zmq::send_flags::sndmore | zmq::send_flags::dontwait);
    socket_.send(zmq::buffer(text), zmq::send_flags::dontwait);
  }
}

Json ControlServer::answer(const zmq::message_t& request) const {
  try {
    const auto json = nlohmann::json::parse(request.to_string_view());
    if (!json.is_object() || !json.contains("ask") || !json["ask"].is_string())
      return {{"error", "want a JSON object with a text \"ask\""}};
    const auto handler = handlers_.find(json["ask"].get<std::string>());
    if (handler != handlers_.end()) return handler->second(json);
    std::vector<std::string> known;
    for (const auto& [name, unused] : handlers_) known.push_back(name);
    return {
        {"error", fmt::format("this node does not know what \"ask\" asks for; it knows: {}", fmt::join(known, ", "))}};
  } catch (const nlohmann::json::parse_error&) {
    return {{"error", "the question is not JSON"}};
  } catch (const std::exception& error) {
    return {{"error", error.what()}};
  }
}

Json ask_node(const std::string& address, const nlohmann::json& request, std::chrono::milliseconds patience,
              const ftlog::CurveIdentity* keys) {
  zmq::context_t context(1);
  zmq::socket_t socket(context, zmq::socket_type::dealer);
  zmq::message_t part;
  try {
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::maxmsgsize, static_cast<int64_t>(kMaxControlAnswer));
    socket.set(zmq::sockopt::ipv6, 1);
    socket.set(zmq::sockopt::rcvtimeo, static_cast<int>(patience.count()));
    if (keys != nullptr) ftlog::secure_client(socket, *keys);
    socket.connect(address);
    socket.send(zmq::buffer(request.dump()), zmq::send_flags::none);
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!socket.recv(part)) {
      if (std::chrono::steady_clock::now() >= deadline)
        throw ControlError(fmt::format("{}: no answer within {} ms", address, patience.count()));
    }
  } catch (const zmq::error_t& error) {
    throw ControlError(fmt::format("{}: {}", address, error.what()));
  }
  auto answer = Json::parse(part.to_string_view(), nullptr, false);
  if (!answer.is_object()) throw ControlError(fmt::format("{}: the answer is no JSON object", address));
  if (answer.contains("error") && answer["error"].is_string())
    throw ControlError(fmt::format("{}: {}", address, answer["error"].get<std::string>()));
  return answer;
}

}  // namespace understudy::tools
