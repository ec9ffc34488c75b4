#include "ftlog/arbiter_etcd.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <vector>

#include "ftlog/etcd_client.h"

namespace understudy::ftlog {

namespace {

using Json = nlohmann::json;

constexpr std::string_view kScheme = "http://";
constexpr size_t kMostEndpoints = 16;
constexpr size_t kLongestPart = 200;

struct Places {
  std::vector<std::string> endpoints;
  std::string key;
};

bool is_word(std::string_view text, std::string_view punctuation) {
  return !text.empty() && text.size() <= kLongestPart && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           punctuation.find(c) != std::string_view::npos;
  });
}

// HOST:PORT, where HOST may be an IPv6 address in brackets.
bool is_authority(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return false;
  std::string_view host = text.substr(0, colon);
  const bool brackets = host.starts_with('[') && host.ends_with(']') && host.size() > 2;
  if (brackets) host = host.substr(1, host.size() - 2);
  uint16_t port = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, port);
  return is_word(host, brackets ? ":.%" : ".-_") && error == std::errc() && stop == end && port != 0;
}

Places parse(const std::string& places) {
  const auto fail = [&places](const std::string& what) {
    throw ArbiterError(fmt::format(
        "arbiter 'etcd:{}': {}; expected etcd:http://HOST:PORT[,http://HOST:PORT...][/PREFIX]", places, what));
  };
  Places result;
  std::string_view rest = places;
  while (true) {
    if (!rest.starts_with(kScheme)) fail("an endpoint does not begin with http://");
    rest.remove_prefix(kScheme.size());
    const size_t end = std::min(rest.find_first_of(",/"), rest.size());
    const std::string_view authority = rest.substr(0, end);
    if (!is_authority(authority)) fail(fmt::format("'{}' is not HOST:PORT", authority));
    result.endpoints.push_back(fmt::format("{}{}", kScheme, authority));
    if (result.endpoints.size() > kMostEndpoints) fail(fmt::format("more than {} endpoints", kMostEndpoints));
    rest.remove_prefix(end);
    if (!rest.starts_with(',')) break;
    rest.remove_prefix(1);
  }
  std::string_view prefix = rest.substr(rest.empty() ? 0 : 1);
  if (prefix.empty()) prefix = "understudy";
  if (!is_word(prefix, "._-/")) fail("a prefix has letters, digits and ._-/");
  result.key = fmt::format("{}/reign", prefix);
  return result;
}

std::string encode(const Reign& reign) { return Json{{"epoch", reign.epoch}, {"node", reign.node}}.dump(); }

// Throws EtcdError.
Reign decode(const std::string& value) {
  Reign reign;
  const Json json = Json::parse(value, nullptr, false);
  if (json.is_object() && json.contains("epoch") && json["epoch"].is_number_unsigned() && json.contains("node") &&
      json["node"].is_string())
    reign = {json["epoch"].get<uint64_t>(), json["node"].get<std::string>()};
  if (reign.epoch == 0 || !is_node_name(reign.node) || encode(reign) != value)
    throw EtcdError("the key's value is not a reign");
  return reign;
}

Claim claim(EtcdClient& client, const std::string& key, const Reign& wanted, EtcdClient::Deadline deadline) {
  while (true) {
    const auto stored = client.get(key, deadline);
    if (stored) {
      const Reign reign = decode(stored->value);
      if (reign == wanted) return {Verdict::won, {}, {}};
      if (reign.epoch >= wanted.epoch) return {Verdict::lost, reign, {}};
    } else if (wanted.epoch > 1) {
      throw EtcdError(
          fmt::format("no reign is recorded at {}, and the first has epoch 1: another prefix or cluster?", key));
    }
    if (client.compare_and_put(key, stored ? stored->revision : 0, encode(wanted), deadline))
      return {Verdict::won, {}, {}};
  }
}

}  // namespace

EtcdArbiter::EtcdArbiter(const std::string& places, std::chrono::milliseconds timeout)
    : name_("arbiter etcd:" + places), timeout_(timeout), calls_(timeout) {
  Places parsed = parse(places);
  key_ = std::move(parsed.key);
  client_ = std::make_shared<EtcdClient>(std::move(parsed.endpoints));
}

// The client ends its work by itself a little sooner than the call is given up, so that it can say why.
Claim EtcdArbiter::try_acquire(uint64_t epoch, const std::string& node) {
  check_claim(epoch, node);
  const auto deadline = std::chrono::steady_clock::now() + timeout_ * 9 / 10;
  const auto refuse = [name = name_](const std::string& why) {
    return Claim{Verdict::unreachable, {}, fmt::format("{}: {}", name, why)};
  };
  auto done = calls_.call<Claim>(
      [client = client_, key = key_, wanted = Reign{epoch, node}, deadline, refuse](const std::atomic<bool>&) {
        try {
          return claim(*client, key, wanted, deadline);
        } catch (const std::exception& error) {
          return refuse(error.what());
        }
      });
  return done ? *done : refuse("no answer in time");
}

Lookup EtcdArbiter::current() {
  const auto deadline = std::chrono::steady_clock::now() + timeout_ * 9 / 10;
  const auto refuse = [name = name_](const std::string& why) {
    return Lookup{false, std::nullopt, fmt::format("{}: {}", name, why)};
  };
  auto done = calls_.call<Lookup>([client = client_, key = key_, deadline, refuse](const std::atomic<bool>&) -> Lookup {
    try {
      const auto stored = client->get(key, deadline);
      return {true, stored ? std::optional(decode(stored->value)) : std::nullopt, {}};
    } catch (const std::exception& error) {
      return refuse(error.what());
    }
  });
  return done ? *done : refuse("no answer in time");
}

}  // namespace understudy::ftlog
