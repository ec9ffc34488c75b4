// The guest's cable to one other machine, over TCP or UDP, on the wire as QEMU's -netdev socket has it: over TCP each
// frame follows its length (32 bits, big-endian), over UDP each datagram is a frame. The peer may be anybody who can
// reach the port: a length that no frame has ends the connection before a byte is kept. Nothing is encrypted.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "devices/host_net.h"

namespace understudy::devices {

// An Internet address with a port, either family.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
};
// `text` is HOST:PORT, [IPV6]:PORT, or :PORT for loopback. Throws HostNetError.
SocketAddress resolve(const std::string& text);

// One peer at a time; others wait until it has gone. Listens, or connects and tries again for ever.
class HostNetTcp : public HostNetwork {
 public:
  enum class Role { listen, connect };
  struct Options {
    Role role = Role::listen;
    std::string address;
    std::chrono::milliseconds retry{1000};  // from a failed attempt to the next
    std::function<void(bool up)> on_link;   // on the back end's thread
  };
  // Throws HostNetError when the address is no good or cannot be listened on.
  HostNetTcp(Options options, FrameReceiver receiver);
  ~HostNetTcp() override;
  void send(std::span<const uint8_t> frame) override;
  // Where it listens.
  uint16_t port() const;

 private:
  void serve();
  HostFd next_peer();
  bool wait_for(int fd, short events, int timeout_ms) const;
  void exchange(int peer);
  bool read_from(int peer);
  bool write_to(int peer);
  // False when a length is not a frame's.
  bool take_frames();
  void drop_waiting();

  Options options_;
  FrameReceiver receiver_;
  SocketAddress address_;
  HostFd listener_;
  FrameQueue queue_;
  EventFd stop_;
  std::atomic<bool> linked_{false};
  std::vector<uint8_t> in_, out_;
  size_t sent_ = 0;  // of out_
  std::thread thread_;
};

// Takes datagrams from its peer's address only.
class HostNetUdp : public HostNetwork {
 public:
  struct Options {
    std::string peer, local;
  };
  HostNetUdp(const Options& options, FrameReceiver receiver);
  ~HostNetUdp() override;
  void send(std::span<const uint8_t> frame) override;

 private:
  void serve();
  FrameReceiver receiver_;
  HostFd socket_;
  EventFd stop_;
  std::thread thread_;
};

}  // namespace understudy::devices
