// What happens to a ZeroMQ socket's connections: made, lost, or given up while the two ends still found out about each
// other. On the thread that owns the socket; goes before the socket does.
#pragma once

#include <cstdint>
#include <optional>
#include <zmq.hpp>

namespace understudy::ftlog {

class SocketMonitor {
 public:
  struct Event {
    enum class Kind {
      connected,     // usable: the handshake is over
      disconnected,  // whether it was usable or not
      bad_peer,      // not ZeroMQ, of another security mechanism, or with keys that do not fit
      refused,       // the server does not list the client's key
    };
    Kind kind;
    int fd;  // of the connection, for disconnected
  };

  SocketMonitor(zmq::context_t& context, zmq::socket_t& socket);
  ~SocketMonitor();
  SocketMonitor(const SocketMonitor&) = delete;
  SocketMonitor& operator=(const SocketMonitor&) = delete;

  // To be polled for input.
  void* handle() { return events_.handle(); }
  std::optional<Event> next();

 private:
  zmq::socket_t& socket_;
  zmq::socket_t events_;
};

}  // namespace understudy::ftlog
