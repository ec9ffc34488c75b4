#include "devices/host_net_tap.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace understudy::devices {

namespace {

std::string advice(int error, const std::string& name) {
  switch (error) {
    case EPERM:
      return fmt::format("; as root: ip tuntap add dev {} mode tap user USER && ip link set {} up", name, name);
    case EBUSY:
      return "; another program has it open";
    case EINVAL:
      return "; the interface exists and is no TAP device";
    default:
      return "";
  }
}

void check_name(const std::string& name) {
  // What the kernel would refuse, or take for a pattern.
  const bool odd = std::any_of(name.begin(), name.end(), [](unsigned char c) {
    return c <= ' ' || c == '/' || c == ':' || c == '%' || c == 127;
  });
  if (name.empty() || name.size() >= IFNAMSIZ || odd || name == "." || name == "..")
    throw HostNetError(fmt::format("TAP device '{}': not an interface name", name));
}

}  // namespace

HostNetTap::HostNetTap(const std::string& name, FrameReceiver receiver) : name_(name), receiver_(std::move(receiver)) {
  check_name(name);
  tap_.reset(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!tap_) {
    const int error = errno;
    throw HostNetError(fmt::format("TAP device {}: cannot open /dev/net/tun: {}", name, std::strerror(error)));
  }
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  if (::ioctl(tap_.get(), TUNSETIFF, &request) != 0) {
    const int error = errno;
    throw HostNetError(fmt::format("TAP device {}: {}{}", name, std::strerror(error), advice(error, name)));
  }
  thread_ = std::thread([this] { serve(); });
}

HostNetTap::~HostNetTap() {
  stop_.notify();
  thread_.join();
}

void HostNetTap::send(std::span<const uint8_t> frame) {
  if (!fits(frame)) {
    counters_.out_bad_size.fetch_add(1, std::memory_order_relaxed);
  } else if (::write(tap_.get(), frame.data(), frame.size()) >= 0) {
    count_out(frame.size());
  } else {
    const bool full = errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM;
    (full ? counters_.out_queue_full : counters_.out_no_link).fetch_add(1, std::memory_order_relaxed);
  }
}

void HostNetTap::serve() {
  std::array<uint8_t, 65536> frame{};
  while (true) {
    pollfd ready[2] = {{tap_.get(), POLLIN, 0}, {stop_.fd(), POLLIN, 0}};
    if (::poll(ready, 2, -1) < 0) continue;  // EINTR
    if (ready[1].revents != 0) return;
    const ssize_t got = ::read(tap_.get(), frame.data(), frame.size());
    if (got >= 0) {
      receive(std::span(frame).first(static_cast<size_t>(got)), receiver_);
    } else if (errno != EAGAIN && errno != EINTR) {
      fmt::print(stderr, "understudy: TAP device {}: {}; the network is gone\n", name_, std::strerror(errno));
      return;
    }
  }
}

}  // namespace understudy::devices
