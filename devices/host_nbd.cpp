#include "devices/host_nbd.h"

#include <fmt/format.h>
#include <libnbd.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace understudy::devices {

namespace {

constexpr std::string_view kStart =
    "start the disk's server (such as nbdkit --unix SOCKET file IMAGE), or check the URI";

// libnbd's own words, in one line.
std::string reason() {
  const char* text = nbd_get_error();
  std::string line = text != nullptr ? text : "unknown error";
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

}  // namespace

bool is_nbd_uri(const std::string& text) {
  constexpr std::array<std::string_view, 5> kSchemes = {"nbd://", "nbds://", "nbd+unix://", "nbds+unix://",
                                                        "nbd+vsock://"};
  return std::any_of(kSchemes.begin(), kSchemes.end(),
                     [&](std::string_view scheme) { return text.starts_with(scheme); });
}

std::string nbd_uri_of_socket(const std::string& path) {
  std::string uri = "nbd+unix:///?socket=";
  for (const char c : std::filesystem::absolute(path).lexically_normal().string()) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       std::string_view("/-_.~").find(c) != std::string_view::npos;
    uri += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return uri;
}

void HostNbd::fail(const std::string& what, const std::string& advice) {
  close();
  throw NbdError(fmt::format("disk server {}: {}; {}", uri_, what, advice));
}

void HostNbd::close() {
  nbd_close(handle_);
  handle_ = nullptr;
}

bool HostNbd::is_lost() const { return nbd_aio_is_dead(handle_) == 1 || nbd_aio_is_closed(handle_) == 1; }

HostNbd::Wait HostNbd::wait(const std::function<bool()>& ready, Clock::time_point deadline) {
  while (!ready()) {
    if (is_lost()) return Wait::gone;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return Wait::late;
    const unsigned direction = nbd_aio_get_direction(handle_);
    short events = 0;
    if ((direction & LIBNBD_AIO_DIRECTION_READ) != 0) events |= POLLIN;
    if ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0) events |= POLLOUT;
    std::array<pollfd, 2> fds{{{nbd_aio_get_fd(handle_), events, 0}, {stop_.fd(), POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), static_cast<int>(std::min<int64_t>(left, 60'000))) < 0 && errno != EINTR)
      return Wait::gone;
    if (fds[1].revents != 0) return Wait::stopped;
    // A connection that was closed is found out by reading.
    if ((fds[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && (direction & LIBNBD_AIO_DIRECTION_READ) != 0)
      nbd_aio_notify_read(handle_);
    else if ((fds[0].revents & (POLLOUT | POLLHUP | POLLERR)) != 0)
      nbd_aio_notify_write(handle_);
    else if ((fds[0].revents & POLLNVAL) != 0)
      return Wait::gone;
  }
  return Wait::ready;
}

HostNbd::Shape HostNbd::open(std::chrono::milliseconds patience) {
  close();
  handle_ = nbd_create();
  if (handle_ == nullptr) fail(reason(), "close something else");
  if (nbd_aio_connect_uri(handle_, uri_.c_str()) != 0) fail(reason(), std::string(kStart));
  switch (wait([this] { return nbd_aio_is_ready(handle_) == 1; }, Clock::now() + patience)) {
    case Wait::ready:
      break;
    case Wait::late:
      fail(fmt::format("it does not answer within {} ms", patience.count()), "check that it is running");
    case Wait::gone:
      fail(reason(), std::string(kStart));
    case Wait::stopped:
      fail("stopped", "try again");
  }
  const int64_t bytes = nbd_get_size(handle_);
  if (bytes < 0) fail(reason(), "check the server");
  Shape shape;
  shape.bytes = static_cast<uint64_t>(bytes) / 512 * 512;
  shape.read_only = nbd_is_read_only(handle_) == 1;
  can_flush_ = nbd_can_flush(handle_) == 1;
  can_fua_ = nbd_can_fua(handle_) == 1;
  if (shape.bytes == 0) fail("the disk has not even one sector", "give its image a size with 'truncate -s SIZE'");
  if (const int64_t least = nbd_get_block_size(handle_, LIBNBD_SIZE_MINIMUM); least > 512)
    fail(fmt::format("it takes only blocks of {} bytes", least), "serve the disk in blocks of at most 512 bytes");
  shape_ = shape;
  return shape;
}

HostNbd::Outcome HostNbd::finish(int64_t cookie) {
  if (cookie < 0) {
    // Refused on this side, or the connection was found dead.
    error_ = reason();
    return is_lost() ? Outcome::gone : Outcome::failed;
  }
  int completed = 0;
  const auto ready = [&] {
    completed = nbd_aio_command_completed(handle_, static_cast<uint64_t>(cookie));
    return completed != 0;
  };
  Wait waited = wait(ready, Clock::now() + kSlow);
  if (waited == Wait::late) {
    if (slow_) slow_();
    waited = wait(ready, Clock::time_point::max());
  }
  switch (waited) {
    case Wait::ready:
      break;
    case Wait::stopped:
      error_ = "stopped";
      return Outcome::stopped;
    case Wait::late:
    case Wait::gone:
      error_ = "the connection is lost";
      return Outcome::gone;
  }
  if (completed == 1) return Outcome::done;
  error_ = reason();
  const int number = nbd_get_errno();
  if (is_lost() || number == ESHUTDOWN || number == ENOTCONN) return Outcome::gone;
  return Outcome::failed;
}

HostNbd::Outcome HostNbd::read(uint64_t offset, std::span<uint8_t> to) {
  if (handle_ == nullptr) return Outcome::gone;
  return finish(nbd_aio_pread(handle_, to.data(), to.size(), offset, NBD_NULL_COMPLETION, 0));
}

HostNbd::Outcome HostNbd::write(uint64_t offset, std::span<const uint8_t> from, bool durable) {
  if (handle_ == nullptr) return Outcome::gone;
  const uint32_t flags = durable && can_fua_ ? LIBNBD_CMD_FLAG_FUA : 0;
  const Outcome outcome = finish(nbd_aio_pwrite(handle_, from.data(), from.size(), offset, NBD_NULL_COMPLETION, flags));
  return outcome == Outcome::done && durable && !can_fua_ ? flush() : outcome;
}

HostNbd::Outcome HostNbd::flush() {
  if (handle_ == nullptr) return Outcome::gone;
  if (!can_flush_) return Outcome::done;  // the server keeps nothing back
  return finish(nbd_aio_flush(handle_, NBD_NULL_COMPLETION, 0));
}

}  // namespace understudy::devices
