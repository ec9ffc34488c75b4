// One ZeroMQ connection of a replica's to the hub. Not thread-safe: its owner sees to that.
#pragma once

#include <string>
#include <zmq.hpp>

#include "ftlog/bytes.h"
#include "ftlog/curve_keys.h"
#include "ftlog/socket_monitor.h"

namespace understudy::primary {

struct HubConnection {
  zmq::socket_t socket;
  ftlog::SocketMonitor monitor;
  int descriptor = -1;    // readable when the socket is to be looked at again; not told twice
  bool accepted = false;  // the hub has answered the newest announcement
  bool bad_peer = false;

  // Begins to connect. Throws zmq::error_t.
  HubConnection(zmq::context_t& context, const std::string& address, const ftlog::CurveIdentity* keys);
  // There is input, or room, which the descriptor does not tell of any more.
  bool is_ready(bool wants_room);
  // False when the socket is full.
  bool send(const ftlog::Bytes& bytes);
};

}  // namespace understudy::primary
