#include "tools/serial_socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <thread>

#include "tools/input_buffer.h"

namespace understudy::tools {

namespace {

class SerialSocket : public SerialBackend {
 public:
  SerialSocket(int listener, std::string unlink_path, Wakeup& wakeup)
      : listener_(listener), stop_(::eventfd(0, EFD_CLOEXEC)), unlink_path_(std::move(unlink_path)), wakeup_(wakeup) {
    thread_ = std::thread([this] { serve(); });
  }
  ~SerialSocket() override {
    input_.close();
    const uint64_t one = 1;
    if (::write(stop_, &one, sizeof one) < 0) std::terminate();
    thread_.join();
    ::close(listener_);
    ::close(stop_);
    if (!unlink_path_.empty()) ::unlink(unlink_path_.c_str());
  }
  std::vector<uint8_t> take(size_t most) override { return input_.take(most); }
  void write(std::span<const uint8_t> bytes) override {
    const std::lock_guard lock(mutex_);
    while (client_ >= 0 && !bytes.empty()) {
      // A slow reader slows the machine; a reader that stops reading for this long is cut off.
      constexpr int kPatienceMs = 10000;
      const ssize_t done = ::send(client_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (done >= 0) {
        bytes = bytes.subspan(static_cast<size_t>(done));
        continue;
      }
      if (errno == EINTR) continue;
      pollfd ready{client_, POLLOUT, 0};
      if (errno != EAGAIN || ::poll(&ready, 1, kPatienceMs) <= 0) {
        ::shutdown(client_, SHUT_RDWR);
        return;
      }
    }
  }

 private:
  void serve() {
    while (true) {
      pollfd ready[2] = {{client_ >= 0 ? client_ : listener_, POLLIN, 0}, {stop_, POLLIN, 0}};
      if (::poll(ready, 2, -1) < 0 && errno != EINTR) return;
      if (ready[1].revents != 0) break;
      if (ready[0].revents == 0) continue;
      if (client_ < 0) {
        const int accepted = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        const std::lock_guard lock(mutex_);
        client_ = accepted;
        continue;
      }
      std::array<uint8_t, 1024> bytes{};
      const ssize_t got = ::recv(client_, bytes.data(), bytes.size(), 0);
      if (got > 0) {
        if (!input_.put(std::span(bytes).first(static_cast<size_t>(got)))) break;
        wakeup_.notify();
      } else if (got == 0 || errno != EINTR) {
        hang_up();
      }
    }
    hang_up();
  }
  void hang_up() {
    const std::lock_guard lock(mutex_);
    if (client_ >= 0) ::close(client_);
    client_ = -1;
  }

  int listener_;
  int stop_;
  std::string unlink_path_;
  Wakeup& wakeup_;
  InputBuffer input_;
  std::mutex mutex_;
  int client_ = -1;  // written by the serving thread under the mutex
  std::thread thread_;
};

}  // namespace

int open_unix_listener(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    throw UsageError(
        fmt::format("serial socket {}: the path is longer than {} bytes", path, sizeof address.sun_path - 1));
  std::memcpy(address.sun_path, path.data(), path.size());
  struct stat existing {};
  if (::lstat(path.c_str(), &existing) == 0 && S_ISSOCK(existing.st_mode)) ::unlink(path.c_str());
  const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0 || ::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener, 1) != 0) {
    const int error = errno;
    if (listener >= 0) ::close(listener);
    throw UsageError(fmt::format("serial socket {}: {}", path, std::strerror(error)));
  }
  return listener;
}

int open_tcp_listener(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == address.size())
    throw UsageError(fmt::format("serial line tcp:{}: want tcp:HOST:PORT", address));
  const std::string host = address.substr(0, colon), port = address.substr(colon + 1);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found))
    throw UsageError(fmt::format("serial line tcp:{}: {}", address, ::gai_strerror(error)));
  const int listener = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  if (listener >= 0) ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool ok =
      listener >= 0 && ::bind(listener, found->ai_addr, found->ai_addrlen) == 0 && ::listen(listener, 1) == 0;
  const int error = errno;
  ::freeaddrinfo(found);
  if (!ok) {
    if (listener >= 0) ::close(listener);
    throw UsageError(fmt::format("serial line tcp:{}: {}", address, std::strerror(error)));
  }
  if (port == "0") {
    sockaddr_storage bound{};
    socklen_t length = sizeof bound;
    ::getsockname(listener, reinterpret_cast<sockaddr*>(&bound), &length);
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&bound);
    fmt::print(stderr, "understudy: serial line on tcp:{}:{}\n", host, ntohs(v4->sin_port));
  }
  return listener;
}

std::unique_ptr<SerialBackend> listen_unix(const std::string& path, Wakeup& wakeup) {
  return std::make_unique<SerialSocket>(open_unix_listener(path), path, wakeup);
}

std::unique_ptr<SerialBackend> listen_tcp(const std::string& address, Wakeup& wakeup) {
  return std::make_unique<SerialSocket>(open_tcp_listener(address), std::string(), wakeup);
}

}  // namespace understudy::tools
