#include "tools/hub_fence.h"

#include <algorithm>
#include <cassert>

namespace understudy::tools {

const char* to_string(FencedKind kind) {
  switch (kind) {
    case FencedKind::announce:
      return "announce";
    case FencedKind::frame:
      return "frame";
    case FencedKind::console:
      return "console";
    case FencedKind::taken:
      return "taken";
    case FencedKind::disk:
      return "disk";
  }
  return "?";
}

void HubFence::remember(Reign reign) {
  assert(reigns_.empty());
  reigns_.push_back(std::move(reign));
  ++reign_count_;
}

HubFence::Peer* HubFence::heard(const PeerId& id, int connection) {
  const auto known = peers_.find(id);
  if (known != peers_.end()) return &known->second;
  if (peers_.size() >= kMaxPeers) return nullptr;
  Peer& peer = peers_[id];
  peer.number = next_number_++;
  peer.connection = connection;
  return &peer;
}

HubFence::Answer HubFence::announce(Peer& peer, const primary::hub::Announce& announcement, uint64_t now_ns) {
  const Reign* reigning = reign();
  peer.node = announcement.node;
  peer.instance = announcement.instance;
  peer.epoch = announcement.epoch;
  Answer answer = Answer::reigns;
  if (reigning != nullptr && announcement.epoch < reigning->epoch) {
    answer = Answer::older;
  } else if (reigning != nullptr && announcement.epoch == reigning->epoch) {
    answer = announcement.instance == reigning->instance ? Answer::again : Answer::taken;
  }
  if (answer == Answer::older || answer == Answer::taken) {
    constexpr auto kKind = static_cast<size_t>(FencedKind::announce);
    ++peer.dropped[kKind];
    ++dropped_[kKind];
    if (answer == Answer::taken) ++same_epoch_;
    return answer;
  }
  if (answer == Answer::reigns) {
    Reign next;
    next.epoch = announcement.epoch;
    next.instance = announcement.instance;
    next.node = announcement.node;
    next.began_ns = now_ns;
    reigns_.push_back(std::move(next));
    ++reign_count_;
    if (reigns_.size() > kMaxReigns) reigns_.pop_front();
  }
  const auto self = std::find_if(peers_.begin(), peers_.end(), [&](const auto& p) { return &p.second == &peer; });
  assert(self != peers_.end());
  live_ = self->first;
  return answer;
}

bool HubFence::is_live(const Peer& peer) const {
  const Reign* reigning = reign();
  return reigning != nullptr && peer.epoch == reigning->epoch && peer.instance == reigning->instance;
}

bool HubFence::admits(Peer& peer, uint64_t epoch, FencedKind kind) {
  if (is_live(peer) && epoch == peer.epoch) return true;
  if (peer.epoch != epoch) ++unannounced_;
  ++peer.dropped[static_cast<size_t>(kind)];
  ++dropped_[static_cast<size_t>(kind)];
  return false;
}

void HubFence::note_output(FencedKind kind, size_t bytes, uint64_t now_ns) {
  Reign& reigning = reigns_.back();
  if (!reigning.first_output_ns) reigning.first_output_ns = now_ns;
  reigning.last_output_ns = now_ns;
  if (kind == FencedKind::frame)
    ++reigning.frames;
  else if (kind == FencedKind::disk)
    ++reigning.disk_requests;
  else
    reigning.console_bytes += bytes;
}

std::optional<std::pair<HubFence::PeerId, HubFence::Peer>> HubFence::disconnected(int connection) {
  auto gone = peers_.end();
  for (auto peer = peers_.begin(); peer != peers_.end(); ++peer)
    if (peer->second.connection == connection && (gone == peers_.end() || peer->second.number < gone->second.number))
      gone = peer;
  if (gone == peers_.end()) return {};
  std::pair<PeerId, Peer> peer = *gone;
  peers_.erase(gone);
  if (peer.first == live_) live_.clear();
  return peer;
}

}  // namespace understudy::tools
