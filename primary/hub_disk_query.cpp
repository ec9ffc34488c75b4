#include "primary/hub_disk_query.h"

#include <fmt/format.h>

#include <zmq.hpp>

#include "ftlog/key_guard.h"
#include "primary/hub_link.h"
#include "primary/hub_protocol.h"

namespace understudy::primary {

namespace {

using Clock = std::chrono::steady_clock;

zmq::socket_t connected(zmq::context_t& context, const std::string& address, const ftlog::CurveIdentity* keys) {
  zmq::socket_t socket(context, zmq::socket_type::dealer);
  socket.set(zmq::sockopt::linger, 0);
  socket.set(zmq::sockopt::maxmsgsize, static_cast<int64_t>(hub::kMaxMessage));
  socket.set(zmq::sockopt::ipv6, 1);
  socket.set(zmq::sockopt::reconnect_ivl, 20);
  if (keys != nullptr) ftlog::secure_client(socket, *keys);
  socket.connect(address);
  return socket;
}

}  // namespace

HubDisk ask_hub_for_disk(const std::string& address, const ftlog::CurveIdentity* keys, const std::string& disk,
                         std::chrono::milliseconds patience) {
  if (!hub::is_disk_name(disk))
    throw HubLinkError(
        fmt::format("hub:{}: want the name of a disk of the hub's: 1 to {} letters, digits, '.', '_', '-'", disk,
                    hub::kMaxDiskName));
  try {
    zmq::context_t context(1);
    zmq::socket_t socket = connected(context, address, keys);
    socket.send(zmq::buffer(hub::encode(hub::ToHub(hub::AskDisk{disk}))), zmq::send_flags::dontwait);
    const auto deadline = Clock::now() + patience;
    while (true) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
      if (left.count() <= 0) break;
      socket.set(zmq::sockopt::rcvtimeo, static_cast<int>(left.count()));
      zmq::message_t message;
      if (!socket.recv(message)) break;
      try {
        const hub::ToReplica decoded = hub::decode_to_replica({message.data<uint8_t>(), message.size()});
        const auto* shape = std::get_if<hub::DiskShape>(&decoded);
        if (shape == nullptr || shape->disk != disk) continue;
        if (!shape->known)
          throw HubLinkError(
              fmt::format("hub {}: it has no disk named {}: start it with --disk {}=URI", address, disk, disk));
        return {shape->bytes, shape->read_only};
      } catch (const hub::VersionError& error) {
        throw HubLinkError(fmt::format("hub {}: it {}: run one build on both", address, error.what()));
      } catch (const ftlog::DecodeError&) {
        // Another's message: the time runs out.
      }
    }
  } catch (const zmq::error_t& error) {
    throw HubLinkError(fmt::format("hub {}: {}: want tcp://HOST:PORT or ipc://PATH", address, error.what()));
  }
  throw HubLinkError(fmt::format("hub {}: it does not say within {} ms what disk {} is: check that it runs", address,
                                 patience.count(), disk));
}

}  // namespace understudy::primary
