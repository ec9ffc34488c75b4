#include "devices/host_net_socket.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

namespace understudy::devices {

namespace {

constexpr size_t kLengthBytes = 4;
// Bytes moved at a time, either way; also what may wait for a slow peer beside the queue.
constexpr size_t kBuffer = 64 << 10;

// A peer that has vanished without a word is noticed within half a minute.
void watch_liveness(int fd) {
  const int on = 1, idle_s = 10, interval_s = 5, probes = 4;
  const unsigned patience_ms = 30000;
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
  ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience_ms, sizeof patience_ms);
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

// Connecting again and again to a free port of this host meets itself in the end (RFC 793, simultaneous open).
bool is_own_peer(int fd) {
  SocketAddress here, there;
  here.size = there.size = sizeof here.storage;
  return ::getsockname(fd, reinterpret_cast<sockaddr*>(&here.storage), &here.size) == 0 &&
         ::getpeername(fd, reinterpret_cast<sockaddr*>(&there.storage), &there.size) == 0 && here.size == there.size &&
         std::memcmp(&here.storage, &there.storage, here.size) == 0;
}

[[noreturn]] void fail(const std::string& address, int error) {
  throw HostNetError(fmt::format("network socket {}: {}", address, std::strerror(error)));
}

}  // namespace

SocketAddress resolve(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon + 1 == text.size())
    throw HostNetError(fmt::format("network socket '{}': want ADDRESS:PORT", text));
  std::string host = text.substr(0, colon);
  const std::string port = text.substr(colon + 1);
  uint16_t number = 0;
  const auto [end, bad] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (bad != std::errc() || end != port.data() + port.size())
    throw HostNetError(fmt::format("network socket '{}': '{}' is not a port (0 to 65535)", text, port));
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.empty() ? nullptr : host.c_str(), port.c_str(), &hints, &found))
    throw HostNetError(fmt::format("network socket '{}': {}", text, ::gai_strerror(error)));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, ::freeaddrinfo);
  // Of loopback's two, the one that every host has.
  for (addrinfo* a = found; host.empty() && a != nullptr; a = a->ai_next)
    if (a->ai_family == AF_INET) found = a;
  SocketAddress address;
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.size = found->ai_addrlen;
  return address;
}

HostNetTcp::HostNetTcp(Options options, FrameReceiver receiver)
    : options_(std::move(options)), receiver_(std::move(receiver)), address_(resolve(options_.address)) {
  if (options_.role == Role::listen) {
    listener_.reset(::socket(address_.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int on = 1;
    if (!listener_ || ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        ::bind(listener_.get(), address_.get(), address_.size) != 0 || ::listen(listener_.get(), 1) != 0)
      fail(options_.address, errno);
  }
  thread_ = std::thread([this] { serve(); });
}

HostNetTcp::~HostNetTcp() {
  stop_.notify();
  thread_.join();
}

uint16_t HostNetTcp::port() const {
  SocketAddress bound;
  bound.size = sizeof bound.storage;
  ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&bound.storage), &bound.size);
  // sin_port and sin6_port are at the same place.
  return ntohs(reinterpret_cast<const sockaddr_in*>(&bound.storage)->sin_port);
}

void HostNetTcp::send(std::span<const uint8_t> frame) {
  if (!fits(frame))
    counters_.out_bad_size.fetch_add(1, std::memory_order_relaxed);
  else if (!linked_.load())
    counters_.out_no_link.fetch_add(1, std::memory_order_relaxed);
  else if (!queue_.push(frame))
    counters_.out_queue_full.fetch_add(1, std::memory_order_relaxed);
}

// Until `fd` is ready (it may be none) or the time is over; false when it is time to stop.
bool HostNetTcp::wait_for(int fd, short events, int timeout_ms) const {
  pollfd ready[2] = {{fd, events, 0}, {stop_.fd(), POLLIN, 0}};
  ::poll(ready, 2, timeout_ms);
  return ready[1].revents == 0;
}

void HostNetTcp::serve() {
  while (true) {
    const HostFd peer = next_peer();
    if (!peer) return;
    watch_liveness(peer.get());
    linked_.store(true);
    if (options_.on_link) options_.on_link(true);
    exchange(peer.get());
    linked_.store(false);
    drop_waiting();
    if (options_.on_link) options_.on_link(false);
  }
}

// A connected, non-blocking socket; none when it is time to stop.
HostFd HostNetTcp::next_peer() {
  while (true) {
    // A last attempt to connect would reach the peer as a guest that comes and goes.
    if (!wait_for(-1, 0, 0)) return {};
    if (options_.role == Role::listen) {
      if (!wait_for(listener_.get(), POLLIN, -1)) return {};
      HostFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (peer) return peer;
      if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) continue;
    } else {
      HostFd peer(::socket(address_.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      if (peer && (::connect(peer.get(), address_.get(), address_.size) == 0 || errno == EINPROGRESS)) {
        if (!wait_for(peer.get(), POLLOUT, -1)) return {};
        int error = 0;
        socklen_t length = sizeof error;
        if (::getsockopt(peer.get(), SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0 &&
            !is_own_peer(peer.get()))
          return peer;
      }
    }
    if (!wait_for(-1, 0, static_cast<int>(options_.retry.count()))) return {};
  }
}

void HostNetTcp::exchange(int peer) {
  in_.clear();
  out_.clear();
  sent_ = 0;
  while (true) {
    const bool busy = !out_.empty();
    pollfd ready[3] = {{peer, static_cast<short>(busy ? POLLIN | POLLOUT : POLLIN), 0},
                       {busy ? -1 : queue_.ready(), POLLIN, 0},
                       {stop_.fd(), POLLIN, 0}};
    if (::poll(ready, 3, -1) < 0) continue;  // EINTR
    if (ready[2].revents != 0) return;
    if ((ready[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !read_from(peer)) return;
    if (!write_to(peer)) return;
  }
}

bool HostNetTcp::read_from(int peer) {
  const size_t kept = in_.size();  // less than one frame
  in_.resize(kept + kBuffer);
  const ssize_t got = ::recv(peer, in_.data() + kept, kBuffer, 0);
  const int error = errno;
  in_.resize(kept + (got > 0 ? static_cast<size_t>(got) : 0));
  if (got == 0) return false;
  if (got < 0) return error == EAGAIN || error == EINTR;
  if (take_frames()) return true;
  counters_.links_cut.fetch_add(1, std::memory_order_relaxed);
  return false;
}

bool HostNetTcp::take_frames() {
  size_t at = 0;
  while (in_.size() - at >= kLengthBytes) {
    size_t length = 0;
    for (size_t i = 0; i < kLengthBytes; ++i) length = length << 8 | in_[at + i];
    if (length < kMinFrame || length > kMaxFrame) return false;
    if (in_.size() - at - kLengthBytes < length) break;
    receive(std::span(in_).subspan(at + kLengthBytes, length), receiver_);
    at += kLengthBytes + length;
  }
  in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(at));
  return true;
}

bool HostNetTcp::write_to(int peer) {
  if (out_.empty()) {
    queue_.clear_ready();
    std::vector<uint8_t> frame;
    while (out_.size() < kBuffer && queue_.pop(frame)) {
      for (int shift = 24; shift >= 0; shift -= 8) out_.push_back(static_cast<uint8_t>(frame.size() >> shift));
      out_.insert(out_.end(), frame.begin(), frame.end());
      count_out(frame.size());
    }
    if (out_.size() >= kBuffer) queue_.wake();  // more may wait
  }
  if (out_.empty()) return true;
  const ssize_t done = ::send(peer, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
  if (done < 0) return errno == EAGAIN || errno == EINTR;
  sent_ += static_cast<size_t>(done);
  if (sent_ == out_.size()) {
    out_.clear();
    sent_ = 0;
  }
  return true;
}

void HostNetTcp::drop_waiting() {
  std::vector<uint8_t> frame;
  while (queue_.pop(frame)) counters_.out_no_link.fetch_add(1, std::memory_order_relaxed);
}

HostNetUdp::HostNetUdp(const Options& options, FrameReceiver receiver) : receiver_(std::move(receiver)) {
  const SocketAddress peer = resolve(options.peer), local = resolve(options.local);
  if (peer.family() != local.family())
    throw HostNetError(
        fmt::format("network socket {}: is of another address family than {}", options.local, options.peer));
  socket_.reset(::socket(local.family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket_ || ::bind(socket_.get(), local.get(), local.size) != 0) fail(options.local, errno);
  if (::connect(socket_.get(), peer.get(), peer.size) != 0) fail(options.peer, errno);
  thread_ = std::thread([this] { serve(); });
}

HostNetUdp::~HostNetUdp() {
  stop_.notify();
  thread_.join();
}

void HostNetUdp::send(std::span<const uint8_t> frame) {
  if (!fits(frame)) {
    counters_.out_bad_size.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  ssize_t done = ::send(socket_.get(), frame.data(), frame.size(), MSG_NOSIGNAL);
  // This tells of an earlier datagram that nobody was there for; it is not about this one.
  if (done < 0 && errno == ECONNREFUSED) done = ::send(socket_.get(), frame.data(), frame.size(), MSG_NOSIGNAL);
  if (done >= 0) {
    count_out(frame.size());
    return;
  }
  const bool full = errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM;
  (full ? counters_.out_queue_full : counters_.out_no_link).fetch_add(1, std::memory_order_relaxed);
}

void HostNetUdp::serve() {
  std::array<uint8_t, kMaxFrame + 1> frame{};  // one more, to see what is too long
  while (true) {
    pollfd ready[2] = {{socket_.get(), POLLIN, 0}, {stop_.fd(), POLLIN, 0}};
    if (::poll(ready, 2, -1) < 0) continue;  // EINTR
    if (ready[1].revents != 0) return;
    const ssize_t got = ::recv(socket_.get(), frame.data(), frame.size(), 0);
    if (got >= 0) receive(std::span(frame).first(static_cast<size_t>(got)), receiver_);
  }
}

}  // namespace understudy::devices
