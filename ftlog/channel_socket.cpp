#include "ftlog/channel_socket.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <csignal>

namespace understudy::ftlog {

namespace {

// While a peer takes nothing, it is tried again this often.
constexpr std::chrono::milliseconds kRetry{2};
// Messages that ZeroMQ itself may hold for a peer; the rest waits here, where it is counted in bytes.
constexpr int kHighWater = 256;
// So many messages are taken before the timer is looked at again.
constexpr unsigned kBurst = 256;
constexpr char kDomain[] = "log";

}  // namespace

ChannelSocket::ChannelSocket(Options options)
    : options_(std::move(options)),
      context_(1),
      socket_(context_, options_.role == Role::bound ? zmq::socket_type::router : zmq::socket_type::dealer) {
  try {
    socket_.set(zmq::sockopt::linger, 0);
    socket_.set(zmq::sockopt::sndhwm, kHighWater);
    socket_.set(zmq::sockopt::rcvhwm, kHighWater);
    socket_.set(zmq::sockopt::maxmsgsize, static_cast<int64_t>(kMaxChannelMessage));
    socket_.set(zmq::sockopt::ipv6, 1);
    if (options_.keys && options_.role == Role::bound) {
      guard_.emplace(context_);
      guard_->secure_server(socket_, *options_.keys, kDomain);
    } else if (options_.keys) {
      secure_client(socket_, *options_.keys);
    }
    if (options_.role == Role::bound) {
      socket_.set(zmq::sockopt::router_mandatory, 1);
      socket_.set(zmq::sockopt::router_handover, 1);
      socket_.bind(options_.address);
    } else {
      socket_.set(zmq::sockopt::routing_id, options_.name);
      socket_.set(zmq::sockopt::immediate, 1);
      socket_.set(zmq::sockopt::reconnect_ivl, 20);
      socket_.set(zmq::sockopt::reconnect_ivl_max, 500);
      socket_.connect(options_.address);
    }
  } catch (const zmq::error_t& error) {
    throw ChannelError(fmt::format("{}: {} (want tcp://HOST:PORT or ipc://PATH)", options_.address, error.what()));
  }
}

ChannelSocket::~ChannelSocket() { stop(std::chrono::milliseconds(0)); }

void ChannelSocket::start(Handler handler) {
  handler_ = std::move(handler);
  thread_ = std::thread([this] { run(); });
}

void ChannelSocket::stop(std::chrono::milliseconds linger) {
  if (!thread_.joinable()) return;
  stopping_ = true;
  wake();
  thread_.join();
  const auto deadline = Clock::now() + linger;
  while (transmit() && Clock::now() < deadline) std::this_thread::sleep_for(kRetry);
  socket_.set(zmq::sockopt::linger, static_cast<int>(linger.count()));
  socket_.close();
}

void ChannelSocket::wake() { wake_.notify(); }

std::string ChannelSocket::endpoint() const { return socket_.get(zmq::sockopt::last_endpoint); }

ChannelCounts ChannelSocket::counts() const {
  return {messages_in_, bytes_in_,   messages_out_, bytes_out_,
          bad_in_,      version_in_, refused_out_,  guard_ ? guard_->counts(kDomain).refused : 0};
}

bool ChannelSocket::send(const Peer& peer, const ChannelMessage& message) {
  Bytes bytes = encode(message);
  {
    const std::lock_guard lock(mutex_);
    Queue& queue = queues_[peer];
    if (queue.bytes + bytes.size() > options_.max_queued_bytes) {
      ++refused_out_;
      return false;
    }
    queue.bytes += bytes.size();
    queue.messages.push_back(std::move(bytes));
  }
  wake();
  return true;
}

size_t ChannelSocket::queued_bytes(const Peer& peer) const {
  const std::lock_guard lock(mutex_);
  const auto found = queues_.find(peer);
  return found == queues_.end() ? 0 : found->second.bytes;
}

// True while something waits that could not go.
bool ChannelSocket::transmit() {
  const std::lock_guard lock(mutex_);
  bool waits = false;
  for (auto at = queues_.begin(); at != queues_.end();) {
    auto& [peer, queue] = *at;
    bool gone = false;
    while (!queue.messages.empty() && !gone) {
      const Bytes& bytes = queue.messages.front();
      try {
        if (options_.role == Role::bound && !socket_.send(zmq::const_buffer(peer.data(), peer.size()),
                                                          zmq::send_flags::sndmore | zmq::send_flags::dontwait))
          break;
        // A whole multipart message fits once its first part did.
        if (!socket_.send(zmq::const_buffer(bytes.data(), bytes.size()), zmq::send_flags::dontwait)) break;
      } catch (const zmq::error_t& error) {
        gone = error.num() == EHOSTUNREACH;
        if (!gone) throw;
        break;
      }
      ++messages_out_;
      bytes_out_ += bytes.size();
      queue.bytes -= bytes.size();
      queue.messages.pop_front();
    }
    if (!queue.messages.empty() && !gone) waits = true;
    // A peer that went away gets nothing more; should it come back, it asks again for what it lacks.
    at = gone || queue.messages.empty() ? queues_.erase(at) : std::next(at);
  }
  return waits;
}

void ChannelSocket::receive() {
  for (unsigned n = 0; n < kBurst; ++n) {
    zmq::message_t part;
    if (!socket_.recv(part, zmq::recv_flags::dontwait)) return;
    Peer peer;
    if (options_.role == Role::bound) {
      peer = part.to_string();
      if (!part.more() || !socket_.recv(part, zmq::recv_flags::dontwait)) {
        ++bad_in_;
        continue;
      }
    }
    bool more = part.more();
    const bool whole = !more;
    for (zmq::message_t rest; more; more = rest.more())
      if (!socket_.recv(rest, zmq::recv_flags::dontwait)) break;
    bytes_in_ += part.size();
    try {
      if (!whole) throw DecodeError(0, "a message of several parts");
      ChannelMessage message = decode_channel_message({part.data<const uint8_t>(), part.size()});
      ++messages_in_;
      handler_.message(peer, std::move(message));
    } catch (const ChannelVersionError& error) {
      ++version_in_;
      if (handler_.bad) handler_.bad(peer, error.what(), true);
    } catch (const DecodeError& error) {
      ++bad_in_;
      if (handler_.bad) handler_.bad(peer, error.what(), false);
    }
  }
}

void ChannelSocket::run() {
  // Signals are the machine's thread's.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  auto due = Clock::now();
  bool waits = false;
  while (!stopping_) {
    auto wait = std::chrono::ceil<std::chrono::milliseconds>(due - Clock::now());
    if (waits) wait = std::min(wait, std::chrono::milliseconds(kRetry));
    std::array<zmq::pollitem_t, 2> items{{{socket_.handle(), 0, ZMQ_POLLIN, 0}, {nullptr, wake_.fd(), ZMQ_POLLIN, 0}}};
    zmq::poll(items, std::max(wait, std::chrono::milliseconds(0)));
    if (items[1].revents != 0) wake_.clear();
    receive();
    due = handler_.timer ? handler_.timer() : Clock::now() + std::chrono::seconds(1);
    waits = transmit();
  }
}

}  // namespace understudy::ftlog
