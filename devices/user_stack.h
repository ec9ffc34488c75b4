// A network of the guest's own, 10.0.2.0/24, without any privilege on the host: libslirp answers ARP, DHCP (the guest
// is 10.0.2.15), DNS (10.0.2.3) and TFTP, and turns the guest's TCP, UDP and ICMP traffic into the host's
// sockets. 10.0.2.2 is the host's loopback. IPv6 is there too (fec0::/64, the host fec0::2, the name server fec0::3)
// unless the guest is restricted: a network boot that finds no router waits long for one. One instance per process, as
// libslirp keeps some of its state in static variables. It has no thread: whoever has a loop polls for it.
#pragma once

#include <netinet/in.h>
#include <poll.h>

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "devices/host_net.h"

namespace understudy::devices {

// A port of the host that leads to a port of the guest.
struct HostForward {
  bool udp = false;
  in_addr host_address{};
  uint16_t host_port = 0;
  in_addr guest_address{};
  uint16_t guest_port = 0;
};

struct UserNetOptions {
  std::vector<HostForward> forwards;
  std::string tftp_root;    // a folder; empty for no TFTP
  std::string bootfile;     // what DHCP tells a network boot to load
  bool restricted = false;  // the guest reaches nothing but what is forwarded to it
};

class UserStack : public HostNetwork {
 public:
  // What the guest may hold open on the host at one time: it shares this process's descriptors.
  static constexpr size_t kMaxSockets = 512;
  // Frames that may wait for serve().
  static constexpr size_t kMaxWaiting = 8192;

  // Throws HostNetError.
  UserStack(const UserNetOptions& options, FrameReceiver receiver);
  ~UserStack() override;
  // The frame waits for serve(): the receiver is called from nowhere else.
  void send(std::span<const uint8_t> frame) override;
  // Adds what is to be polled. Returns for how long, in milliseconds: -1 for ever.
  int add_polls(std::vector<pollfd>& polls);
  // Afterwards: `polled` is what add_polls() added, with its answers, or empty if poll() failed.
  void serve(std::span<const pollfd> polled);

 private:
  class Slirp;
  FrameReceiver receiver_;
  std::deque<std::vector<uint8_t>> waiting_;
  std::unique_ptr<Slirp> slirp_;
};

}  // namespace understudy::devices
