#include "ftlog/channel_socket.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <csignal>

#include "ftlog/short_slice.h"

namespace understudy::ftlog {

namespace {

// While a peer takes nothing, it is tried again this often: ZeroMQ does not tell which peer of a router has room.
constexpr std::chrono::milliseconds kRetry{2};
// Messages that ZeroMQ itself may hold for a peer; the rest waits here, where it is counted in bytes.
constexpr int kHighWater = 256;
// So many messages are taken before the timer is looked at again.
constexpr unsigned kBurst = 256;
constexpr char kDomain[] = "log";

// ZeroMQ starts its threads for the first socket.
zmq::context_t& with_quick_threads(zmq::context_t& context) {
  const ShortSlice slice;
  const zmq::socket_t first(context, zmq::socket_type::pair);
  return context;
}

}  // namespace

ChannelSocket::ChannelSocket(Options options)
    : options_(std::move(options)),
      context_(1),
      socket_(with_quick_threads(context_),
              options_.role == Role::bound ? zmq::socket_type::router : zmq::socket_type::dealer) {
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
    endpoint_ = socket_.get(zmq::sockopt::last_endpoint);
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
  std::unique_lock lock(mutex_);
  while (transmit() && Clock::now() < deadline) {
    lock.unlock();
    std::this_thread::sleep_for(kRetry);
    lock.lock();
  }
  closed_ = true;
  socket_.set(zmq::sockopt::linger, static_cast<int>(linger.count()));
  socket_.close();
}

void ChannelSocket::wake() { wake_.notify(); }

ChannelCounts ChannelSocket::counts() const {
  return {messages_in_, bytes_in_,   messages_out_, bytes_out_,
          bad_in_,      version_in_, refused_out_,  guard_ ? guard_->counts(kDomain).refused : 0};
}

bool ChannelSocket::send(const Peer& peer, const ChannelMessage& message) {
  Bytes bytes = encode(message);
  bool look = false;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return false;
    Queue& queue = queues_[peer];
    if (queue.bytes + bytes.size() > options_.max_queued_bytes) {
      ++refused_out_;
      return false;
    }
    queue.bytes += bytes.size();
    queue.messages.push_back(std::move(bytes));
    // What waits is the thread's to try again. And ZeroMQ may have learnt, while it sent, that something has come: it
    // does not tell the descriptor again.
    look = transmit() || has_input();
  }
  if (look) wake();
  return true;
}

size_t ChannelSocket::queued_bytes(const Peer& peer) const {
  const std::lock_guard lock(mutex_);
  const auto found = queues_.find(peer);
  return found == queues_.end() ? 0 : found->second.bytes;
}

// True while something waits that could not go.
bool ChannelSocket::transmit() {
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

bool ChannelSocket::has_input() { return (socket_.get(zmq::sockopt::events) & ZMQ_POLLIN) != 0; }

std::optional<ChannelSocket::Received> ChannelSocket::take() {
  const std::lock_guard lock(mutex_);
  Received received;
  zmq::message_t part;
  if (!socket_.recv(part, zmq::recv_flags::dontwait)) return std::nullopt;
  if (options_.role == Role::bound) {
    received.peer = part.to_string();
    if (!part.more() || !socket_.recv(part, zmq::recv_flags::dontwait)) return received;
  }
  received.whole = !part.more();
  received.bytes.assign(part.data<const uint8_t>(), part.data<const uint8_t>() + part.size());
  for (bool more = part.more(); more; more = part.more())
    if (!socket_.recv(part, zmq::recv_flags::dontwait)) break;
  return received;
}

void ChannelSocket::hear(const Received& received) {
  bytes_in_ += received.bytes.size();
  try {
    if (!received.whole) throw DecodeError(0, "not a message of one part");
    ChannelMessage message = decode_channel_message(received.bytes);
    ++messages_in_;
    handler_.message(received.peer, std::move(message));
  } catch (const ChannelVersionError& error) {
    ++version_in_;
    if (handler_.bad) handler_.bad(received.peer, error.what(), true);
  } catch (const DecodeError& error) {
    ++bad_in_;
    if (handler_.bad) handler_.bad(received.peer, error.what(), false);
  }
}

// True when there was more than is taken at a time.
bool ChannelSocket::receive() {
  for (unsigned n = 0; n < kBurst; ++n) {
    const std::optional<Received> received = take();
    if (!received) return false;
    hear(*received);
  }
  return true;
}

void ChannelSocket::run() {
  const ShortSlice slice;
  // Signals are the machine's thread's.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  std::unique_lock lock(mutex_);
  const int descriptor = socket_.get(zmq::sockopt::fd);
  lock.unlock();
  while (!stopping_) {
    const bool more = receive();
    const auto due = handler_.timer ? handler_.timer() : Clock::now() + std::chrono::seconds(1);
    lock.lock();
    const bool waits = transmit();
    const bool now = more || has_input();
    lock.unlock();
    if (now) continue;
    auto wait = std::chrono::ceil<std::chrono::milliseconds>(due - Clock::now());
    if (waits) wait = std::min(wait, std::chrono::milliseconds(kRetry));
    std::array<pollfd, 2> items{{{descriptor, POLLIN, 0}, {wake_.fd(), POLLIN, 0}}};
    ::poll(items.data(), items.size(), static_cast<int>(std::max<int64_t>(wait.count(), 0)));
    if (items[1].revents != 0) wake_.clear();
  }
}

}  // namespace understudy::ftlog
