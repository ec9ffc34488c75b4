#include "tools/console_end.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "tools/serial_backend.h"
#include "tools/serial_socket.h"
#include "tools/terminal.h"

namespace understudy::tools {

namespace {

// To a terminal, a pipe or a file, which are not ours to make non-blocking: when poll() says there is room, there is
// room for this much.
constexpr size_t kBlockingWrite = 512;

bool is_ready(int fd, short events) {
  pollfd ready{fd, events, 0};
  return ::poll(&ready, 1, 0) > 0;
}

bool would_wait(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

}  // namespace

ConsoleEnd::ConsoleEnd(const std::string& spec) : spec_(spec) {
  const auto rest = [&spec](std::string_view prefix) { return spec.substr(prefix.size()); };
  if (spec == "none") return;
  if (spec == "stdio") {
    kind_ = Kind::terminal;
    keys_ = ::isatty(STDIN_FILENO) != 0;
    in_ = STDIN_FILENO;
    out_ = STDOUT_FILENO;
    make_terminal_raw();
  } else if (spec.starts_with("file:") && spec.size() > 5) {
    kind_ = Kind::file;
    owned_.reset(::open(rest("file:").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!owned_) throw UsageError(fmt::format("console {}: {}", spec, std::strerror(errno)));
    out_ = owned_.get();
  } else if (spec.starts_with("unix:") && spec.size() > 5) {
    kind_ = Kind::socket;
    unlink_path_ = rest("unix:");
    listener_.reset(open_unix_listener(unlink_path_));
  } else if (spec.starts_with("tcp:")) {
    kind_ = Kind::socket;
    listener_.reset(open_tcp_listener(rest("tcp:")));
  } else {
    throw UsageError(fmt::format("console '{}' is not stdio, file:PATH, unix:PATH, tcp:HOST:PORT or none", spec));
  }
}

ConsoleEnd::~ConsoleEnd() {
  if (!unlink_path_.empty()) ::unlink(unlink_path_.c_str());
  if (kind_ == Kind::terminal) restore_terminal();
}

void ConsoleEnd::add_items(std::vector<zmq::pollitem_t>& items, bool input) {
  const auto add = [&items](int fd, int events) { items.push_back({nullptr, fd, static_cast<short>(events), 0}); };
  if (kind_ == Kind::socket && out_ < 0) {
    add(listener_.get(), ZMQ_POLLIN);
    return;
  }
  const bool output = out_ >= 0 && pending() != 0;
  if (in_ >= 0 && input) add(in_, ZMQ_POLLIN);
  if (output) add(out_, ZMQ_POLLOUT);
}

std::optional<ConsoleEnd::Clock::time_point> ConsoleEnd::deadline() const {
  if (kind_ != Kind::socket || out_ < 0 || pending() == 0) return {};
  return last_progress_ + kPatience;
}

std::vector<uint8_t> ConsoleEnd::serve(size_t room) {
  if (kind_ == Kind::socket && out_ < 0) take_client();
  flush();
  if (kind_ == Kind::socket && out_ >= 0 && pending() != 0 && Clock::now() - last_progress_ >= kPatience) {
    ++counts_.cut_off;
    hang_up();
  }
  if (in_ < 0 || room == 0 || !is_ready(in_, POLLIN)) return {};
  std::array<uint8_t, 4096> bytes{};
  const ssize_t got = ::read(in_, bytes.data(), std::min(room, bytes.size()));
  if (got > 0) {
    counts_.bytes_in += static_cast<uint64_t>(got);
    return unescape(std::span(bytes).first(static_cast<size_t>(got)));
  }
  if (got < 0 && would_wait(errno)) return {};
  if (kind_ == Kind::socket)
    hang_up();
  else
    in_ = -1;
  return {};
}

std::vector<uint8_t> ConsoleEnd::unescape(std::span<const uint8_t> bytes) {
  if (!keys_) return {bytes.begin(), bytes.end()};
  std::vector<uint8_t> typed;
  for (const uint8_t byte : bytes) {
    switch (escape_.feed(byte)) {
      case EscapeKey::Meaning::type:
        typed.push_back(byte);
        break;
      case EscapeKey::Meaning::quit:
        quit_ = true;
        break;
      case EscapeKey::Meaning::help:
        fmt::print(stderr, "{}", EscapeKey::kHelp);
        break;
      case EscapeKey::Meaning::nothing:
        break;
    }
  }
  return typed;
}

void ConsoleEnd::write(std::span<const uint8_t> bytes) {
  if (out_ < 0) {
    delivered_ += bytes.size();
    counts_.lost += bytes.size();
    return;
  }
  if (pending() == 0) last_progress_ = Clock::now();
  output_.insert(output_.end(), bytes.begin(), bytes.end());
  flush();
}

void ConsoleEnd::flush() {
  while (out_ >= 0 && pending() != 0) {
    ssize_t done = 0;
    if (kind_ == Kind::socket) {
      done = ::send(out_, output_.data() + output_at_, pending(), MSG_NOSIGNAL | MSG_DONTWAIT);
    } else {
      if (!is_ready(out_, POLLOUT)) return;
      done = ::write(out_, output_.data() + output_at_, std::min(pending(), kBlockingWrite));
    }
    if (done < 0 && would_wait(errno)) return;
    if (done < 0) {
      if (kind_ != Kind::socket)
        fmt::print(stderr, "understudy: console {}: {}; output is lost\n", spec_, std::strerror(errno));
      hang_up();
      return;
    }
    last_progress_ = Clock::now();
    output_at_ += static_cast<size_t>(done);
    delivered_ += static_cast<uint64_t>(done);
    counts_.bytes_out += static_cast<uint64_t>(done);
  }
  if (pending() == 0) {
    output_.clear();
    output_at_ = 0;
  }
}

void ConsoleEnd::take_client() {
  if (!is_ready(listener_.get(), POLLIN)) return;
  owned_.reset(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!owned_) return;
  in_ = out_ = owned_.get();
  ++counts_.clients;
}

// Also of an output that can no longer be written to.
void ConsoleEnd::hang_up() {
  counts_.lost += pending();
  delivered_ += pending();
  output_.clear();
  output_at_ = 0;
  out_ = -1;
  if (kind_ != Kind::socket) return;
  in_ = -1;
  owned_.reset();
}

uint64_t ConsoleEnd::take_delivered() { return std::exchange(delivered_, 0); }

}  // namespace understudy::tools
