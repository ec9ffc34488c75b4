// Where debuggers connect: a TCP port, on loopback unless an address says otherwise, or a Unix socket. One client at a
// time; others wait until it has left.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "tools/gdb_server.h"

namespace understudy::tools {

class GdbListener {
 public:
  // [ADDRESS]:PORT, PORT, or unix:PATH. Port 0 is any that is free. Throws UsageError.
  explicit GdbListener(const std::string& spec);
  ~GdbListener();
  GdbListener(const GdbListener&) = delete;
  GdbListener& operator=(const GdbListener&) = delete;

  // As gdb's `target remote` takes it.
  const std::string& target() const { return target_; }
  // Whether other machines may reach it: whoever connects reads all of the guest's memory.
  bool is_public() const { return public_; }

  // Waits for the next client. nullptr when a signal wants the process to end, or after close().
  std::unique_ptr<GdbLink> accept();
  // Nobody is waited for any more: neither a next client, nor what the present one may say next. Any thread.
  void close() { closed_ = true; }

 private:
  void listen_unix(const std::string& path);
  void listen_tcp(const std::string& spec);
  int listener_ = -1;
  std::string unlink_path_;
  std::string target_;
  bool public_ = false;
  std::atomic<bool> closed_{false};
};

}  // namespace understudy::tools
