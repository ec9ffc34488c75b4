// What `status` and `ctl` reach of a node: one socket for the life of the process, whatever the node's role is.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <zmq.hpp>

#include "tools/control_socket.h"
#include "tools/pair_options.h"

namespace understudy::tools {

class NodeControl {
 public:
  using Status = std::function<nlohmann::ordered_json()>;

  // Without --control there is no socket. Throws ControlError, ftlog::KeyError.
  NodeControl(const PairOptions& options, const PairIdentity& identity);

  // Who answers from now on; called on the socket's thread. Nobody: the node is between two roles.
  void answer_with(Status status);
  // Called on the socket's thread when there is something for the node to do.
  void on_request(std::function<void()> wake);
  bool take_switchover() { return switchover_.exchange(false); }
  bool stop_asked() const { return stop_; }

 private:
  nlohmann::ordered_json status();
  nlohmann::ordered_json ask(std::atomic<bool>& what);

  std::string node_;
  std::mutex mutex_;
  Status status_;
  std::function<void()> wake_;
  std::atomic<bool> switchover_{false}, stop_{false};
  zmq::context_t context_{1};
  std::optional<ftlog::KeyGuard> guard_;
  std::optional<ControlServer> server_;
};

}  // namespace understudy::tools
