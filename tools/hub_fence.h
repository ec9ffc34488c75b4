// Who is live for the hub: the replica that announced the highest epoch. What any other sends is dropped and counted,
// and its sender is to be told so. Plain bookkeeping on the hub's thread; times are the caller's, in nanoseconds that
// grow.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>

#include "primary/hub_protocol.h"

namespace understudy::tools {

// One replica's time as the live one.
struct Reign {
  uint64_t epoch = 0;
  uint64_t instance = 0;
  std::string node;
  uint64_t began_ns = 0;
  std::optional<uint64_t> first_output_ns, last_output_ns;
  uint64_t frames = 0, console_bytes = 0, disk_requests = 0;
};

// What can be dropped.
enum class FencedKind : uint8_t { announce, frame, console, taken, disk };
constexpr size_t kFencedKinds = 5;
const char* to_string(FencedKind kind);
using FencedCounts = std::array<uint64_t, kFencedKinds>;

class HubFence {
 public:
  using PeerId = std::string;  // ZeroMQ's routing id
  struct Peer {
    std::string node;  // empty before its first announcement
    uint64_t instance = 0, epoch = 0;
    uint64_t number = 0;      // in the order in which they were first heard
    int connection = -1;      // the file descriptor, by which ZeroMQ tells that it is gone
    uint64_t told_epoch = 0;  // of the reign that it was told of
    FencedCounts dropped{};
  };
  enum class Answer { reigns, again, older, taken };  // taken: another instance has announced this epoch

  static constexpr size_t kMaxPeers = 256, kMaxReigns = 64;

  // What an earlier hub has seen: nothing older is let in.
  void remember(Reign reign);

  // A message came. Null when there are too many peers.
  Peer* heard(const PeerId& id, int connection);
  // `reigns` makes the peer the live one.
  Answer announce(Peer& peer, const primary::hub::Announce& announcement, uint64_t now_ns);
  // Whether a message of this epoch is the live replica's; counted where it is not.
  bool admits(Peer& peer, uint64_t epoch, FencedKind kind);
  void note_output(FencedKind kind, size_t bytes, uint64_t now_ns);
  // The peer whose connection this was, if there is one, is no more. A number that the system has used again already
  // means the older one.
  std::optional<std::pair<PeerId, Peer>> disconnected(int connection);

  const Reign* reign() const { return reigns_.empty() ? nullptr : &reigns_.back(); }
  bool is_live(const Peer& peer) const;
  // Where the live replica is reached; empty when it is not connected.
  const PeerId& live() const { return live_; }
  std::map<PeerId, Peer>& peers() { return peers_; }
  const std::map<PeerId, Peer>& peers() const { return peers_; }

  // The newest, oldest first.
  const std::deque<Reign>& reigns() const { return reigns_; }
  uint64_t reign_count() const { return reign_count_; }
  const FencedCounts& dropped() const { return dropped_; }
  uint64_t same_epoch() const { return same_epoch_; }
  uint64_t unannounced() const { return unannounced_; }

 private:
  std::map<PeerId, Peer> peers_;
  PeerId live_;
  std::deque<Reign> reigns_;
  uint64_t reign_count_ = 0;
  uint64_t next_number_ = 0;
  FencedCounts dropped_{};
  uint64_t same_epoch_ = 0;   // announcements of the reigning epoch by others than who reigns
  uint64_t unannounced_ = 0;  // messages of an epoch that their sender has not announced
};

}  // namespace understudy::tools
