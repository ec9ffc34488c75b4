// HubLink on its own thread: the connection, its end, and what the hub says.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <memory>

#include "primary/hub_link.h"
#include "primary/moment.h"

namespace understudy::primary {

namespace {

using ftlog::SocketMonitor;
using namespace std::chrono_literals;

// Before another connection is tried: after one was lost, and after somebody else than the hub answered.
constexpr auto kRetryLost = 20ms, kRetryBad = 250ms;
// Input that found no room is offered again after this time.
constexpr auto kOfferAgain = 10ms;
constexpr auto kLinger = 100ms;
// So much input is offered at a time as the guest's UART has room for.
constexpr size_t kOffer = 16;
// Messages taken in before others get their turn.
constexpr unsigned kBurst = 256;

template <class... Handlers>
struct Overloaded : Handlers... {
  using Handlers::operator()...;
};
template <class... Handlers>
Overloaded(Handlers...) -> Overloaded<Handlers...>;

}  // namespace

void HubLink::run() {
  // Signals are for the program's other threads.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  std::unique_ptr<HubConnection> connection = std::move(first_);
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
      connection = std::make_unique<HubConnection>(context_, options_.address, options_.keys);
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
void HubLink::serve(HubConnection& connection) {
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

bool HubLink::pass_events(HubConnection& connection) {
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

void HubLink::receive(HubConnection& connection) {
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

void HubLink::take(HubConnection& connection, const hub::Accepted& m) {
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
