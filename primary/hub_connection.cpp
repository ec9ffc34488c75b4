#include "primary/hub_connection.h"

#include "ftlog/key_guard.h"
#include "primary/hub_protocol.h"

namespace understudy::primary {

namespace {
// Messages that ZeroMQ holds, either way; frames that find no room wait in the link.
constexpr int kHighWater = 500;
}  // namespace

HubConnection::HubConnection(zmq::context_t& context, const std::string& address, const ftlog::CurveIdentity* keys)
    : socket(context, zmq::socket_type::dealer), monitor(context, socket) {
  socket.set(zmq::sockopt::linger, 0);
  socket.set(zmq::sockopt::sndhwm, kHighWater);
  socket.set(zmq::sockopt::rcvhwm, kHighWater);
  socket.set(zmq::sockopt::maxmsgsize, static_cast<int64_t>(hub::kMaxMessage));
  socket.set(zmq::sockopt::ipv6, 1);
  socket.set(zmq::sockopt::immediate, 1);
  socket.set(zmq::sockopt::reconnect_ivl, 20);
  socket.set(zmq::sockopt::reconnect_ivl_max, 500);
  hub::keep_alive(socket);
  if (keys != nullptr) ftlog::secure_client(socket, *keys);
  socket.connect(address);
  descriptor = socket.get(zmq::sockopt::fd);
}

bool HubConnection::is_ready(bool wants_room) {
  return (socket.get(zmq::sockopt::events) & (wants_room ? ZMQ_POLLIN | ZMQ_POLLOUT : ZMQ_POLLIN)) != 0;
}

bool HubConnection::send(const ftlog::Bytes& bytes) {
  return socket.send(zmq::buffer(bytes), zmq::send_flags::dontwait).has_value();
}

}  // namespace understudy::primary
