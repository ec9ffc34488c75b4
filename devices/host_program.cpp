#include "devices/host_program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace understudy::devices {

namespace {

using std::chrono::milliseconds;

constexpr int kAboveAll = 100;  // where the child's descriptors are kept until they get their places
constexpr milliseconds kTermination{2000};
constexpr char kPid[] = "LISTEN_PID=";

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

// Everything that the child needs between fork and exec, made before: there it may not allocate.
struct Launch {
  std::vector<char*> arguments;
  std::vector<char*> environment;
  std::array<char, sizeof kPid + 12> pid_text{};
  std::array<char, sizeof "LISTEN_FDS=1"> fds_text{};
  std::vector<HostFd> descriptors;
  HostFd null, printed;
  bool activated = false;
};

[[noreturn]] void become(Launch& launch) {
  setsid();
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT}) ::signal(signal, SIG_DFL);
  dup2(launch.null.get(), STDIN_FILENO);
  dup2(launch.printed.get(), STDOUT_FILENO);
  dup2(launch.printed.get(), STDERR_FILENO);
  int next = HostProgram::kFirstDescriptor;
  for (const HostFd& descriptor : launch.descriptors) dup2(descriptor.get(), next++);
  close_range(static_cast<unsigned>(next), ~0u, 0);
  if (launch.activated) {
    char* const digits = launch.pid_text.data() + sizeof kPid - 1;
    *std::to_chars(digits, launch.pid_text.end() - 1, getpid()).ptr = '\0';
  }
  execvpe(launch.arguments.front(), launch.arguments.data(), launch.environment.data());
  _exit(errno == ENOENT ? HostProgram::kNotFound : HostProgram::kNotRun);
}

}  // namespace

HostProgram::HostProgram(const std::vector<std::string>& arguments, std::span<const int> descriptors, bool activated) {
  Launch launch;
  launch.activated = activated;
  for (const std::string& argument : arguments) launch.arguments.push_back(const_cast<char*>(argument.c_str()));
  launch.arguments.push_back(nullptr);
  for (char** entry = environ; *entry != nullptr; ++entry)
    if (std::strncmp(*entry, "LISTEN_", 7) != 0) launch.environment.push_back(*entry);
  if (activated) {
    std::memcpy(launch.pid_text.data(), kPid, sizeof kPid);
    std::memcpy(launch.fds_text.data(), "LISTEN_FDS=1", launch.fds_text.size());
    launch.environment.push_back(launch.pid_text.data());
    launch.environment.push_back(launch.fds_text.data());
  }
  launch.environment.push_back(nullptr);
  auto above = [](int fd) {
    HostFd copy(fcntl(fd, F_DUPFD_CLOEXEC, kAboveAll));
    if (!copy) fail("a copy of a descriptor");
    return copy;
  };
  for (const int fd : descriptors) launch.descriptors.push_back(above(fd));
  const HostFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) fail("/dev/null");
  launch.null = above(null.get());
  // Not blocking at either end: the program must not wait for a reader that only looks when something went wrong.
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) fail("a pipe");
  printed_.reset(ends[0]);
  const HostFd write_end(ends[1]);
  launch.printed = above(write_end.get());

  pid_ = fork();
  if (pid_ < 0) fail("a process");
  if (pid_ == 0) become(launch);
  // Not <sys/pidfd.h>: in Debian 12 it declares its functions for C only.
  process_.reset(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
}

HostProgram::~HostProgram() {
  if (exit_code_) return;
  kill(pid_, SIGTERM);
  if (wait(kTermination)) return;
  kill(pid_, SIGKILL);
  wait();
}

std::optional<int> HostProgram::reap(int flags) {
  int status = 0;
  pid_t got = -1;
  do {
    got = waitpid(pid_, &status, flags);
  } while (got < 0 && errno == EINTR);
  if (got == 0) return std::nullopt;
  exit_code_ = got == pid_ && WIFEXITED(status) ? WEXITSTATUS(status) : kKilled;
  return exit_code_;
}

std::optional<int> HostProgram::wait(milliseconds patience) {
  if (exit_code_) return exit_code_;
  const auto end = std::chrono::steady_clock::now() + patience;
  while (process_) {
    const auto left = std::chrono::duration_cast<milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() < 0) break;
    pollfd watched{process_.get(), POLLIN, 0};
    if (poll(&watched, 1, static_cast<int>(left.count()) + 1) > 0) break;
  }
  return reap(WNOHANG);
}

int HostProgram::wait() {
  if (!exit_code_) reap(0);
  return exit_code_.value_or(kKilled);
}

std::string HostProgram::first_line(const std::string& prefix) {
  std::array<char, 4096> buffer{};
  for (ssize_t got = 0; (got = read(printed_.get(), buffer.data(), buffer.size())) > 0;)
    text_.append(buffer.data(), static_cast<size_t>(got));
  std::string line = text_.substr(0, text_.find('\n'));
  if (line.starts_with(prefix)) line.erase(0, prefix.size());
  return line;
}

}  // namespace understudy::devices
