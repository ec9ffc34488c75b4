// Two calls of etcd 3 through its JSON gateway (/v3/kv/range, /v3/kv/txn over HTTP): read a key, linearizably, and
// replace it if it is still what was read. Endpoints of one cluster are tried in turn until one gives an answer that
// etcd gives; proxies of the environment and redirections are not followed, a reply is at most 64 KiB. One thread at a
// time.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace understudy::ftlog {

// No endpoint has answered in time: one line that says what each did.
class EtcdError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class EtcdClient {
 public:
  using Deadline = std::chrono::steady_clock::time_point;
  // "http://HOST:PORT", at least one.
  explicit EtcdClient(std::vector<std::string> endpoints);
  ~EtcdClient();
  EtcdClient(const EtcdClient&) = delete;
  EtcdClient& operator=(const EtcdClient&) = delete;

  struct Stored {
    std::string value;
    uint64_t revision = 0;  // of the cluster, when this key was last put
  };
  std::optional<Stored> get(const std::string& key, Deadline deadline);
  // Puts it if the key's revision is `expected` (0: there is no such key). False if it was another, which may be due to
  // this very call, if the first answer to it was lost: get() tells.
  bool compare_and_put(const std::string& key, uint64_t expected, const std::string& value, Deadline deadline);

 private:
  struct Connection;
  template <typename Read>
  auto ask(const char* path, const nlohmann::json& request, Deadline deadline, Read read);
  nlohmann::json post(const std::string& url, const std::string& body, std::chrono::milliseconds timeout);
  void check_cluster(const nlohmann::json& reply);

  std::vector<std::string> endpoints_;
  size_t preferred_ = 0;    // the one that answered last
  std::string cluster_id_;  // empty: nobody has answered yet
  std::unique_ptr<Connection> connection_;
};

}  // namespace understudy::ftlog
