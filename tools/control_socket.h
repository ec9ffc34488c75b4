// Questions to a running node: a small JSON request, {"ask": NAME, ...}, is answered with a JSON object, over ZeroMQ.
// An answer that is none holds "error", one line. Requests are bounded and each is answered before the next is looked
// at; who sends something else gets an error, or nothing if it is no message at all.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <zmq.hpp>

#include "ftlog/curve_keys.h"
#include "ftlog/key_guard.h"
#include "ftlog/wake_event.h"

namespace understudy::tools {

// The node cannot be asked, or does not answer; one line.
class ControlError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

constexpr size_t kMaxControlRequest = 64u << 10, kMaxControlAnswer = 16u << 20;

class ControlServer {
 public:
  // Called on the server's thread. An exception's text becomes the error.
  using Handler = std::function<nlohmann::ordered_json(const nlohmann::json& request)>;

  // `guard` and `keys`, if there are any, say who may ask. Throws ControlError.
  ControlServer(zmq::context_t& context, const std::string& address, std::map<std::string, Handler> handlers,
                ftlog::KeyGuard* guard = nullptr, const ftlog::CurveIdentity* keys = nullptr);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;
  // Where it listens, with the port that was chosen for tcp://HOST:*.
  std::string endpoint() const { return endpoint_; }

 private:
  void serve();
  nlohmann::ordered_json answer(const zmq::message_t& request) const;

  std::map<std::string, Handler> handlers_;
  zmq::socket_t socket_;
  std::string endpoint_;
  ftlog::WakeEvent stop_;
  std::thread thread_;
};

// Asks a node. Throws ControlError when there is no answer in time, or the answer holds an error.
nlohmann::ordered_json ask_node(const std::string& address, const nlohmann::json& request,
                                std::chrono::milliseconds patience, const ftlog::CurveIdentity* keys = nullptr);

}  // namespace understudy::tools
