#include "ftlog/socket_monitor.h"

#include <fmt/format.h>

#include <atomic>
#include <cstring>
#include <string>

namespace understudy::ftlog {

namespace {

constexpr int kEvents = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                        ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
// An event's first part: u16 event, u32 value. A second part, the endpoint, follows.
constexpr size_t kEventBytes = 6;

std::atomic<uint64_t> next_name{0};

}  // namespace

SocketMonitor::SocketMonitor(zmq::context_t& context, zmq::socket_t& socket)
    : socket_(socket), events_(context, zmq::socket_type::pair) {
  const std::string address = fmt::format("inproc://socket-monitor-{}", next_name++);
  if (::zmq_socket_monitor(socket_.handle(), address.c_str(), kEvents) != 0) throw zmq::error_t();
  // libzmq's own threads wait when the events find no room.
  events_.set(zmq::sockopt::rcvhwm, 0);
  events_.set(zmq::sockopt::linger, 0);
  events_.connect(address);
}

SocketMonitor::~SocketMonitor() { ::zmq_socket_monitor(socket_.handle(), nullptr, 0); }

std::optional<SocketMonitor::Event> SocketMonitor::next() {
  while (true) {
    zmq::message_t head, endpoint;
    if (!events_.recv(head, zmq::recv_flags::dontwait)) return {};
    if (head.more() && !events_.recv(endpoint, zmq::recv_flags::dontwait)) return {};
    if (head.size() != kEventBytes) continue;
    uint16_t event = 0;
    uint32_t value = 0;
    std::memcpy(&event, head.data<uint8_t>(), sizeof event);
    std::memcpy(&value, head.data<uint8_t>() + sizeof event, sizeof value);
    switch (event) {
      case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        return Event{Event::Kind::connected, -1};
      case ZMQ_EVENT_DISCONNECTED:
        return Event{Event::Kind::disconnected, static_cast<int>(value)};
      case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        return Event{Event::Kind::refused, -1};
      case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        return Event{Event::Kind::bad_peer, -1};
      case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        // Also a peer that goes away; who knows the socket counts it no less.
        return Event{Event::Kind::bad_peer, -1};
      default:
        break;  // monitor stopped
    }
  }
}

}  // namespace understudy::ftlog
