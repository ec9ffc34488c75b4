#include "tools/gdb_listener.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "tools/run_session.h"
#include "tools/serial_backend.h"

namespace understudy::tools {

namespace {

// How often a wait looks whether a signal has come: one that came right before it cannot end it.
constexpr int kLookEveryMs = 200;
// A client that takes nothing for this long is cut off.
constexpr int kPatienceMs = 10000;

// Whether there is something to be had; waits for it, or not.
bool readable(int fd, bool wait, const std::atomic<bool>& closed) {
  while (!interrupted() && !(wait && closed)) {
    pollfd ready{fd, POLLIN, 0};
    const int count = ::poll(&ready, 1, wait ? kLookEveryMs : 0);
    if (count > 0) return true;
    if (count < 0 && errno != EINTR) return true;  // let the read say what is wrong
    if (!wait) return false;
  }
  return false;
}

class SocketLink : public GdbLink {
 public:
  SocketLink(int fd, const std::atomic<bool>& closed) : fd_(fd), closed_(closed) {}
  ~SocketLink() override { ::close(fd_); }
  bool receive(std::vector<uint8_t>& to, bool wait) override {
    if (interrupted() || (wait && closed_)) return false;
    if (!readable(fd_, wait, closed_)) return !wait;
    std::array<uint8_t, 8192> bytes{};
    const ssize_t got = ::recv(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (got > 0) to.insert(to.end(), bytes.begin(), bytes.begin() + got);
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
  }
  bool send(std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t done = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (done >= 0) {
        bytes.remove_prefix(static_cast<size_t>(done));
        continue;
      }
      if (errno == EINTR) continue;
      pollfd ready{fd_, POLLOUT, 0};
      if (errno != EAGAIN || ::poll(&ready, 1, kPatienceMs) <= 0) return false;
    }
    return true;
  }

 private:
  int fd_;
  const std::atomic<bool>& closed_;
};

bool is_loopback(const sockaddr& address) {
  if (address.sa_family == AF_INET)
    return ntohl(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr) >> 24 == 127;
  return address.sa_family == AF_INET6 &&
         IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
}

[[noreturn]] void fail(const std::string& spec, const char* why) {
  throw UsageError(fmt::format("--gdb {}: {}", spec, why));
}

}  // namespace

GdbListener::GdbListener(const std::string& spec) {
  if (spec.starts_with("unix:"))
    listen_unix(spec.substr(5));
  else
    listen_tcp(spec);
}

GdbListener::~GdbListener() {
  if (listener_ >= 0) ::close(listener_);
  if (!unlink_path_.empty()) ::unlink(unlink_path_.c_str());
}

void GdbListener::listen_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    fail("unix:" + path, fmt::format("want a path of 1 to {} bytes", sizeof address.sun_path - 1).c_str());
  std::memcpy(address.sun_path, path.data(), path.size());
  // A socket that a dead process left is in the way.
  struct stat existing {};
  if (::lstat(path.c_str(), &existing) == 0 && S_ISSOCK(existing.st_mode)) ::unlink(path.c_str());
  listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool bound =
      listener_ >= 0 && ::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  if (bound) unlink_path_ = path;
  if (!bound || ::listen(listener_, 1) != 0) {
    const int error = errno;
    if (listener_ >= 0) ::close(listener_);
    if (bound) ::unlink(path.c_str());
    fail("unix:" + path, std::strerror(error));
  }
  target_ = path.starts_with('/') ? path : "./" + path;
}

void GdbListener::listen_tcp(const std::string& spec) {
  const size_t colon = spec.rfind(':');
  std::string host = colon == std::string::npos ? "" : spec.substr(0, colon);
  const std::string port = colon == std::string::npos ? spec : spec.substr(colon + 1);
  if (host.empty()) host = "127.0.0.1";
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (port.empty() || port.size() > 5 || port.find_first_not_of("0123456789") != std::string::npos ||
      std::stoul(port) > 65535)
    fail(spec, "want [ADDRESS]:PORT or unix:PATH");
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found)) fail(spec, ::gai_strerror(error));
  listener_ = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  if (listener_ >= 0) ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool ok =
      listener_ >= 0 && ::bind(listener_, found->ai_addr, found->ai_addrlen) == 0 && ::listen(listener_, 1) == 0;
  const int error = errno;
  public_ = !is_loopback(*found->ai_addr);
  const bool v6 = found->ai_family == AF_INET6;
  ::freeaddrinfo(found);
  if (!ok) {
    if (listener_ >= 0) ::close(listener_);
    fail(spec, std::strerror(error));
  }
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  ::getsockname(listener_, reinterpret_cast<sockaddr*>(&bound), &length);
  const uint16_t number = ntohs(v6 ? reinterpret_cast<const sockaddr_in6&>(bound).sin6_port
                                   : reinterpret_cast<const sockaddr_in&>(bound).sin_port);
  target_ = v6 ? fmt::format("[{}]:{}", host, number) : fmt::format("{}:{}", host, number);
}

std::unique_ptr<GdbLink> GdbListener::accept() {
  while (readable(listener_, true, closed_)) {
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0) continue;
    // Packets are small, and each is waited for. A Unix socket has no such option, and needs none.
    const int on = 1;
    ::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return std::make_unique<SocketLink>(client, closed_);
  }
  return nullptr;
}

}  // namespace understudy::tools
