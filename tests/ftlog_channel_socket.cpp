// A channel's socket passes from thread to thread: nothing may be lost, reordered or left lying when many send at once
// while much comes in. The timers are far away, so that a wakeup that is missed ends in a timeout.
#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "ftlog/channel_socket.h"

using namespace understudy;
using namespace std::chrono_literals;
using ftlog::ChannelSocket;

namespace {

constexpr size_t kSenders = 3;
constexpr uint64_t kMessages = 20'000;

// One end: several threads send numbered messages, and what comes is checked.
class End {
 public:
  End(ChannelSocket::Role role, const std::string& address)
      : socket_({.role = role, .address = address, .name = "end", .keys = {}}) {
    socket_.start({.message = [this](const auto& peer, ftlog::ChannelMessage&& m) { hear(peer, m); },
                   .bad = [this](const auto&, const std::string&, bool) { ++bad_; },
                   .timer = [] { return ChannelSocket::Clock::now() + 600s; }});
  }
  ~End() {
    for (std::thread& thread : senders_) thread.join();
    socket_.stop(0ms);
  }
  void greet() { CHECK(socket_.send({}, message(0, 0))); }
  bool await_greeting() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 60s, [this] { return greeted_; });
  }
  void send_all(const ChannelSocket::Peer& peer) {
    for (size_t sender = 1; sender <= kSenders; ++sender)
      senders_.emplace_back([this, sender, peer] {
        for (uint64_t number = 1; number <= kMessages; ++number) socket_.send(peer, message(sender, number));
      });
  }
  bool await_all() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 120s, [this] { return heard_ == kSenders * kMessages; });
  }
  ChannelSocket::Peer peer() {
    const std::lock_guard lock(mutex_);
    return peer_;
  }
  uint64_t bad() const { return bad_; }
  uint64_t out_of_order() const { return out_of_order_; }
  ftlog::ChannelCounts counts() const { return socket_.counts(); }

 private:
  static ftlog::ChannelMessage message(uint64_t sender, uint64_t number) {
    return {1, ftlog::Beat{{number, 0, 0}, 0, sender, 0}};
  }
  void hear(const ChannelSocket::Peer& peer, const ftlog::ChannelMessage& message) {
    const auto* beat = std::get_if<ftlog::Beat>(&message.payload);
    if (beat == nullptr || beat->parts > kSenders) {
      ++bad_;
      return;
    }
    const std::lock_guard lock(mutex_);
    if (beat->parts == 0) {
      peer_ = peer;
      greeted_ = true;
    } else {
      if (beat->horizon.sequence != ++last_[beat->parts - 1]) ++out_of_order_;
      ++heard_;
    }
    if (greeted_ || heard_ == kSenders * kMessages) changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool greeted_ = false;
  ChannelSocket::Peer peer_;
  std::array<uint64_t, kSenders> last_{};
  uint64_t heard_ = 0;
  std::atomic<uint64_t> bad_{0}, out_of_order_{0};
  std::vector<std::thread> senders_;
  ChannelSocket socket_;
};

constexpr uint64_t kQuestions = 2'000, kNoise = UINT64_MAX;

ftlog::ChannelMessage numbered(uint64_t number) { return {1, ftlog::Beat{{number, 0, 0}, 0, 0, 0}}; }

}  // namespace

// ZeroMQ may take notice of an answer while another thread sends: then its descriptor does not tell of it.
TEST_CASE("an answer is heard though another thread sends all the time, and nothing else comes") {
  const std::string path = std::filesystem::temp_directory_path() / ("channel-" + std::to_string(getpid()));
  const auto far = [] { return ChannelSocket::Clock::now() + 600s; };
  ChannelSocket server({.role = ChannelSocket::Role::bound, .address = "ipc://" + path, .name = "server", .keys = {}});
  server.start({.message =
                    [&server](const auto& peer, ftlog::ChannelMessage&& m) {
                      const auto* beat = std::get_if<ftlog::Beat>(&m.payload);
                      if (beat != nullptr && beat->horizon.sequence != kNoise) server.send(peer, m);
                    },
                .bad = {},
                .timer = far});
  ChannelSocket client(
      {.role = ChannelSocket::Role::connected, .address = "ipc://" + path, .name = "client", .keys = {}});
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t answered = 0;
  client.start({.message =
                    [&](const auto&, ftlog::ChannelMessage&& m) {
                      const std::lock_guard lock(mutex);
                      answered = std::get<ftlog::Beat>(m.payload).horizon.sequence;
                      changed.notify_all();
                    },
                .bad = {},
                .timer = far});
  std::atomic<uint64_t> asked{0};
  // Some messages about the time of each answer, and then none: what is missed then, is missed for good.
  std::thread noise([&] {
    for (uint64_t number = 1; number <= kQuestions; ++number) {
      while (asked < number) std::this_thread::yield();
      for (int i = 0; i < 20 && asked == number; ++i) {
        client.send({}, numbered(kNoise));
        const auto next = std::chrono::steady_clock::now() + 5us;
        while (std::chrono::steady_clock::now() < next) {
        }
      }
    }
  });
  uint64_t question = 1;
  for (; question <= kQuestions; ++question) {
    asked = question;
    client.send({}, numbered(question));
    std::unique_lock lock(mutex);
    if (!changed.wait_for(lock, 30s, [&] { return answered == question; })) break;
  }
  asked = kQuestions + 1;
  CHECK(question == kQuestions + 1);
  noise.join();
  client.stop(0ms);
  server.stop(0ms);
  std::filesystem::remove(path);
}

TEST_CASE("a channel's two ends, with many threads sending each way at once, hear everything in order") {
  const std::string path = std::filesystem::temp_directory_path() / ("channel-" + std::to_string(getpid()));
  End bound(ChannelSocket::Role::bound, "ipc://" + path);
  End connected(ChannelSocket::Role::connected, "ipc://" + path);
  connected.greet();
  REQUIRE(bound.await_greeting());
  connected.send_all({});
  bound.send_all(bound.peer());
  CHECK(bound.await_all());
  CHECK(connected.await_all());
  for (const End* end : {&bound, &connected}) {
    CHECK(end->bad() == 0);
    CHECK(end->out_of_order() == 0);
    CHECK(end->counts().refused_out == 0);
  }
  std::filesystem::remove(path);
}
