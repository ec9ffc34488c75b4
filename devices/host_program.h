// A program of the host that works for this process. It has its own session, so that a terminal's Ctrl-C is ours to
// handle; nothing to read; and of our descriptors only those it is given. What it prints is kept, up to a pipe's
// worth, for an error message. It is ended and reaped when this goes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "devices/host_fd.h"

namespace understudy::devices {

class HostProgram {
 public:
  static constexpr int kFirstDescriptor = 3;

  // `descriptors` become 3, 4 and so on. With `activated` the first is a listening socket, and the program is told so
  // as systemd tells its services (sd_listen_fds(3)). Throws std::system_error when there is no process to be had; a
  // program that cannot be run ends with kNotFound or kNotRun.
  HostProgram(const std::vector<std::string>& arguments, std::span<const int> descriptors, bool activated);
  ~HostProgram();
  HostProgram(const HostProgram&) = delete;
  HostProgram& operator=(const HostProgram&) = delete;

  static constexpr int kNotFound = 127;
  static constexpr int kNotRun = 126;
  static constexpr int kKilled = -1;
  // The exit code, or kKilled for a signal's; nothing when it still runs after `patience`.
  std::optional<int> wait(std::chrono::milliseconds patience);
  int wait();
  // The first line of what it printed so far, without `prefix`.
  std::string first_line(const std::string& prefix);

 private:
  std::optional<int> reap(int flags);

  pid_t pid_ = -1;
  HostFd process_;  // readable when it has ended
  HostFd printed_;
  std::string text_;
  std::optional<int> exit_code_;
};

}  // namespace understudy::devices
