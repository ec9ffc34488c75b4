// One end of the log channel: a ZeroMQ socket with a thread that hears. A primary's end is bound and hears any number
// of peers; a backup's is connected to one. Messages are decoded here, what is no message is counted and never reaches
// the owner. Sending never blocks and never loses a message silently: each peer's queue is bounded, and full is an
// answer.
//
// Who sends gives ZeroMQ the message itself: a thread's wakeup on the way would cost more than the message does. A
// mutex makes the socket pass from thread to thread as ZeroMQ wants it, with a full fence; so nobody may poll the
// socket without the mutex, which is why the thread polls the descriptor that says when to look (ZMQ_FD).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <zmq.hpp>

#include "ftlog/channel_message.h"
#include "ftlog/curve_keys.h"
#include "ftlog/key_guard.h"
#include "ftlog/wake_event.h"

namespace understudy::ftlog {

// The address is no good, or taken; one line.
class ChannelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct ChannelCounts {
  uint64_t messages_in = 0, bytes_in = 0, messages_out = 0, bytes_out = 0;
  uint64_t bad_in = 0;       // no message, or a damaged one
  uint64_t version_in = 0;   // of another version
  uint64_t refused_out = 0;  // the queue was full
  uint64_t refused_keys = 0;
};

class ChannelSocket {
 public:
  using Clock = std::chrono::steady_clock;
  enum class Role { bound, connected };
  // Who sent a message; a connected socket has only one peer, whose name is empty.
  using Peer = std::string;

  struct Options {
    Role role = Role::bound;
    std::string address;  // tcp://HOST:PORT or ipc://PATH
    std::string name;     // of this end, unique: a bound socket knows its peers by it across reconnections
    std::optional<CurveIdentity> keys;    // without them everybody is let in
    size_t max_queued_bytes = 64u << 20;  // for each peer
  };
  // All called on the socket's thread.
  struct Handler {
    std::function<void(const Peer&, ChannelMessage&&)> message;
    // What a peer sent is no message; `version` tells whether it is one of another version.
    std::function<void(const Peer&, const std::string& why, bool version)> bad;
    // Returns when it wants to be called again, at the latest; called after messages as well.
    std::function<Clock::time_point()> timer;
  };

  // Throws ChannelError. Nothing is called before start().
  explicit ChannelSocket(Options options);
  ~ChannelSocket();
  void start(Handler handler);
  // Lets what was sent go, as far as `linger` allows, and ends the thread.
  void stop(std::chrono::milliseconds linger);

  // Any thread. False, and counted, if the peer's queue is full.
  bool send(const Peer& peer, const ChannelMessage& message);
  // What waits for a peer here.
  size_t queued_bytes(const Peer& peer) const;
  // Makes the timer run now. Any thread.
  void wake();
  // Where it is bound, with the port that was chosen for tcp://HOST:*.
  std::string endpoint() const { return endpoint_; }
  ChannelCounts counts() const;

 private:
  struct Queue {
    std::deque<Bytes> messages;
    size_t bytes = 0;
  };
  struct Received {
    Peer peer;
    Bytes bytes;
    bool whole = false;  // of one part, behind its peer's name
  };
  void run();
  bool receive();
  std::optional<Received> take();
  void hear(const Received& received);
  // With the mutex held.
  bool transmit();
  bool has_input();

  Options options_;
  Handler handler_;
  zmq::context_t context_;
  std::optional<KeyGuard> guard_;
  WakeEvent wake_;
  mutable std::mutex mutex_;  // for all of the following
  zmq::socket_t socket_;
  std::string endpoint_;
  std::map<Peer, Queue> queues_;
  bool closed_ = false;
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> messages_in_{0}, bytes_in_{0}, messages_out_{0}, bytes_out_{0}, bad_in_{0}, version_in_{0},
      refused_out_{0};
  std::thread thread_;
};

}  // namespace understudy::ftlog
