// The hub: the outside world of one service, which outlives the replicas that run it. Replicas connect to it
// (primary/hub_link); frames of the live one go to the Ethernet, its console output to the console's user, and what
// comes from there goes to it and to nobody else. One thread, the caller's, does all of it and never waits for a
// replica or a user: whoever does not take what is sent loses frames, which are counted, or stops the console.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "ftlog/curve_keys.h"
#include "ftlog/key_guard.h"
#include "ftlog/socket_monitor.h"
#include "primary/hub_protocol.h"
#include "primary/recent_frames.h"
#include "tools/console_end.h"
#include "tools/control_socket.h"
#include "tools/hub_console.h"
#include "tools/hub_disks.h"
#include "tools/hub_ethernet.h"
#include "tools/hub_fence.h"
#include "tools/hub_journal.h"

namespace understudy::tools {

struct HubOptions {
  std::string listen;              // checked by ftlog::check_address, as is control
  std::string control;             // empty: none
  std::vector<std::string> nets;   // as --net has them
  std::vector<std::string> disks;  // NAME=URI
  std::string console = "none";
  std::string pcap, journal;
  std::optional<ftlog::CurveIdentity> keys;
};

class HubServer {
 public:
  // Throws UsageError, ControlError.
  explicit HubServer(const HubOptions& options);
  ~HubServer();
  // Until `stop` is readable, or the console's user leaves.
  void run(int stop);

  // Where it listens, with the ports that were chosen for tcp://HOST:*.
  const std::string& endpoint() const { return endpoint_; }
  std::string control_endpoint() const { return control_ ? control_->endpoint() : ""; }
  // Any thread.
  nlohmann::ordered_json status() const;

 private:
  using PeerId = HubFence::PeerId;
  struct Counts {
    uint64_t frames_out = 0, bytes_out = 0;  // from the live replica
    uint64_t frames_in = 0, bytes_in = 0;    // to it
    uint64_t in_no_replica = 0, in_queue_full = 0;
    uint64_t in_again = 0;  // sent to a successor once more
    uint64_t bad_messages = 0, other_versions = 0, too_many_peers = 0;
    uint64_t connections = 0, lost = 0, bad_peers = 0, refused_keys = 0;
  };
  int poll_timeout(int most) const;
  void pass_events();
  bool receive();
  void tell_version(const PeerId& id, const std::string& what);
  void take(const PeerId& id, int connection, const primary::hub::ToHub& message);
  void take(HubFence::Peer& peer, const PeerId& id, const primary::hub::Announce& m);
  void take(HubFence::Peer& peer, const PeerId& id, const primary::hub::FramesOut& m);
  void take(HubFence::Peer& peer, const PeerId& id, const primary::hub::ConsoleOut& m);
  void take(HubFence::Peer& peer, const PeerId& id, const primary::hub::ConsoleTaken& m);
  void take(HubFence::Peer& peer, const PeerId& id, const primary::hub::AskDisk& m);
  void take(HubFence::Peer& peer, const PeerId& id, const primary::hub::DiskRequest& m);
  bool admits(HubFence::Peer& peer, const PeerId& id, uint64_t epoch, FencedKind kind);
  void crown(HubFence::Peer& peer, const std::optional<Reign>& before);
  void tell_accepted();
  void tell_fenced(HubFence::Peer& peer, const PeerId& id);
  void peers_gone();
  void serve_console();
  void serve_disks();
  bool send(const PeerId& id, const primary::hub::ToReplica& message);
  void frame_to_service(std::span<const uint8_t> frame);
  void send_frames();

  mutable std::mutex mutex_;  // held while the hub works, not while it waits
  zmq::context_t context_{1};
  std::optional<ftlog::KeyGuard> guard_;
  zmq::socket_t socket_;
  std::optional<ftlog::SocketMonitor> monitor_;
  std::string endpoint_;
  HubJournal journal_;
  HubFence fence_;
  HubConsole console_;
  ConsoleEnd end_;
  HubEthernet ethernet_;
  HubDisks disks_;
  Counts counts_;
  primary::RecentFrames recent_;
  primary::hub::FrameBatch frames_;  // for the live replica, not sent yet
  std::vector<int> gone_;            // connections that were lost; their last messages may still be here
  bool told_accepted_ = false;       // the live replica was
  uint64_t told_delivered_ = 0;
  bool retry_ = false, retry_disks_ = false;
  std::unique_ptr<ControlServer> control_;  // goes first
};

}  // namespace understudy::tools
