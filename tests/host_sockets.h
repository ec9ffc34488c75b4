// The host's ends of a network test: sockets on loopback, with a deadline for a test that has failed.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <stdexcept>
#include <string>

#include "devices/host_fd.h"
#include "tests/net_frames.h"

namespace understudy::net_test {

inline sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}
inline const sockaddr* as_sockaddr(const sockaddr_in& address) { return reinterpret_cast<const sockaddr*>(&address); }

class HostSocket {
 public:
  explicit HostSocket(int type) : fd_(::socket(AF_INET, type | SOCK_CLOEXEC, 0)) {
    const timeval patience{20, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  explicit HostSocket(devices::HostFd fd) : fd_(std::move(fd)) {
    const timeval patience{20, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  // At a port that the system chooses, or at this one.
  static HostSocket bound(int type, uint16_t port = 0) {
    HostSocket s(type);
    const int on = 1;
    ::setsockopt(s.fd_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const sockaddr_in address = loopback(port);
    if (::bind(s.fd_.get(), as_sockaddr(address), sizeof address) != 0) throw std::runtime_error("bind");
    if (type == SOCK_STREAM && ::listen(s.fd_.get(), 8) != 0) throw std::runtime_error("listen");
    return s;
  }
  static HostSocket connected(int type, uint16_t port) {
    HostSocket s(type);
    const sockaddr_in address = loopback(port);
    if (::connect(s.fd_.get(), as_sockaddr(address), sizeof address) != 0) throw std::runtime_error("connect");
    return s;
  }
  HostSocket accept() {
    devices::HostFd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd) throw std::runtime_error("accept");
    return HostSocket(std::move(fd));
  }
  uint16_t port() const {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &length);
    return ntohs(address.sin_port);
  }
  bool send(View bytes) {
    return ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }
  // One datagram, or what a stream has; empty at its end.
  Bytes receive(sockaddr_in* from = nullptr) {
    Bytes bytes(4096);
    socklen_t length = sizeof *from;
    const ssize_t got = ::recvfrom(fd_.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(from),
                                   from != nullptr ? &length : nullptr);
    bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return bytes;
  }
  // Of a stream, exactly this much, unless it ends before.
  Bytes receive_all(size_t size) {
    Bytes bytes(size);
    const ssize_t got = ::recv(fd_.get(), bytes.data(), size, MSG_WAITALL);
    bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return bytes;
  }
  bool send_to(View bytes, const sockaddr_in& to) {
    return ::sendto(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL, as_sockaddr(to), sizeof to) ==
           static_cast<ssize_t>(bytes.size());
  }
  void close() { fd_.reset(); }
  int fd() const { return fd_.get(); }

 private:
  devices::HostFd fd_;
};

// A port that was free a moment ago.
inline uint16_t free_port(int type) { return HostSocket::bound(type).port(); }

}  // namespace understudy::net_test
