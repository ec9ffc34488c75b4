#include "devices/user_stack.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <set>

#include "devices/segment_coalescer.h"

namespace understudy::devices {

namespace {

// A DHCP message has room for this much (RFC 2131, section 2: 'file'), less its end.
constexpr size_t kMaxBootfile = 127;

in_addr ipv4(const char* text) {
  in_addr address{};
  ::inet_pton(AF_INET, text, &address);
  return address;
}

in6_addr ipv6(const char* text) {
  in6_addr address{};
  ::inet_pton(AF_INET6, text, &address);
  return address;
}

std::string to_text(const HostForward& f) {
  char host[INET_ADDRSTRLEN], guest[INET_ADDRSTRLEN];
  ::inet_ntop(AF_INET, &f.host_address, host, sizeof host);
  ::inet_ntop(AF_INET, &f.guest_address, guest, sizeof guest);
  return fmt::format("{}:{}:{}-{}:{}", f.udp ? "udp" : "tcp", host, f.host_port, guest, f.guest_port);
}

void check_folder(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0)
    throw HostNetError(fmt::format("TFTP folder {}: {}", path, std::strerror(errno)));
  if (!S_ISDIR(info.st_mode)) throw HostNetError(fmt::format("TFTP folder {}: is not a folder", path));
}

bool is_ipv4(std::span<const uint8_t> frame) {
  return frame.size() >= 14 + 20 && frame[12] == 0x08 && frame[13] == 0x00;
}

bool is_ipv6(std::span<const uint8_t> frame) {
  return frame.size() >= 14 + 40 && frame[12] == 0x86 && frame[13] == 0xdd;
}

// A piece of an IPv4 datagram (RFC 791: more fragments, or an offset). libslirp 4.7 can be crashed by pieces that
// overlap, so it gets none; a guest's datagrams must fit into its frames.
bool is_fragment(std::span<const uint8_t> frame) {
  return is_ipv4(frame) && ((frame[14 + 6] & 0x3f) != 0 || frame[14 + 7] != 0);
}

// An IPv6 packet whose lengths disagree: with its frame, or UDP's with its own. libslirp 4.7 would pass on bytes that
// are not there.
bool is_cut_ipv6(std::span<const uint8_t> frame) {
  if (!is_ipv6(frame)) return false;
  const size_t length = size_t{frame[18]} << 8 | frame[19];
  if (size_t{14 + 40} + length > frame.size()) return true;
  if (frame[14 + 6] != IPPROTO_UDP) return false;
  return length < 8 || (size_t{frame[14 + 44]} << 8 | frame[14 + 45]) != length;
}

// An ICMPv6 echo request to somebody else than libslirp (::2 and ::3 of its prefix and of the link): it carries none to
// the outside, but writes a line on standard error for each.
bool is_foreign_ping6(std::span<const uint8_t> frame) {
  constexpr size_t kTarget = 14 + 24, kIcmp = 14 + 40;
  constexpr uint8_t kEchoRequest = 128;
  if (!is_ipv6(frame) || frame.size() <= kIcmp || frame[14 + 6] != IPPROTO_ICMPV6 || frame[kIcmp] != kEchoRequest)
    return false;
  in6_addr target{};
  std::memcpy(&target, &frame[kTarget], sizeof target);
  for (const char* own : {"fec0::2", "fec0::3", "fe80::2", "fe80::3"}) {
    const in6_addr address = ipv6(own);
    if (std::memcmp(&target, &address, sizeof target) == 0) return false;
  }
  return true;
}

// Whether a frame can make libslirp open a socket: UDP, ICMP, or a TCP segment with SYN.
bool may_open_socket(std::span<const uint8_t> frame) {
  constexpr size_t kIp = 14;
  const bool ipv6 = is_ipv6(frame);
  if (!ipv6 && !is_ipv4(frame)) return false;
  const uint8_t protocol = frame[kIp + (ipv6 ? 6 : 9)];
  if (protocol == IPPROTO_ICMPV6) return false;
  if (protocol != IPPROTO_TCP) return true;
  const size_t flags = kIp + (ipv6 ? 40 : size_t{4} * (frame[kIp] & 0x0f)) + 13;
  return flags >= frame.size() || (frame[flags] & 0x02) != 0;
}

}  // namespace

class UserStack::Slirp {
 public:
  Slirp(const UserNetOptions& options, UserStack& owner) : owner_(owner) {
    SlirpConfig config{};
    config.version = 4;
    config.restricted = options.restricted;
    config.in_enabled = true;
    config.vnetwork = ipv4("10.0.2.0");
    config.vnetmask = ipv4("255.255.255.0");
    config.vhost = ipv4("10.0.2.2");
    config.vdhcp_start = ipv4("10.0.2.15");
    config.vnameserver = ipv4("10.0.2.3");
    // libslirp restricts IPv4 only.
    config.in6_enabled = !options.restricted;
    config.vprefix_addr6 = ipv6("fec0::");
    config.vprefix_len = 64;
    config.vhost6 = ipv6("fec0::2");
    config.vnameserver6 = ipv6("fec0::3");
    config.vhostname = "understudy";
    if (!options.tftp_root.empty()) config.tftp_path = options.tftp_root.c_str();
    if (!options.bootfile.empty()) config.bootfile = options.bootfile.c_str();
    slirp_ = ::slirp_new(&config, &kCallbacks, this);
    if (slirp_ == nullptr) throw HostNetError("user network: libslirp refused its configuration");
    for (const HostForward& f : options.forwards) {
      if (::slirp_add_hostfwd(slirp_, f.udp ? 1 : 0, f.host_address, f.host_port, f.guest_address, f.guest_port) == 0)
        continue;
      const int error = errno;
      ::slirp_cleanup(slirp_);
      throw HostNetError(fmt::format("user network: hostfwd={}: {}", to_text(f), std::strerror(error)));
    }
    // libslirp looks at the clock only here; without this, what the first frames open has expired long ago.
    ::slirp_pollfds_poll(slirp_, 1, get_revents, this);
  }
  ~Slirp() { ::slirp_cleanup(slirp_); }
  Slirp(const Slirp&) = delete;
  Slirp& operator=(const Slirp&) = delete;

  int add_polls(std::vector<pollfd>& polls) {
    adding_ = &polls;
    first_poll_ = polls.size();
    uint32_t timeout = UINT32_MAX;
    ::slirp_pollfds_fill(slirp_, &timeout, add_poll, this);
    int wait = timeout > INT_MAX ? -1 : static_cast<int>(timeout);
    if (const int64_t due = next_timer_ms(); due != kNever) {
      const int left = static_cast<int>(std::clamp<int64_t>(due - clock_ms(), 0, INT_MAX));
      wait = wait < 0 ? left : std::min(wait, left);
    }
    return wait;
  }

  void serve(std::span<const pollfd> polled) {
    // In this order: what waited for an ARP reply among the frames goes out at the end of slirp_pollfds_poll().
    pass_frames();
    segments_.flush();
    polled_ = polled;
    ::slirp_pollfds_poll(slirp_, polled.empty() ? 1 : 0, get_revents, this);
    run_timers();
  }

 private:
  static constexpr int64_t kNever = INT64_MAX;

  void pass_frames() {
    for (; !owner_.waiting_.empty(); owner_.waiting_.pop_front()) {
      const std::vector<uint8_t>& frame = owner_.waiting_.front();
      if (is_fragment(frame) || is_cut_ipv6(frame) || is_foreign_ping6(frame) ||
          (sockets_.size() >= kMaxSockets && may_open_socket(frame))) {
        owner_.counters_.out_refused.fetch_add(1, std::memory_order_relaxed);
        continue;
      }
      owner_.count_out(frame.size());
      segments_.add(frame);
    }
  }

  // IPv6's router advertisements.
  struct Timer {
    SlirpTimerId id;
    void* opaque;
    int64_t due_ms = kNever;
  };
  int64_t next_timer_ms() const {
    int64_t next = kNever;
    for (const auto& timer : timers_) next = std::min(next, timer->due_ms);
    return next;
  }
  void run_timers() {
    const int64_t now = clock_ms();
    for (size_t i = 0; i < timers_.size(); ++i) {
      if (timers_[i]->due_ms > now) continue;
      timers_[i]->due_ms = kNever;
      ::slirp_handle_timer(slirp_, timers_[i]->id, timers_[i]->opaque);
    }
  }
  static int64_t clock_ms() { return clock_ns(nullptr) / 1'000'000; }

  static Slirp& self(void* opaque) { return *static_cast<Slirp*>(opaque); }
  static int add_poll(int fd, int events, void* opaque) {
    Slirp& s = self(opaque);
    short wanted = 0;
    if (events & SLIRP_POLL_IN) wanted |= POLLIN;
    if (events & SLIRP_POLL_OUT) wanted |= POLLOUT;
    if (events & SLIRP_POLL_PRI) wanted |= POLLPRI;
    // Clients of a forwarded port wait at the listener until there is room for them. poll() passes over fd -1.
    if (s.sockets_.size() >= kMaxSockets && is_listener(fd)) fd = -1;
    s.adding_->push_back({fd, wanted, 0});
    return static_cast<int>(s.adding_->size() - 1 - s.first_poll_);
  }
  static int get_revents(int index, void* opaque) {
    const short got = self(opaque).polled_[static_cast<size_t>(index)].revents;
    int events = 0;
    if (got & POLLIN) events |= SLIRP_POLL_IN;
    if (got & POLLOUT) events |= SLIRP_POLL_OUT;
    if (got & POLLPRI) events |= SLIRP_POLL_PRI;
    if (got & POLLERR) events |= SLIRP_POLL_ERR;
    if (got & POLLHUP) events |= SLIRP_POLL_HUP;
    return events;
  }
  static bool is_listener(int fd) {
    int listens = 0;
    socklen_t length = sizeof listens;
    return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens != 0;
  }
  static ssize_t send_packet(const void* bytes, size_t size, void* opaque) {
    UserStack& owner = self(opaque).owner_;
    owner.receive({static_cast<const uint8_t*>(bytes), size}, owner.receiver_);
    return static_cast<ssize_t>(size);
  }
  static int64_t clock_ns(void*) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
  static void* timer_new(SlirpTimerId id, void* timer_opaque, void* opaque) {
    return self(opaque).timers_.emplace_back(std::make_unique<Timer>(Timer{id, timer_opaque})).get();
  }
  static void timer_free(void* timer, void* opaque) {
    std::erase_if(self(opaque).timers_, [timer](const auto& t) { return t.get() == timer; });
  }
  static void timer_mod(void* timer, int64_t due_ms, void*) { static_cast<Timer*>(timer)->due_ms = due_ms; }
  static void guest_error(const char*, void*) {}
  static void register_fd(int fd, void* opaque) { self(opaque).sockets_.insert(fd); }
  static void unregister_fd(int fd, void* opaque) { self(opaque).sockets_.erase(fd); }
  static void notify(void*) {}

  static constexpr SlirpCb kCallbacks = {.send_packet = send_packet,
                                         .guest_error = guest_error,
                                         .clock_get_ns = clock_ns,
                                         .timer_new = nullptr,
                                         .timer_free = timer_free,
                                         .timer_mod = timer_mod,
                                         .register_poll_fd = register_fd,
                                         .unregister_poll_fd = unregister_fd,
                                         .notify = notify,
                                         .init_completed = nullptr,
                                         .timer_new_opaque = timer_new};

  UserStack& owner_;
  ::Slirp* slirp_ = nullptr;
  // libslirp acknowledges each segment, and writes each to its socket.
  SegmentCoalescer segments_{
      [this](std::span<const uint8_t> frame) { ::slirp_input(slirp_, frame.data(), static_cast<int>(frame.size())); }};
  std::set<int> sockets_;  // what libslirp has open
  std::vector<std::unique_ptr<Timer>> timers_;
  std::vector<pollfd>* adding_ = nullptr;  // while add_polls() runs
  size_t first_poll_ = 0;
  std::span<const pollfd> polled_;  // while serve() runs
};

UserStack::UserStack(const UserNetOptions& options, FrameReceiver receiver) : receiver_(std::move(receiver)) {
  if (!options.tftp_root.empty()) check_folder(options.tftp_root);
  if (options.bootfile.size() > kMaxBootfile)
    throw HostNetError(fmt::format("user network: the boot file's name is longer than {} bytes", kMaxBootfile));
  slirp_ = std::make_unique<Slirp>(options, *this);
}

UserStack::~UserStack() = default;

void UserStack::send(std::span<const uint8_t> frame) {
  if (!fits(frame))
    counters_.out_bad_size.fetch_add(1, std::memory_order_relaxed);
  else if (waiting_.size() >= kMaxWaiting)
    counters_.out_queue_full.fetch_add(1, std::memory_order_relaxed);
  else
    waiting_.emplace_back(frame.begin(), frame.end());
}

int UserStack::add_polls(std::vector<pollfd>& polls) {
  const int wait = slirp_->add_polls(polls);
  return waiting_.empty() ? wait : 0;
}

void UserStack::serve(std::span<const pollfd> polled) { slirp_->serve(polled); }

}  // namespace understudy::devices
