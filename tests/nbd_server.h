// A disk server of a test's own: nbdkit with an image in a folder, at a Unix socket.
#pragma once

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "devices/host_nbd.h"

namespace understudy::test {

class NbdServer {
 public:
  // `folder` outlives the server.
  NbdServer(const std::string& folder, uint64_t bytes)
      : image_(folder + "/disk.img"), socket_(folder + "/disk.sock"), ready_(folder + "/disk.pid") {
    std::ofstream(image_, std::ios::binary).close();
    REQUIRE(::truncate(image_.c_str(), static_cast<off_t>(bytes)) == 0);
  }
  ~NbdServer() { kill(); }
  NbdServer(const NbdServer&) = delete;
  NbdServer& operator=(const NbdServer&) = delete;

  std::string uri() const { return devices::nbd_uri_of_socket(socket_); }
  const std::string& image() const { return image_; }
  // The words after nbdkit's own options.
  void start(std::vector<std::string> words) {
    ::unlink(socket_.c_str());
    ::unlink(ready_.c_str());
    words.insert(words.begin(), {"nbdkit", "-f", "--exit-with-parent", "--pidfile", ready_, "--unix", socket_});
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      std::vector<char*> argv;
      for (std::string& word : words) argv.push_back(word.data());
      argv.push_back(nullptr);
      ::execvp(argv[0], argv.data());
      ::_exit(127);
    }
    // The socket is there before anybody listens on it; the file is written behind that.
    struct stat info {};
    for (int n = 0; n < 60'000 && ::stat(ready_.c_str(), &info) != 0; ++n)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    REQUIRE(::stat(ready_.c_str(), &info) == 0);
  }
  void start() { start({"file", image_}); }
  void kill(int number = SIGKILL) {
    if (pid_ <= 0) return;
    ::kill(pid_, number);
    // It may answer something yet until it has stopped.
    if (number == SIGSTOP) ::waitpid(pid_, nullptr, WUNTRACED);
    if (number != SIGKILL) return;
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  std::vector<uint8_t> read(uint64_t offset, size_t size) const {
    std::ifstream file(image_, std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    std::vector<uint8_t> bytes(size);
    file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
    REQUIRE(file);
    return bytes;
  }

 private:
  std::string image_, socket_, ready_;
  pid_t pid_ = -1;
};

}  // namespace understudy::test
