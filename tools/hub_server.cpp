#include "tools/hub_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "devices/virtio_net.h"
#include "tools/serial_backend.h"

namespace understudy::tools {

namespace {

namespace hub = primary::hub;
using Json = nlohmann::ordered_json;
using ftlog::SocketMonitor;

// Messages that ZeroMQ holds for a replica, and from one.
constexpr int kHighWater = 500;
// Messages taken in before others get their turn. The user network has room for the frames in them, if they are long.
constexpr unsigned kBurst = devices::UserStack::kMaxWaiting / (hub::FrameBatch::kMaxBytes / hub::kMaxFrame);
static_assert(kBurst >= 100);
// When a replica's queue was full, console bytes are offered to it again after this time.
constexpr int kRetryMs = 20;

uint64_t now_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

bool is_power_of_two(uint64_t n) { return n != 0 && (n & (n - 1)) == 0; }

uint64_t total(const FencedCounts& counts) {
  uint64_t sum = 0;
  for (const uint64_t count : counts) sum += count;
  return sum;
}

}  // namespace

HubServer::HubServer(const HubOptions& options)
    : socket_(context_, zmq::socket_type::router),
      journal_(options.journal),
      end_(options.console),
      ethernet_(options.nets, options.pcap, [this](std::span<const uint8_t> frame) { frame_to_service(frame); }),
      disks_(options.disks),
      recent_(devices::VirtioNet::kMaxWaiting) {
  if (journal_.last_reign()) fence_.remember(*journal_.last_reign());
  if (options.keys) guard_.emplace(context_);
  monitor_.emplace(context_, socket_);
  try {
    socket_.set(zmq::sockopt::linger, 100);
    socket_.set(zmq::sockopt::sndhwm, kHighWater);
    socket_.set(zmq::sockopt::rcvhwm, kHighWater);
    socket_.set(zmq::sockopt::maxmsgsize, static_cast<int64_t>(hub::kMaxMessage));
    socket_.set(zmq::sockopt::router_mandatory, true);
    socket_.set(zmq::sockopt::ipv6, 1);
    hub::keep_alive(socket_);
    if (guard_) guard_->secure_server(socket_, *options.keys, "hub");
    socket_.bind(options.listen);
  } catch (const zmq::error_t& error) {
    throw UsageError(fmt::format("--listen {}: {}", options.listen, error.what()));
  }
  endpoint_ = socket_.get(zmq::sockopt::last_endpoint);
  if (!options.control.empty())
    control_ = std::make_unique<ControlServer>(
        context_, options.control,
        std::map<std::string, ControlServer::Handler>{{"status", [this](const nlohmann::json&) { return status(); }}},
        guard_ ? &*guard_ : nullptr, options.keys ? &*options.keys : nullptr);
  Json start = {{"listen", endpoint_}};
  if (fence_.reign() != nullptr) start["remembers"] = reign_json(*fence_.reign());
  journal_.write("start", start);
}

HubServer::~HubServer() {
  control_.reset();
  Json stop = {{"fenced", fenced_json(fence_.dropped())}};
  if (fence_.reign() != nullptr) stop["reign"] = reign_json(*fence_.reign());
  journal_.write("stop", stop);
}

// `most`: -1 for ever.
int HubServer::poll_timeout(int most) const {
  int timeout = retry_ || retry_disks_ ? kRetryMs : -1;
  if (most >= 0) timeout = timeout < 0 ? most : std::min(timeout, most);
  if (const auto deadline = end_.deadline()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - ConsoleEnd::Clock::now()).count();
    const int wait = static_cast<int>(std::max<int64_t>(left, 0));
    timeout = timeout < 0 ? wait : std::min(timeout, wait);
  }
  return timeout;
}

void HubServer::run(int stop) {
  std::vector<zmq::pollitem_t> items;
  while (true) {
    int timeout = -1;
    {
      const std::lock_guard lock(mutex_);
      items.assign({{nullptr, stop, ZMQ_POLLIN, 0},
                    {socket_.handle(), 0, ZMQ_POLLIN, 0},
                    {monitor_->handle(), 0, ZMQ_POLLIN, 0},
                    {nullptr, disks_.fd(), ZMQ_POLLIN, 0}});
      timeout = poll_timeout(ethernet_.add_items(items));
      end_.add_items(items, console_.input_room() != 0);
    }
    try {
      zmq::poll(items, std::chrono::milliseconds(timeout));
    } catch (const zmq::error_t& error) {
      if (error.num() != EINTR) throw;
      continue;
    }
    if (items[0].revents != 0) return;
    const std::lock_guard lock(mutex_);
    pass_events();
    if (receive()) peers_gone();
    ethernet_.serve();
    send_frames();
    serve_console();
    serve_disks();
    if (end_.wants_quit()) return;
  }
}

void HubServer::pass_events() {
  while (const auto event = monitor_->next()) {
    switch (event->kind) {
      case SocketMonitor::Event::Kind::connected:
        ++counts_.connections;
        break;
      case SocketMonitor::Event::Kind::disconnected:
        ++counts_.lost;
        gone_.push_back(event->fd);
        break;
      case SocketMonitor::Event::Kind::bad_peer:
        ++counts_.bad_peers;
        break;
      case SocketMonitor::Event::Kind::refused:
        ++counts_.refused_keys;
        break;
    }
  }
}

// True when nothing more waits.
bool HubServer::receive() {
  for (unsigned n = 0; n < kBurst; ++n) {
    zmq::message_t id, body;
    if (!socket_.recv(id, zmq::recv_flags::dontwait)) return true;
    bool whole = id.more() && socket_.recv(body, zmq::recv_flags::dontwait) && !body.more();
    for (bool more = body.more(); more;) {
      zmq::message_t rest;
      more = socket_.recv(rest, zmq::recv_flags::dontwait) && rest.more();
      whole = false;
    }
    try {
      if (!whole) throw ftlog::DecodeError(0, "a message of several parts");
      const int connection = ::zmq_msg_get(body.handle(), ZMQ_SRCFD);
      take(id.to_string(), connection, hub::decode_to_hub({body.data<uint8_t>(), body.size()}));
    } catch (const hub::VersionError& error) {
      ++counts_.other_versions;
      tell_version(id.to_string(), error.what());
    } catch (const ftlog::DecodeError&) {
      ++counts_.bad_messages;
    }
  }
  return false;
}

void HubServer::tell_version(const PeerId& id, const std::string& what) {
  if (is_power_of_two(counts_.other_versions))
    fmt::print(stderr, "understudy: a replica is not let in: it {}: run one build on both (its messages so far: {})\n",
               what, counts_.other_versions);
  send(id, hub::OtherVersion{});
}

void HubServer::take(const PeerId& id, int connection, const hub::ToHub& message) {
  HubFence::Peer* peer = fence_.heard(id, connection);
  if (peer == nullptr) {
    ++counts_.too_many_peers;
    return;
  }
  std::visit([&](const auto& m) { take(*peer, id, m); }, message);
}

void HubServer::take(HubFence::Peer& peer, const PeerId& id, const hub::Announce& m) {
  std::optional<Reign> before;
  if (fence_.reign() != nullptr) before = *fence_.reign();
  const HubFence::Answer answer = fence_.announce(peer, m, now_ns());
  if (answer == HubFence::Answer::older || answer == HubFence::Answer::taken) {
    if (is_power_of_two(peer.dropped[static_cast<size_t>(FencedKind::announce)]))
      journal_.write("refused", {{"node", peer.node},
                                 {"epoch", m.epoch},
                                 {"instance", fmt::format("{:016x}", m.instance)},
                                 {"why", answer == HubFence::Answer::older ? "older epoch" : "epoch of another"},
                                 {"reigning", before->epoch},
                                 {"reigning_node", before->node}});
    if (send(id, hub::Fenced{before->epoch, before->node})) peer.told_epoch = before->epoch;
    return;
  }
  console_.announced(m.console_in, m.console_out);
  if (answer == HubFence::Answer::reigns)
    crown(peer, before);
  else
    journal_.write("again", {{"node", peer.node}, {"epoch", m.epoch}});
  told_accepted_ = false;
  tell_accepted();
  // Who goes on over the same connection has had everything.
  const bool over_another = answer == HubFence::Answer::again || (before && before->node != m.node);
  if (!over_another) return;
  hub::FrameBatch again;
  const auto send_again = [&] {
    if (again.frames() != 0 && send(fence_.live(), hub::FramesIn{again.bytes()})) counts_.in_again += again.frames();
    again.clear();
  };
  recent_.take(primary::RecentFrames::Clock::now(), [&](std::span<const uint8_t> frame) {
    if (again.add(frame)) return;
    send_again();
    again.add(frame);
  });
  send_again();
}

// Nothing of the console passes until the live replica has this: it is tried again while its queue is full.
void HubServer::tell_accepted() {
  const hub::Accepted message{fence_.reign()->epoch, console_.out_received(), console_.out_delivered()};
  told_accepted_ = send(fence_.live(), message);
  told_delivered_ = console_.out_delivered();
}

// The peer is live from here on, and the one before it no more.
void HubServer::crown(HubFence::Peer& peer, const std::optional<Reign>& before) {
  Json reign = {{"epoch", peer.epoch},
                {"node", peer.node},
                {"instance", fmt::format("{:016x}", peer.instance)},
                {"console_in", console_.in_taken()},
                {"console_out", console_.out_received()}};
  if (before) reign["before"] = reign_json(*before);
  journal_.write("reign", reign);
  journal_.sync();
  fmt::print(stderr, "understudy: {} is live, epoch {}{}\n", peer.node, peer.epoch,
             before ? fmt::format(", after {}, epoch {}", before->node, before->epoch) : "");
  disks_.fence(peer.epoch);
  for (auto& [id, other] : fence_.peers())
    if (!other.node.empty() && !fence_.is_live(other)) tell_fenced(other, id);
}

bool HubServer::admits(HubFence::Peer& peer, const PeerId& id, uint64_t epoch, FencedKind kind) {
  if (fence_.admits(peer, epoch, kind)) return true;
  if (is_power_of_two(total(peer.dropped))) {
    Json fenced = {{"node", peer.node}, {"epoch", epoch}, {"dropped", fenced_json(peer.dropped)}};
    if (fence_.reign() != nullptr) fenced["reigning"] = fence_.reign()->epoch;
    journal_.write("fenced", fenced);
  }
  tell_fenced(peer, id);
  return false;
}

void HubServer::tell_fenced(HubFence::Peer& peer, const PeerId& id) {
  const Reign* reign = fence_.reign();
  if (reign == nullptr || peer.told_epoch == reign->epoch) return;
  if (send(id, hub::Fenced{reign->epoch, reign->node})) peer.told_epoch = reign->epoch;
}

void HubServer::take(HubFence::Peer& peer, const PeerId& id, const hub::FramesOut& m) {
  hub::for_each_frame(m.bytes, [&](std::span<const uint8_t> frame) {
    if (!admits(peer, id, m.epoch, FencedKind::frame)) return;
    ++counts_.frames_out;
    counts_.bytes_out += frame.size();
    fence_.note_output(FencedKind::frame, frame.size(), now_ns());
    ethernet_.from_service(frame);
  });
}

void HubServer::take(HubFence::Peer& peer, const PeerId& id, const hub::ConsoleOut& m) {
  if (!admits(peer, id, m.epoch, FencedKind::console)) return;
  const auto fresh = console_.receive(m.offset, m.bytes);
  if (fresh.empty()) return;
  fence_.note_output(FencedKind::console, fresh.size(), now_ns());
  end_.write(fresh);
}

void HubServer::take(HubFence::Peer& peer, const PeerId& id, const hub::ConsoleTaken& m) {
  if (admits(peer, id, m.epoch, FencedKind::taken)) console_.taken(m.offset);
}

void HubServer::take(HubFence::Peer&, const PeerId& id, const hub::AskDisk& m) { send(id, disks_.shape_of(m.disk)); }

void HubServer::take(HubFence::Peer& peer, const PeerId& id, const hub::DiskRequest& m) {
  if (!admits(peer, id, m.epoch, FencedKind::disk)) return;
  fence_.note_output(FencedKind::disk, m.request.data.size(), now_ns());
  disks_.ask(m);
}

void HubServer::serve_disks() {
  if (disks_.empty()) return;
  // Whoever is live and not connected asks again when it is.
  const uint64_t epoch = fence_.reign() != nullptr && !fence_.live().empty() ? fence_.reign()->epoch : 0;
  retry_disks_ = disks_.answers(epoch, [this](const hub::DiskAnswer& answer) { return send(fence_.live(), answer); });
}

void HubServer::peers_gone() {
  for (const int connection : gone_) {
    const bool had_live = !fence_.live().empty();
    const auto gone = fence_.disconnected(connection);
    if (!gone || gone->second.node.empty()) continue;
    journal_.write("disconnect", {{"node", gone->second.node},
                                  {"epoch", gone->second.epoch},
                                  {"live", had_live && fence_.live().empty()},
                                  {"dropped", fenced_json(gone->second.dropped)}});
  }
  gone_.clear();
}

void HubServer::serve_console() {
  const std::vector<uint8_t> typed = end_.serve(console_.input_room());
  if (!typed.empty()) console_.typed(typed);
  console_.delivered(end_.take_delivered());
  retry_ = false;
  if (fence_.live().empty()) return;
  if (!told_accepted_) tell_accepted();
  if (!told_accepted_) {
    retry_ = true;
    return;
  }
  if (told_delivered_ != console_.out_delivered()) {
    if (send(fence_.live(), hub::ConsoleDelivered{console_.out_delivered()}))
      told_delivered_ = console_.out_delivered();
    else
      retry_ = true;
  }
  while (true) {
    const HubConsole::Piece piece = console_.next_input();
    if (piece.bytes.empty()) return;
    if (!send(fence_.live(), hub::ConsoleIn{piece.offset, piece.bytes})) break;
    console_.input_sent(piece.bytes.size());
  }
  retry_ = true;
}

// False when the replica has gone, or its queue is full.
bool HubServer::send(const PeerId& id, const hub::ToReplica& message) {
  try {
    if (!socket_.send(zmq::buffer(id), zmq::send_flags::sndmore | zmq::send_flags::dontwait)) return false;
    // A whole message has room once its first part had.
    socket_.send(zmq::buffer(hub::encode(message)), zmq::send_flags::dontwait);
    return true;
  } catch (const zmq::error_t& error) {
    if (error.num() != EHOSTUNREACH) throw;
    return false;
  }
}

// Frames that come in one go leave together, when run() is done with them.
void HubServer::frame_to_service(std::span<const uint8_t> frame) {
  recent_.add(frame, primary::RecentFrames::Clock::now());
  if (frames_.add(frame)) return;
  send_frames();
  frames_.add(frame);
}

void HubServer::send_frames() {
  if (frames_.frames() == 0) return;
  if (fence_.live().empty()) {
    counts_.in_no_replica += frames_.frames();
  } else if (!send(fence_.live(), hub::FramesIn{frames_.bytes()})) {
    counts_.in_queue_full += frames_.frames();
  } else {
    counts_.frames_in += frames_.frames();
    counts_.bytes_in += frames_.frame_bytes();
  }
  frames_.clear();
}

Json HubServer::status() const {
  const std::lock_guard lock(mutex_);
  Json replicas = Json::array();
  for (const auto& [id, peer] : fence_.peers()) {
    if (peer.node.empty()) continue;
    replicas.push_back({{"node", peer.node},
                        {"epoch", peer.epoch},
                        {"instance", fmt::format("{:016x}", peer.instance)},
                        {"live", id == fence_.live()},
                        {"dropped", fenced_json(peer.dropped)}});
  }
  Json reigns = Json::array();
  for (const Reign& reign : fence_.reigns()) reigns.push_back(reign_json(reign));
  const Reign* reign = fence_.reign();
  const HubConsole::Counts& console = console_.counts();
  const ConsoleEnd::Counts& user = end_.counts();
  return {{"role", "hub"},
          {"listen", endpoint_},
          {"epoch", reign == nullptr ? 0 : reign->epoch},
          {"node", reign == nullptr ? "" : reign->node},
          {"live_connected", !fence_.live().empty()},
          {"replicas", replicas},
          {"frames",
           {{"out", counts_.frames_out},
            {"bytes_out", counts_.bytes_out},
            {"in", counts_.frames_in},
            {"bytes_in", counts_.bytes_in},
            {"in_no_replica", counts_.in_no_replica},
            {"in_queue_full", counts_.in_queue_full},
            {"in_again", counts_.in_again}}},
          {"fenced", fenced_json(fence_.dropped())},
          {"same_epoch_refused", fence_.same_epoch()},
          {"unannounced", fence_.unannounced()},
          {"console",
           {{"out_received", console_.out_received()},
            {"out_delivered", console_.out_delivered()},
            {"out_repeated", console.repeated},
            {"out_missing", console.missing},
            {"out_too_early", console.too_early},
            {"out_lost", user.lost},
            {"in_taken", console_.in_taken()},
            {"in_typed", console_.in_typed()},
            {"in_lost", console.lost_in},
            {"user_connected", end_.connected()},
            {"users", user.clients},
            {"users_cut_off", user.cut_off}}},
          {"ethernet", ethernet_.status()},
          {"disks", disks_.status()},
          {"connections",
           {{"made", counts_.connections},
            {"lost", counts_.lost},
            {"bad_peers", counts_.bad_peers},
            {"refused_keys", counts_.refused_keys},
            {"bad_messages", counts_.bad_messages},
            {"other_versions", counts_.other_versions},
            {"too_many_peers", counts_.too_many_peers}}},
          {"reign_count", fence_.reign_count()},
          {"reigns", reigns}};
}

}  // namespace understudy::tools
