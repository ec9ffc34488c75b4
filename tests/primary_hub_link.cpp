// The hub link's socket passes from thread to thread: an answer must be heard though another thread sends at that
// moment. The hub's other sides are tested with the hub (tools_hub.cpp).
#include <doctest/doctest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <zmq.hpp>

#include "primary/hub_link.h"

using namespace understudy;
using namespace std::chrono_literals;
namespace hub = primary::hub;

namespace {

constexpr uint64_t kQuestions = 2'000, kNoise = UINT64_MAX;

std::vector<uint8_t> numbered(uint64_t number) {
  std::vector<uint8_t> frame(60);
  std::memcpy(frame.data() + 14, &number, sizeof number);
  return frame;
}
uint64_t number_of(std::span<const uint8_t> frame) {
  uint64_t number = 0;
  std::memcpy(&number, frame.data() + 14, sizeof number);
  return number;
}

// Accepts whoever announces itself and sends its questions back, one message for each.
class EchoingHub {
 public:
  explicit EchoingHub(const std::string& address) {
    socket_.bind(address);
    thread_ = std::thread([this] {
      while (!over_) {
        zmq::message_t id, body;
        if (!socket_.recv(id) || !socket_.recv(body)) continue;
        const hub::ToHub message = hub::decode_to_hub({body.data<uint8_t>(), body.size()});
        if (const auto* announce = std::get_if<hub::Announce>(&message))
          answer(id, hub::Accepted{announce->epoch, 0, 0});
        if (const auto* frames = std::get_if<hub::FramesOut>(&message))
          hub::for_each_frame(frames->bytes, [&](std::span<const uint8_t> frame) {
            hub::FrameBatch batch;
            if (number_of(frame) != kNoise && batch.add(frame)) answer(id, hub::FramesIn{batch.bytes()});
          });
      }
    });
  }
  ~EchoingHub() {
    over_ = true;
    thread_.join();
  }

 private:
  void answer(const zmq::message_t& id, const hub::ToReplica& message) {
    socket_.send(zmq::buffer(id.data(), id.size()), zmq::send_flags::sndmore);
    socket_.send(zmq::buffer(hub::encode(message)), zmq::send_flags::none);
  }
  static zmq::socket_t router(zmq::context_t& context) {
    zmq::socket_t socket(context, zmq::socket_type::router);
    socket.set(zmq::sockopt::rcvtimeo, 100);  // to see that it is over
    socket.set(zmq::sockopt::linger, 0);
    return socket;
  }

  zmq::context_t context_;
  zmq::socket_t socket_ = router(context_);
  std::atomic<bool> over_{false};
  std::thread thread_;
};

}  // namespace

// ZeroMQ may take notice of an answer while another thread sends: then its descriptor does not tell of it.
TEST_CASE("hub link: an answer is heard though another thread sends all the time, and nothing else comes") {
  const std::string path = std::filesystem::temp_directory_path() / ("hub-link-" + std::to_string(getpid()));
  const EchoingHub echo("ipc://" + path);
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t answered = 0;
  primary::HubLink link({.address = "ipc://" + path, .node = "left", .keys = nullptr},
                        [&](std::span<const uint8_t> frame) {
                          const std::lock_guard lock(mutex);
                          answered = number_of(frame);
                          changed.notify_all();
                          return true;
                        },
                        {}, {});
  link.announce(1, 0, 0);
  const auto patience = std::chrono::steady_clock::now() + 30s;
  while (!link.accepted() && std::chrono::steady_clock::now() < patience) std::this_thread::yield();
  REQUIRE(link.accepted());
  std::atomic<uint64_t> asked{0};
  // Some frames about the time of each answer, and then none: what is missed then, is missed for good.
  std::thread noise([&] {
    for (uint64_t number = 1; number <= kQuestions; ++number) {
      while (asked < number) std::this_thread::yield();
      for (int i = 0; i < 20 && asked == number; ++i) {
        link.send_frame(numbered(kNoise));
        const auto next = std::chrono::steady_clock::now() + 5us;
        while (std::chrono::steady_clock::now() < next) {
        }
      }
    }
  });
  uint64_t question = 1;
  for (; question <= kQuestions; ++question) {
    asked = question;
    link.send_frame(numbered(question));
    std::unique_lock lock(mutex);
    if (!changed.wait_for(lock, 30s, [&] { return answered == question; })) break;
  }
  asked = kQuestions + 1;
  CHECK(question == kQuestions + 1);
  noise.join();
  CHECK(link.counts().bad_messages == 0);
  std::filesystem::remove(path);
}
