// A disk server's end, by the NBD protocol (nbdkit, qemu-nbd), through libnbd: one connection, one request at a time,
// each of which waits for its answer. Any thread may end a wait. Whoever owns this decides what a lost server means.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>

#include "devices/host_fd.h"

struct nbd_handle;

namespace understudy::devices {

// One line that names the server, the reason and what to do about it.
class NbdError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Whether a text is the URI of a disk server: nbd://HOST[:PORT]/[EXPORT], nbd+unix:///[EXPORT]?socket=PATH, nbds.
bool is_nbd_uri(const std::string& text);
std::string nbd_uri_of_socket(const std::string& path);

class HostNbd {
 public:
  struct Shape {
    uint64_t bytes = 0;
    bool read_only = false;
  };
  enum class Outcome {
    done,
    failed,   // the server says that it cannot; see error()
    gone,     // the connection is lost, or was never there
    stopped,  // stop() was called
  };

  explicit HostNbd(std::string uri) : uri_(std::move(uri)) {}
  ~HostNbd() { close(); }
  HostNbd(const HostNbd&) = delete;
  HostNbd& operator=(const HostNbd&) = delete;

  const std::string& uri() const { return uri_; }
  // Connects anew. Throws NbdError: nobody there, no answer in time, no such export, a disk that cannot be used, or
  // stopped.
  Shape open(std::chrono::milliseconds patience);
  bool is_open() const { return handle_ != nullptr; }
  void close();
  // What open() found.
  const Shape& shape() const { return shape_; }

  Outcome read(uint64_t offset, std::span<uint8_t> to);
  // `durable`: it is on the server's disk when this is done.
  Outcome write(uint64_t offset, std::span<const uint8_t> from, bool durable);
  Outcome flush();
  // Of the last request that did not end with `done`; one line.
  const std::string& error() const { return error_; }

  // Called, once a request, when an answer takes longer than kSlow.
  static constexpr std::chrono::seconds kSlow{5};
  void on_slow(std::function<void()> callback) { slow_ = std::move(callback); }

  // Any thread: what waits, and every wait after it, ends.
  void stop() { stop_.notify(); }

 private:
  using Clock = std::chrono::steady_clock;
  enum class Wait { ready, late, gone, stopped };
  // Serves the connection until `ready()`.
  Wait wait(const std::function<bool()>& ready, Clock::time_point deadline);
  bool is_lost() const;
  Outcome finish(int64_t cookie);
  [[noreturn]] void fail(const std::string& reason, const std::string& advice);

  std::string uri_;
  nbd_handle* handle_ = nullptr;
  Shape shape_;
  bool can_flush_ = false, can_fua_ = false;
  std::string error_;
  std::function<void()> slow_;
  EventFd stop_;
};

}  // namespace understudy::devices
