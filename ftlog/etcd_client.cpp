#include "ftlog/etcd_client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <thread>

#include "ftlog/base64.h"

namespace understudy::ftlog {

namespace {

using Json = nlohmann::json;
using std::chrono::milliseconds;

constexpr size_t kMostReplyBytes = 64 << 10;
constexpr milliseconds kPause{50};  // before all endpoints are asked again

// What an endpoint said is not what etcd says, or it said that it cannot.
class BadReply : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

std::string printable(std::string_view text) {
  std::string line(text.substr(0, 200));
  for (char& c : line)
    if (c < ' ' || c > '~') c = '?';
  return line;
}

const Json& member(const Json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end()) throw BadReply(fmt::format("not an answer of etcd: no {} in it", name));
  return *found;
}

// A 64-bit integer, which JSON of protocol buffers writes as a string.
uint64_t number(const Json& json) {
  uint64_t value = 0;
  if (!json.is_string()) throw BadReply("not an answer of etcd: a number is not a string");
  const auto& text = json.get_ref<const std::string&>();
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value == 0)
    throw BadReply("not an answer of etcd: a bad number");
  return value;
}

size_t keep(char* bytes, size_t, size_t size, void* user) {
  auto& reply = *static_cast<std::string*>(user);
  if (size > kMostReplyBytes - reply.size()) return 0;
  reply.append(bytes, size);
  return size;
}

milliseconds left(EtcdClient::Deadline deadline) {
  return std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
}

}  // namespace

struct EtcdClient::Connection {
  Connection() {
    static const CURLcode initialised = ::curl_global_init(CURL_GLOBAL_DEFAULT);
    curl = initialised == CURLE_OK ? ::curl_easy_init() : nullptr;
    headers = ::curl_slist_append(nullptr, "Content-Type: application/json");
    if (curl == nullptr || headers == nullptr) throw std::runtime_error("libcurl does not start");
    ::curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    ::curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
    ::curl_easy_setopt(curl, CURLOPT_PROXY, "");
    ::curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    ::curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep);
  }
  ~Connection() {
    ::curl_easy_cleanup(curl);
    ::curl_slist_free_all(headers);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  CURL* curl = nullptr;
  curl_slist* headers = nullptr;
};

EtcdClient::EtcdClient(std::vector<std::string> endpoints)
    : endpoints_(std::move(endpoints)), connection_(std::make_unique<Connection>()) {}
EtcdClient::~EtcdClient() = default;

Json EtcdClient::post(const std::string& url, const std::string& body, milliseconds timeout) {
  CURL* curl = connection_->curl;
  std::string reply;
  ::curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  ::curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.c_str());
  ::curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
  ::curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reply);
  ::curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(timeout.count()));
  const CURLcode code = ::curl_easy_perform(curl);
  if (code == CURLE_WRITE_ERROR) throw BadReply("not an answer of etcd: it is too long");
  if (code == CURLE_OPERATION_TIMEDOUT) throw BadReply("no answer in time");
  if (code != CURLE_OK) throw BadReply(::curl_easy_strerror(code));
  long status = 0;
  ::curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  Json json = Json::parse(reply, nullptr, false);
  if (status == 200) {
    if (!json.is_object()) throw BadReply("not an answer of etcd: no JSON object");
    return json;
  }
  const bool told = json.is_object() && json.contains("error") && json["error"].is_string();
  throw BadReply(fmt::format("HTTP status {}{}", status,
                             told ? ": " + printable(json["error"].get_ref<const std::string&>()) : ""));
}

void EtcdClient::check_cluster(const Json& reply) {
  const Json& header = member(reply, "header");
  if (!header.is_object()) throw BadReply("not an answer of etcd: its header is none");
  number(member(header, "revision"));
  const std::string id = fmt::format("{:x}", number(member(header, "cluster_id")));
  if (cluster_id_.empty()) cluster_id_ = id;
  if (cluster_id_ != id) throw BadReply(fmt::format("etcd cluster {} answers instead of {}", id, cluster_id_));
}

// What `read` makes of the first reply that is one. Endpoints share the time, so that one that hangs leaves some to the
// others.
template <typename Read>
auto EtcdClient::ask(const char* path, const Json& request, Deadline deadline, Read read) {
  const std::string body = request.dump();
  std::vector<std::string> failures(endpoints_.size());
  const milliseconds share = left(deadline) / static_cast<int64_t>(endpoints_.size());
  for (size_t tries = 1; left(deadline) > milliseconds(0); ++tries) {
    try {
      const milliseconds timeout = std::min(left(deadline), std::max(share, milliseconds(1)));
      const Json reply = post(endpoints_[preferred_] + path, body, timeout);
      check_cluster(reply);
      return read(reply);
    } catch (const BadReply& failure) {
      failures[preferred_] = failure.what();
    } catch (const Json::exception&) {
      failures[preferred_] = "not an answer of etcd";
    }
    preferred_ = (preferred_ + 1) % endpoints_.size();
    if (tries % endpoints_.size() == 0) std::this_thread::sleep_for(std::min(kPause, left(deadline)));
  }
  std::string text;
  for (size_t i = 0; i < endpoints_.size(); ++i)
    text += fmt::format("{}{}: {}", i == 0 ? "" : "; ", endpoints_[i], failures[i].empty() ? "not asked" : failures[i]);
  throw EtcdError(text);
}

std::optional<EtcdClient::Stored> EtcdClient::get(const std::string& key, Deadline deadline) {
  const std::string encoded = to_base64(key);
  return ask("/v3/kv/range", {{"key", encoded}}, deadline, [&](const Json& reply) -> std::optional<Stored> {
    // Empty lists and zeros are left out.
    if (!reply.contains("kvs")) {
      if (reply.contains("count")) throw BadReply("not an answer of etcd: a count without keys");
      return std::nullopt;
    }
    if (!reply["kvs"].is_array() || reply["kvs"].size() != 1) throw BadReply("not an answer of etcd: more than a key");
    const Json& pair = reply["kvs"][0];
    if (member(pair, "key") != encoded) throw BadReply("not an answer of etcd: another key");
    auto value = from_base64(member(pair, "value").get<std::string>());
    if (!value) throw BadReply("not an answer of etcd: bad base64");
    return Stored{std::move(*value), number(member(pair, "mod_revision"))};
  });
}

bool EtcdClient::compare_and_put(const std::string& key, uint64_t expected, const std::string& value,
                                 Deadline deadline) {
  const std::string encoded = to_base64(key);
  const Json request = {
      {"compare",
       {{{"key", encoded}, {"target", "MOD"}, {"result", "EQUAL"}, {"mod_revision", fmt::format("{}", expected)}}}},
      {"success", {{{"request_put", {{"key", encoded}, {"value", to_base64(value)}}}}}}};
  return ask("/v3/kv/txn", request, deadline, [](const Json& reply) {
    if (!reply.contains("succeeded")) return false;
    if (!reply["succeeded"].is_boolean()) throw BadReply("not an answer of etcd: succeeded is no truth");
    if (!reply["succeeded"].get<bool>()) return false;
    const Json& responses = member(reply, "responses");
    if (!responses.is_array() || responses.size() != 1 || !responses[0].is_object() ||
        !responses[0].contains("response_put"))
      throw BadReply("not an answer of etcd: nothing was put");
    return true;
  });
}

}  // namespace understudy::ftlog
