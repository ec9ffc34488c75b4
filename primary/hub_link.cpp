#include "primary/hub_link.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <csignal>
#include <iterator>
#include <memory>
#include <random>

#include "ftlog/key_guard.h"
#include "ftlog/short_slice.h"
#include "ftlog/socket_monitor.h"
#include "primary/moment.h"

namespace understudy::primary {

namespace {

using ftlog::SocketMonitor;
using namespace std::chrono_literals;

// Messages that ZeroMQ holds, either way; frames that find no room wait in the link.
constexpr int kHighWater = 500;
// So many frames fill a message, if they are long.
constexpr size_t kFullBatch = hub::FrameBatch::kMaxBytes / hub::kMaxFrame;
// Before another connection is tried: after one was lost, and after somebody else than the hub answered.
constexpr auto kRetryLost = 20ms, kRetryBad = 250ms;
// Input that found no room is offered again after this time.
constexpr auto kOfferAgain = 10ms;
constexpr auto kLinger = 100ms;
// So much input is offered at a time as the guest's UART has room for.
constexpr size_t kOffer = 16;
// Messages taken in before others get their turn.
constexpr unsigned kBurst = 256;

uint64_t random_number() {
  std::random_device device;
  return static_cast<uint64_t>(device()) << 32 | device();
}

template <class... Handlers>
struct Overloaded : Handlers... {
  using Handlers::operator()...;
};
template <class... Handlers>
Overloaded(Handlers...) -> Overloaded<Handlers...>;

}  // namespace

struct HubLink::Connection {
  zmq::socket_t socket;
  SocketMonitor monitor;
  int descriptor = -1;    // readable when the socket is to be looked at again; not told twice
  bool accepted = false;  // the hub has answered the newest announcement
  bool bad_peer = false;

  Connection(zmq::context_t& context, const Options& options)
      : socket(context, zmq::socket_type::dealer), monitor(context, socket) {
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::sndhwm, kHighWater);
    socket.set(zmq::sockopt::rcvhwm, kHighWater);
    socket.set(zmq::sockopt::maxmsgsize, static_cast<int64_t>(hub::kMaxMessage));
    socket.set(zmq::sockopt::ipv6, 1);
    socket.set(zmq::sockopt::immediate, 1);
    socket.set(zmq::sockopt::reconnect_ivl, 20);
    socket.set(zmq::sockopt::reconnect_ivl_max, 500);
    hub::keep_alive(socket);
    if (options.keys != nullptr) ftlog::secure_client(socket, *options.keys);
    socket.connect(options.address);
    descriptor = socket.get(zmq::sockopt::fd);
  }
  // There is input, or room, which the descriptor does not tell of any more.
  bool is_ready(bool wants_room) {
    return (socket.get(zmq::sockopt::events) & (wants_room ? ZMQ_POLLIN | ZMQ_POLLOUT : ZMQ_POLLIN)) != 0;
  }
  bool send(const ftlog::Bytes& bytes) {
    return socket.send(zmq::buffer(bytes), zmq::send_flags::dontwait).has_value();
  }
};

HubLink::HubLink(Options options, FrameHandler on_frame, ConsoleHandler on_console, FencedHandler on_fenced)
    : options_(std::move(options)),
      on_frame_(std::move(on_frame)),
      on_console_(std::move(on_console)),
      on_fenced_(std::move(on_fenced)),
      instance_(random_number()),
      trouble_(options_.address, options_.on_trouble) {
  if (!hub::is_node_name(options_.node))
    throw HubLinkError(fmt::format("hub: '{}' cannot name a node: want 1 to {} printable characters without spaces",
                                   options_.node, hub::kMaxNode));
  const ftlog::ShortSlice slice;  // for ZeroMQ's threads, too
  try {
    first_ = std::make_unique<Connection>(context_, options_);
  } catch (const zmq::error_t& error) {
    throw HubLinkError(fmt::format("hub {}: {}: want tcp://HOST:PORT or ipc://PATH", options_.address, error.what()));
  }
  thread_ = std::thread([this] { run(); });
}

HubLink::~HubLink() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  wake_.notify();
  thread_.join();
}

void HubLink::announce(uint64_t epoch, uint64_t console_in_offset, uint64_t console_out_offset) {
  assert(epoch >= 1);
  {
    const std::lock_guard lock(mutex_);
    announcement_ = Announcement{epoch};
    fenced_ = false;
    accepted_ = false;
    output_.begin(console_out_offset);
    input_.clear();
    ++input_turn_;
    input_next_ = console_in_offset;
    taken_ = 0;
  }
  wake_.notify();
}

bool HubLink::queue_locked(std::span<const uint8_t> frame) {
  if (frame.size() < hub::kMinFrame || frame.size() > hub::kMaxFrame) {
    ++counts_.out_bad_size;
    return false;
  }
  if (!announcement_ || fenced_) {
    ++counts_.out_not_live;
    return false;
  }
  if (frames_.size() >= kMaxFrames) {
    ++(connected_ ? counts_.out_queue_full : counts_.out_no_link);
    return false;
  }
  frames_.emplace_back(frame.begin(), frame.end());
  return true;
}

bool HubLink::send_frame(std::span<const uint8_t> frame) {
  bool queued = false, look = false;
  {
    const std::lock_guard lock(mutex_);
    queued = queue_locked(frame);
    if (queued) look = send_now();
  }
  if (look) wake_.notify();
  return queued;
}

bool HubLink::queue_frame(std::span<const uint8_t> frame) {
  bool queued = false, look = false;
  {
    const std::lock_guard lock(mutex_);
    queued = queue_locked(frame);
    // More than a batch's worth need not wait for the rest.
    if (queued && frames_.size() >= kFullBatch) look = send_now();
  }
  if (look) wake_.notify();
  return queued;
}

void HubLink::send_queued_frames() {
  bool look = false;
  {
    const std::lock_guard lock(mutex_);
    if (frames_.empty()) return;
    look = send_now();
  }
  if (look) wake_.notify();
}

bool HubLink::send_console(uint64_t offset, std::span<const uint8_t> bytes) {
  bool look = false;
  {
    const std::lock_guard lock(mutex_);
    // Nobody will ever want it.
    if (fenced_) return true;
    if (!output_.put(offset, bytes)) return false;
    look = send_now();
  }
  if (look) wake_.notify();
  return true;
}

bool HubLink::send_disk(const std::string& disk, emu::BlockRequest request) {
  bool look = false;
  {
    const std::lock_guard lock(mutex_);
    // Nobody will ever want it.
    if (fenced_) return true;
    const auto is_it = [&](const DiskOut& out) { return out.disk == disk && out.request.number == request.number; };
    if (std::any_of(disk_requests_.begin(), disk_requests_.end(), is_it)) return true;
    if (disk_requests_.size() >= hub::kMaxDiskRequests) return false;
    disk_requests_.push_back({disk, std::move(request), false});
    look = send_now();
  }
  if (look) wake_.notify();
  return true;
}

void HubLink::console_taken(uint64_t offset) {
  {
    const std::lock_guard lock(mutex_);
    taken_ = std::max(taken_, offset);
  }
  wake_.notify();
}

size_t HubLink::console_pending() const {
  const std::lock_guard lock(mutex_);
  return output_.size();
}

bool HubLink::is_fenced() const {
  const std::lock_guard lock(mutex_);
  return fenced_;
}

HubLink::Counts HubLink::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

bool HubLink::flush(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  return progress_.wait_for(lock, patience,
                            [this] { return frames_.empty() && output_.empty() && disk_requests_.empty(); });
}

void HubLink::run() {
  // Signals are for the program's other threads.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  std::unique_ptr<Connection> connection = std::move(first_);
  while (!stopping_) {
    if (connection) {
      serve(*connection);
      if (stopping_) break;
      connection_lost();
    }
    const auto pause = connection && !connection->bad_peer ? kRetryLost : kRetryBad;
    connection.reset();
    std::unique_lock lock(mutex_);
    stop_.wait_for(lock, pause, [this] { return stopping_.load(); });
    lock.unlock();
    try {
      connection = std::make_unique<Connection>(context_, options_);
    } catch (const zmq::error_t&) {
      // The host is short of something, for now.
    }
  }
  const std::lock_guard lock(mutex_);
  if (usable_ == nullptr) return;
  send_now();
  usable_ = nullptr;
  connection->socket.set(zmq::sockopt::linger, static_cast<int>(kLinger.count()));
}

// Returns when the connection is of no use any more.
void HubLink::serve(Connection& connection) {
  while (!stopping_) {
    bool offering = false, look = false, unanswered = false;
    {
      const std::lock_guard lock(mutex_);
      unanswered = announcement_ && !fenced_ && !accepted_;
      const bool full = usable_ != nullptr && send_waiting(connection);
      offering = !input_.empty();
      look = connection.is_ready(full);
    }
    std::array<zmq::pollitem_t, 3> items{{{nullptr, connection.descriptor, ZMQ_POLLIN, 0},
                                          {connection.monitor.handle(), 0, ZMQ_POLLIN, 0},
                                          {nullptr, wake_.fd(), ZMQ_POLLIN, 0}}};
    trouble_.waits(unanswered, HubTrouble::Clock::now());
    auto wait = look ? 0ms : offering ? kOfferAgain : -1ms;
    if (const auto due = trouble_.due(); due && wait < 0ms)
      wait = std::max(0ms, std::chrono::ceil<std::chrono::milliseconds>(*due - HubTrouble::Clock::now()));
    zmq::poll(items, wait);
    if (items[2].revents != 0) wake_.clear();
    if (!pass_events(connection)) return;
    receive(connection);
    offer_console();
  }
}

bool HubLink::pass_events(Connection& connection) {
  while (const auto event = connection.monitor.next()) {
    switch (event->kind) {
      case SocketMonitor::Event::Kind::connected: {
        const std::lock_guard lock(mutex_);
        usable_ = &connection;
        connected_ = true;
        ++counts_.connections;
        if (announcement_) announcement_->sent = false;
        send_again();
        break;
      }
      case SocketMonitor::Event::Kind::disconnected:
        // ZeroMQ goes on trying by itself where there was no connection yet.
        if (connected_) return false;
        break;
      case SocketMonitor::Event::Kind::bad_peer:
      case SocketMonitor::Event::Kind::refused: {
        connection.bad_peer = true;
        {
          const std::lock_guard lock(mutex_);
          ++counts_.bad_peers;
        }
        trouble_.note(
            event->kind == SocketMonitor::Event::Kind::refused
                ? "it does not list this node's key"
                : "who answers there is no hub, or one with other keys, or one with keys where this has none");
        return false;
      }
    }
  }
  return true;
}

void HubLink::connection_lost() {
  const std::lock_guard lock(mutex_);
  usable_ = nullptr;
  connected_ = false;
  accepted_ = false;
}

bool HubLink::send_now() { return usable_ != nullptr && (send_waiting(*usable_) || usable_->is_ready(false)); }

// True when something waits for room in the socket.
bool HubLink::send_waiting(Connection& connection) {
  const bool full = fenced_ || !announcement_ ? false
                                              : !send_announcement(connection) || !send_frames(connection) ||
                                                    !send_disk_requests(connection) || !send_console_output(connection);
  if (frames_.empty()) progress_.notify_all();
  return full;
}

// What went over the connection before may have been lost with it. With the lock held.
void HubLink::send_again() {
  std::deque<std::vector<uint8_t>> again;
  sent_.take(RecentFrames::Clock::now(),
             [&again](std::span<const uint8_t> frame) { again.emplace_back(frame.begin(), frame.end()); });
  counts_.frames_again += again.size();
  frames_.insert(frames_.begin(), std::make_move_iterator(again.begin()), std::make_move_iterator(again.end()));
}

// These return false when the socket is full. With the lock held.
bool HubLink::send_announcement(Connection& connection) {
  if (announcement_->sent) return true;
  const hub::Announce message{announcement_->epoch, instance_, input_next_, output_.front(), options_.node};
  if (!connection.send(hub::encode(message))) return false;
  announcement_->sent = true;
  connection.accepted = false;
  taken_sent_ = 0;
  ++counts_.announcements;
  return true;
}

bool HubLink::send_frames(Connection& connection) {
  while (!frames_.empty()) {
    batch_.clear();
    for (const auto& frame : frames_)
      if (!batch_.add(frame)) break;
    if (!connection.send(hub::encode(hub::FramesOut{announcement_->epoch, batch_.bytes()}))) return false;
    counts_.frames_out += batch_.frames();
    counts_.bytes_out += batch_.frame_bytes();
    const auto now = RecentFrames::Clock::now();
    for (size_t n = batch_.frames(); n > 0; --n) {
      sent_.add(frames_.front(), now);
      frames_.pop_front();
    }
  }
  return true;
}

bool HubLink::send_console_output(Connection& connection) {
  // What the hub has had comes with its answer.
  if (!connection.accepted) return true;
  if (taken_ > taken_sent_) {
    if (!connection.send(hub::encode(hub::ConsoleTaken{announcement_->epoch, taken_}))) return false;
    taken_sent_ = taken_;
  }
  while (true) {
    const ConsoleOutbox::Piece piece = output_.next(hub::kMaxConsole, hub::kOutputWindow);
    if (piece.bytes.empty()) return true;
    if (!connection.send(hub::encode(hub::ConsoleOut{announcement_->epoch, piece.offset, piece.bytes}))) return false;
    counts_.console_out += piece.bytes.size();
    output_.send_from(piece.offset + piece.bytes.size());
  }
}

bool HubLink::send_disk_requests(Connection& connection) {
  // Whoever is not accepted yet asks for nothing.
  if (!connection.accepted) return true;
  for (DiskOut& out : disk_requests_) {
    if (out.sent) continue;
    hub::DiskRequest message{announcement_->epoch, options_.durable, out.disk, out.request};
    if (!connection.send(hub::encode(hub::ToHub(std::move(message))))) return false;
    out.sent = true;
    ++counts_.disk_requests;
    if (out.request.operation != emu::BlockOperation::read) moment(Moment::disk_request_sent);
  }
  return true;
}

void HubLink::receive(Connection& connection) {
  for (unsigned n = 0; n < kBurst; ++n) {
    zmq::message_t part;
    bool whole = true;
    {
      const std::lock_guard lock(mutex_);
      if (!connection.socket.recv(part, zmq::recv_flags::dontwait)) return;
      while (part.more()) {
        whole = false;
        if (!connection.socket.recv(part, zmq::recv_flags::dontwait)) return;
      }
    }
    try {
      if (!whole) throw ftlog::DecodeError(0, "a message of several parts");
      const hub::ToReplica message = hub::decode_to_replica({part.data<uint8_t>(), part.size()});
      std::visit(Overloaded{[&](const hub::Accepted& m) { take(connection, m); }, [&](const auto& m) { take(m); }},
                 message);
    } catch (const ftlog::DecodeError& error) {
      {
        const std::lock_guard lock(mutex_);
        ++counts_.bad_messages;
      }
      if (dynamic_cast<const hub::VersionError*>(&error) != nullptr)
        trouble_.note(fmt::format("it {}: run one build on both", error.what()));
    }
  }
  // The rest, when the others have had their turn.
  wake_.notify();
}

void HubLink::take(Connection& connection, const hub::Accepted& m) {
  {
    const std::lock_guard lock(mutex_);
    // Of an older announcement of ours.
    if (!announcement_ || !announcement_->sent || m.epoch != announcement_->epoch) return;
    connection.accepted = true;
    accepted_ = !fenced_;
    for (DiskOut& out : disk_requests_) out.sent = false;
    output_.send_from(m.console_received);
    note_delivered(m.console_delivered);
  }
  trouble_.over();
}

void HubLink::take(const hub::Fenced& m) {
  {
    const std::lock_guard lock(mutex_);
    if (!announcement_ || fenced_ || m.epoch < announcement_->epoch) return;
    fenced_ = true;
    accepted_ = false;
    ++counts_.fenced;
    frames_.clear();
    sent_.clear();
    output_.clear();
    disk_requests_.clear();
    input_.clear();
    ++input_turn_;
    progress_.notify_all();
  }
  if (on_fenced_) on_fenced_(m.epoch, std::string(m.node));
}

void HubLink::take(const hub::FramesIn& m) {
  {
    const std::lock_guard lock(mutex_);
    if (!announcement_ || fenced_) return;
  }
  uint64_t frames = 0, bytes = 0, lost = 0;
  hub::for_each_frame(m.bytes, [&](std::span<const uint8_t> frame) {
    if (!on_frame_ || !on_frame_(frame)) {
      ++lost;
      return;
    }
    ++frames;
    bytes += frame.size();
  });
  const std::lock_guard lock(mutex_);
  counts_.frames_in += frames;
  counts_.bytes_in += bytes;
  counts_.in_no_room += lost;
}

void HubLink::take(const hub::ConsoleIn& m) {
  const std::lock_guard lock(mutex_);
  if (!announcement_ || fenced_ || m.offset > input_next_) return;
  const uint64_t had = input_next_ - m.offset;
  if (had >= m.bytes.size()) return;
  const auto fresh = m.bytes.subspan(had);
  if (fresh.size() > hub::kInputWindow - input_.size()) {
    ++counts_.bad_messages;  // more than the protocol lets it send
    return;
  }
  input_.insert(input_.end(), fresh.begin(), fresh.end());
  input_next_ += fresh.size();
}

void HubLink::take(const hub::ConsoleDelivered& m) {
  const std::lock_guard lock(mutex_);
  note_delivered(m.offset);
}

void HubLink::take(const hub::DiskAnswer& m) {
  {
    const std::lock_guard lock(mutex_);
    if (!announcement_ || fenced_ || m.epoch != announcement_->epoch) return;
    const auto out = std::find_if(disk_requests_.begin(), disk_requests_.end(), [&](const DiskOut& o) {
      return o.disk == m.disk && o.request.number == m.answer.number;
    });
    if (out == disk_requests_.end()) return;  // it was sent twice
    disk_requests_.erase(out);
    ++counts_.disk_answers;
    if (disk_requests_.empty()) progress_.notify_all();
  }
  moment(Moment::disk_answer_not_logged);
  if (options_.on_disk) options_.on_disk(std::string(m.disk), m.answer);
}

void HubLink::note_delivered(uint64_t offset) {
  output_.delivered(offset);
  if (offset > delivered_) delivered_ = offset;
  if (output_.empty()) progress_.notify_all();
}

void HubLink::offer_console() {
  std::array<uint8_t, kOffer> bytes{};
  while (true) {
    std::unique_lock lock(mutex_);
    const size_t count = std::min(bytes.size(), input_.size());
    if (count == 0) return;
    std::copy_n(input_.begin(), count, bytes.begin());
    const uint64_t turn = input_turn_;
    lock.unlock();
    if (!on_console_ || !on_console_(std::span(bytes).first(count))) return;
    lock.lock();
    counts_.console_in += count;
    // announce() may have been called meanwhile: then the hub sends from where that said.
    if (turn == input_turn_) input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(count));
  }
}

}  // namespace understudy::primary
