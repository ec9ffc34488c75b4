// An HTTP server on loopback that answers as etcd does, or as a test wants: late, never, cut, garbage.
#pragma once

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "ftlog/base64.h"

namespace understudy::test {

inline std::string http(const std::string& body, const std::string& status = "200 OK", const std::string& more = "") {
  return fmt::format(
      "HTTP/1.1 {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}Connection: close\r\n\r\n{}", status,
      body.size(), more, body);
}

// Serves one connection after the other, one request each.
class FakeServer {
 public:
  // What a server sends. Nothing: it closes.
  struct Reply {
    std::string bytes;
    bool stay = false;  // keep the connection open, and say no more
    bool drip = false;  // a byte every millisecond
  };
  using Handler = std::function<Reply(const std::string& path, const std::string& body)>;

  explicit FakeServer(Handler handler) : handler_(std::move(handler)), listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const raw = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_, raw, size) != 0 || ::listen(listener_, 16) != 0 || ::getsockname(listener_, raw, &size) != 0)
      throw std::runtime_error("a fake server does not start");
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~FakeServer() {
    stopping_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
    for (const int fd : open_) ::close(fd);
  }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;
  std::string url() const { return fmt::format("http://127.0.0.1:{}", port_); }
  size_t requests() const { return requests_; }

 private:
  void serve() {
    while (true) {
      const int fd = ::accept(listener_, nullptr, nullptr);
      if (fd < 0) return;
      const timeval patience{20, 0};
      ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
      std::string request;
      char bytes[4096];
      size_t head = std::string::npos, length = 0;
      while (head == std::string::npos || request.size() < head + 4 + length) {
        const ssize_t got = ::recv(fd, bytes, sizeof bytes, 0);
        if (got <= 0) break;
        request.append(bytes, static_cast<size_t>(got));
        head = request.find("\r\n\r\n");
        const size_t field = request.find("Content-Length: ");
        if (field != std::string::npos) length = std::stoul(request.substr(field + 16));
      }
      const size_t path = request.find(' ') + 1;
      ++requests_;
      const Reply reply = handler_(request.substr(path, request.find(' ', path) - path),
                                   head == std::string::npos ? "" : request.substr(head + 4));
      const size_t piece = reply.drip ? 1 : reply.bytes.size();
      for (size_t at = 0; at < reply.bytes.size() && !stopping_; at += piece) {
        if (::send(fd, reply.bytes.data() + at, piece, MSG_NOSIGNAL) != static_cast<ssize_t>(piece)) break;
        if (reply.drip) ::usleep(1000);
      }
      if (reply.stay)
        open_.push_back(fd);
      else
        ::close(fd);
    }
  }
  Handler handler_;
  int listener_;
  uint16_t port_ = 0;
  std::atomic<bool> stopping_ = false;
  std::atomic<size_t> requests_ = 0;
  std::vector<int> open_;
  std::thread thread_;
};

// One key of an etcd, and the two calls that an arbiter makes.
class FakeEtcd {
 public:
  enum class Next : uint8_t { answer, apply_and_drop, drop };
  explicit FakeEtcd(std::string cluster = "7") : cluster_(std::move(cluster)) {}

  // For a FakeServer; several make a cluster.
  FakeServer::Handler handler() {
    return [this](const std::string& path, const std::string& body) { return answer(path, body); };
  }
  void put(const std::string& value) {
    const std::lock_guard lock(mutex_);
    value_ = value;
    mod_ = ++revision_;
  }
  std::string value() {
    const std::lock_guard lock(mutex_);
    return value_;
  }
  // What becomes of the next compare-and-swap.
  void next_txn(Next next) { next_ = next; }

 private:
  using Json = nlohmann::json;
  FakeServer::Reply answer(const std::string& path, const std::string& body) {
    const std::lock_guard lock(mutex_);
    const Json request = Json::parse(body);
    Json reply = {{"header", {{"cluster_id", cluster_}, {"member_id", "1"}, {"revision", std::to_string(revision_)}}}};
    if (path == "/v3/kv/range") {
      if (mod_ != 0) {
        reply["kvs"] = {
            {{"key", request["key"]}, {"mod_revision", std::to_string(mod_)}, {"value", ftlog::to_base64(value_)}}};
        reply["count"] = "1";
      }
      return {http(reply.dump())};
    }
    if (path != "/v3/kv/txn") return {http("404 page not found", "404 Not Found")};
    const Next next = next_.exchange(Next::answer);
    if (next == Next::drop) return {};
    if (request["compare"][0]["mod_revision"] == std::to_string(mod_)) {
      value_ = *ftlog::from_base64(request["success"][0]["request_put"]["value"].get<std::string>());
      mod_ = ++revision_;
      reply["succeeded"] = true;
      reply["responses"] = {{{"response_put", Json::object()}}};
    }
    if (next == Next::apply_and_drop) return {};
    return {http(reply.dump())};
  }
  std::mutex mutex_;
  std::string cluster_;
  std::string value_;
  uint64_t revision_ = 1, mod_ = 0;
  std::atomic<Next> next_ = Next::answer;
};

}  // namespace understudy::test
