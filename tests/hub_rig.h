// A hub in this process, and what tests ask of it: a replica, a user at the console, a peer on the Ethernet.
#pragma once

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "devices/host_fd.h"
#include "primary/hub_link.h"
#include "tools/hub_server.h"

namespace understudy::test {

using Frame = std::vector<uint8_t>;

constexpr auto kPatience = std::chrono::seconds(60);

// Until it is so; false after kPatience.
inline bool eventually(const std::function<bool()>& so) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!so()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

class HubFolder {
 public:
  HubFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "understudy-hub-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = pattern;
  }
  ~HubFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  HubFolder(const HubFolder&) = delete;
  HubFolder& operator=(const HubFolder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

class RunningHub {
 public:
  explicit RunningHub(const tools::HubOptions& options) : hub_(options), thread_([this] { hub_.run(stop_.fd()); }) {}
  ~RunningHub() {
    stop_.notify();
    thread_.join();
  }
  const std::string& endpoint() const { return hub_.endpoint(); }
  nlohmann::json status() const { return hub_.status(); }
  // A count in the status, by path: /frames/out.
  uint64_t count(const std::string& path) const {
    return status().at(nlohmann::json::json_pointer(path)).get<uint64_t>();
  }
  bool reaches(const std::string& path, uint64_t count_wanted) const {
    return eventually([&] { return count(path) >= count_wanted; });
  }

 private:
  devices::EventFd stop_;
  tools::HubServer hub_;
  std::thread thread_;
};

// A replica without a machine: it notes what comes, and takes console input as long as it has room.
class Replica {
 public:
  Replica(const std::string& address, const std::string& node, const ftlog::CurveIdentity* keys = nullptr)
      : link_(
            {address, node, keys}, [this](auto frame) { return take_frame(frame); },
            [this](auto bytes) { return take_console(bytes); },
            [this](uint64_t epoch, const std::string& by) {
              const std::lock_guard lock(mutex_);
              fenced_by_ = by + "/" + std::to_string(epoch);
            }) {}
  primary::HubLink* operator->() { return &link_; }

  // Says text on the console, from where it stopped.
  void say(const std::string& text) {
    REQUIRE(link_.send_console(said_, {reinterpret_cast<const uint8_t*>(text.data()), text.size()}));
    said_ += text.size();
  }
  void said(uint64_t offset) { said_ = offset; }
  std::vector<Frame> frames() const {
    const std::lock_guard lock(mutex_);
    return frames_;
  }
  std::string heard() const {
    const std::lock_guard lock(mutex_);
    return heard_;
  }
  void set_room(size_t room) {
    const std::lock_guard lock(mutex_);
    room_ = room;
  }
  bool hears(const std::string& text) const {
    return eventually([&] { return heard() == text; });
  }
  std::string fenced_by() const {
    const std::lock_guard lock(mutex_);
    return fenced_by_;
  }
  bool is_fenced_by(const std::string& who) const {
    return eventually([&] { return fenced_by() == who; });
  }

 private:
  bool take_frame(std::span<const uint8_t> frame) {
    const std::lock_guard lock(mutex_);
    frames_.emplace_back(frame.begin(), frame.end());
    return true;
  }
  bool take_console(std::span<const uint8_t> bytes) {
    const std::lock_guard lock(mutex_);
    if (heard_.size() + bytes.size() > room_) return false;
    heard_.append(bytes.begin(), bytes.end());
    return true;
  }
  mutable std::mutex mutex_;
  std::vector<Frame> frames_;
  std::string heard_, fenced_by_;
  size_t room_ = SIZE_MAX;
  uint64_t said_ = 0;
  primary::HubLink link_;  // goes first
};

// Someone at the console's Unix socket.
class ConsoleUser {
 public:
  explicit ConsoleUser(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    const timeval patience{60, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    REQUIRE(eventually(
        [&] { return ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0; }));
  }
  void type(const std::string& text) {
    REQUIRE(::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
  }
  // How much of the text was taken at once.
  size_t type_without_waiting(const std::string& text) {
    const ssize_t sent = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent < 0 ? 0 : static_cast<size_t>(sent);
  }
  std::string read(size_t size) {
    std::string text(size, '\0');
    size_t got = 0;
    while (got < size) {
      const ssize_t more = ::recv(fd_.get(), text.data() + got, size - got, 0);
      if (more <= 0) break;
      got += static_cast<size_t>(more);
    }
    text.resize(got);
    return text;
  }
  // What is there already.
  std::string read_at_once() {
    std::string text(1 << 20, '\0');
    const ssize_t got = ::recv(fd_.get(), text.data(), text.size(), MSG_DONTWAIT);
    text.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return text;
  }

 private:
  devices::HostFd fd_;
};

}  // namespace understudy::test
