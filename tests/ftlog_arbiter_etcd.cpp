// The arbiter in etcd, against servers that answer as etcd does, and against such as do not. A real etcd:
// tests/scenario_arbiter_etcd.py.
#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <random>

#include "ftlog/arbiter_etcd.h"
#include "ftlog/base64.h"
#include "tests/fake_etcd.h"

using namespace understudy::ftlog;
using namespace understudy::test;
using namespace std::chrono_literals;

namespace {

constexpr auto kPatience = 60s;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Of a claim and a lookup, which agree in that.
std::string refusal(Arbiter& arbiter, uint64_t epoch = 1) {
  const Lookup lookup = arbiter.current();
  CHECK_FALSE(lookup.reachable);
  CHECK_FALSE(lookup.reason.empty());
  const Claim claim = arbiter.try_acquire(epoch, "a");
  CHECK(claim.verdict == Verdict::unreachable);
  CHECK_FALSE(claim.reason.empty());
  CHECK(claim.reason.find('\n') == std::string::npos);
  return claim.reason;
}

// A port where nobody listens.
std::string nowhere() { return std::make_unique<FakeServer>(FakeEtcd().handler())->url(); }

}  // namespace

TEST_CASE("base64") {
  CHECK(to_base64("") == "");
  CHECK(to_base64("f") == "Zg==");
  CHECK(to_base64("fo") == "Zm8=");
  CHECK(to_base64("foo") == "Zm9v");
  CHECK(to_base64("foobar") == "Zm9vYmFy");
  CHECK(to_base64("\xff\xfe\xfd") == "//79");
  std::mt19937 random(1);
  for (size_t size = 0; size < 200; ++size) {
    std::string bytes(size, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    REQUIRE(from_base64(to_base64(bytes)) == bytes);
  }
  for (const auto* bad : {"Z", "Zg", "Zg=", "Zh==", "Zg==Zg==", "=Zg=", "Z===", "====", "Zm9v\n", "Zm9-", "Zm9="})
    CHECK_FALSE(from_base64(bad));
}

TEST_CASE("specifications of etcd's places") {
  for (const auto* good : {"http://localhost:2379", "http://[::1]:2379/x", "http://a:1,http://b-2.c:65535/a/b_c.d",
                           "http://10.0.0.1:2379/"})
    CHECK_NOTHROW(open_arbiter(std::string("etcd:") + good, 1s));
  for (const auto* bad : {"", "http://", "http://a", "http://a:", "http://a:0", "http://a:65536", "http://a:1x",
                          "http://:1", "https://a:1", "a:1", "http://a:1,", "http://a:1,b:2", "http://a:1/p q",
                          "http://a:1?x", "http://u@a:1", "http://[::1:2379", "http://a:1/x,http://b:1"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(open_arbiter(std::string("etcd:") + bad, 1s), ArbiterError);
  }
  std::string many = "http://a:1";
  for (int i = 0; i < 16; ++i) many += ",http://a:1";
  CHECK_THROWS_AS(open_arbiter("etcd:" + many, 1s), ArbiterError);
  CHECK_THROWS_AS(open_arbiter("etcd:http://a:1/" + std::string(1000, 'x'), 1s), ArbiterError);
}

TEST_CASE("claims of a key that is replaced only as it was read") {
  FakeEtcd etcd;
  FakeServer server(etcd.handler());
  EtcdArbiter a(server.url(), kPatience), b(server.url(), kPatience);
  CHECK(a.current().reachable);
  CHECK_FALSE(a.current().reign);
  Claim claim = a.try_acquire(2, "a");
  CHECK(claim.verdict == Verdict::unreachable);
  CHECK(contains(claim.reason, "the first has epoch 1"));
  CHECK(a.try_acquire(1, "a").verdict == Verdict::won);
  CHECK(a.try_acquire(1, "a").verdict == Verdict::won);
  CHECK(etcd.value() == R"({"epoch":1,"node":"a"})");
  claim = b.try_acquire(1, "b");
  CHECK(claim.verdict == Verdict::lost);
  CHECK(claim.holder == Reign{1, "a"});
  CHECK(b.try_acquire(UINT64_MAX, "b").verdict == Verdict::won);
  claim = a.try_acquire(2, "a");
  CHECK(claim.verdict == Verdict::lost);
  CHECK(claim.holder == Reign{UINT64_MAX, "b"});
  CHECK(a.current().reign == Reign{UINT64_MAX, "b"});
  CHECK_THROWS_AS(a.try_acquire(0, "a"), ArbiterError);
}

TEST_CASE("threads that race for each epoch through one cluster") {
  FakeEtcd etcd;
  FakeServer one(etcd.handler()), two(etcd.handler());
  constexpr uint64_t kEpochs = 200;
  std::vector<std::vector<uint64_t>> won(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < won.size(); ++i)
    threads.emplace_back([&, i] {
      EtcdArbiter arbiter(i % 2 == 0 ? one.url() + "," + two.url() : two.url() + "," + one.url(), kPatience);
      for (uint64_t epoch = 1; epoch <= kEpochs;) {
        const Claim claim = arbiter.try_acquire(epoch, fmt::format("thread-{}", i));
        if (claim.verdict == Verdict::unreachable) return;
        if (claim.verdict == Verdict::won) won[i].push_back(epoch);
        epoch = (claim.verdict == Verdict::won ? epoch : claim.holder.epoch) + 1;
      }
    });
  for (auto& thread : threads) thread.join();
  std::vector<uint64_t> all;
  for (const auto& epochs : won) all.insert(all.end(), epochs.begin(), epochs.end());
  std::sort(all.begin(), all.end());
  REQUIRE(all.size() == kEpochs);
  for (uint64_t epoch = 1; epoch <= kEpochs; ++epoch) REQUIRE(all[epoch - 1] == epoch);
}

TEST_CASE("a claim whose answer was lost is found as won") {
  FakeEtcd etcd;
  FakeServer one(etcd.handler()), two(etcd.handler());
  EtcdArbiter arbiter(one.url() + "," + two.url(), kPatience);
  etcd.next_txn(FakeEtcd::Next::apply_and_drop);
  CHECK(arbiter.try_acquire(1, "a").verdict == Verdict::won);
  etcd.next_txn(FakeEtcd::Next::drop);
  CHECK(arbiter.try_acquire(2, "a").verdict == Verdict::won);
  CHECK(arbiter.current().reign == Reign{2, "a"});
  // And by a later call: this one has the time for one request that is never answered.
  std::atomic<bool> silent = false;
  FakeServer mute([&](const std::string& path, const std::string& body) {
    const auto reply = etcd.handler()(path, body);
    return silent && path == "/v3/kv/txn" ? FakeServer::Reply{"", true} : reply;
  });
  EtcdArbiter hasty(mute.url(), 300ms);
  EtcdArbiter patient(mute.url(), kPatience);
  silent = true;
  CHECK(hasty.try_acquire(3, "b").verdict == Verdict::unreachable);
  silent = false;
  CHECK(patient.try_acquire(3, "b").verdict == Verdict::won);
  CHECK(patient.try_acquire(3, "a").verdict == Verdict::lost);
}

TEST_CASE("endpoints are tried in turn; one that hangs leaves time for the others") {
  FakeEtcd etcd;
  FakeServer good(etcd.handler());
  FakeServer hangs([](const std::string&, const std::string&) { return FakeServer::Reply{"", true}; });
  EtcdArbiter past_nobody(nowhere() + "," + good.url(), kPatience);
  CHECK(past_nobody.try_acquire(1, "a").verdict == Verdict::won);
  EtcdArbiter past_hanging(hangs.url() + "," + good.url(), 3s);
  CHECK(past_hanging.try_acquire(2, "a").verdict == Verdict::won);
  // The one that answered is asked first from then on.
  const size_t asked = hangs.requests();
  CHECK(past_hanging.current().reign == Reign{2, "a"});
  CHECK(hangs.requests() == asked);
}

TEST_CASE("no server, or none that ends its answer: unreachable within the timeout") {
  FakeServer hangs([](const std::string&, const std::string&) { return FakeServer::Reply{"", true}; });
  FakeServer stops([](const std::string&, const std::string&) {
    return FakeServer::Reply{"HTTP/1.1 200 OK\r\nContent-Le", true};
  });
  FakeServer drips([](const std::string&, const std::string&) {
    return FakeServer::Reply{http(std::string(50'000, ' ')), false, true};
  });
  FakeServer closes([](const std::string&, const std::string&) { return FakeServer::Reply{}; });
  for (const std::string& url : {hangs.url(), stops.url(), drips.url(), closes.url(), nowhere(),
                                 nowhere() + "," + hangs.url() + "," + drips.url()}) {
    CAPTURE(url);
    EtcdArbiter arbiter(url, 300ms);
    const auto start = std::chrono::steady_clock::now();
    CHECK(arbiter.try_acquire(1, "a").verdict == Verdict::unreachable);
    CHECK_FALSE(arbiter.current().reachable);
    // Generous: this machine may be busy. Without a bound it would be for ever, or 50 s.
    CHECK(std::chrono::steady_clock::now() - start < 20s);
  }
}

TEST_CASE("what etcd does not say is not believed") {
  const std::string header = R"("header":{"cluster_id":"7","revision":"9"})";
  const auto with_value = [&](const std::string& value) {
    return "{" + header + R"(,"kvs":[{"key":")" + to_base64("understudy/reign") + R"(","mod_revision":"5","value":")" +
           value + R"("}],"count":"1"})";
  };
  std::vector<std::string> replies = {
      "", "garbage", http(""), http("[]"), http("{}"), http("null"), http("\xff\xfe"), http(std::string(60'000, '[')),
      http(R"({"succeeded":true,"responses":[{"response_put":{}}]})"), http(R"({"header":5})"),
      http(R"({"header":{"cluster_id":7,"revision":"9"}})"), http(R"({"header":{"cluster_id":"x","revision":"9"}})"),
      http(R"({"header":{"cluster_id":"7"}})"), http("{" + header + R"(,"kvs":[]})"),
      http("{" + header + R"(,"kvs":7})"), http("{" + header + R"(,"count":"1"})"),
      http("{" + header + R"(,"kvs":[{"key":"eA==","mod_revision":"5","value":""}]})"),
      // Whole and huge, in three ways.
      http(std::string(10 << 20, ' ') + "{" + header + "}"), "HTTP/1.1 200 OK\r\n\r\n" + std::string(10 << 20, 'x'),
      "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "HTTP/1.1 200 OK\r\nX: " + std::string(1 << 20, 'x'),
      // Other statuses, with a body that would do.
      http("{" + header + "}", "500 Internal Server Error"), http("{" + header + "}", "204 No Content"),
      http("{" + header + "}", "302 Found", "Location: http://127.0.0.1:1/\r\n"),
      http(R"({"error":"etcdserver: \u001b[31mno leader\n","code":14})", "503 Service Unavailable")};
  for (const auto* value :
       {"garbage", R"({"epoch":0,"node":"a"})", R"({"epoch":-1,"node":"a"})", R"({"epoch":1.5,"node":"a"})",
        R"({"epoch":18446744073709551616,"node":"a"})", R"({"epoch":1,"node":""})", R"({"epoch":1,"node":"a b"})",
        R"({"epoch":1})", R"({"epoch":1,"node":"a","x":1})", R"({"epoch":1,"node":7})", R"( {"epoch":1,"node":"a"})"})
    replies.push_back(http(with_value(to_base64(value))));
  replies.push_back(http(with_value("%%%%")));
  replies.push_back(http(with_value("")));
  for (const std::string& reply : replies) {
    CAPTURE(reply.substr(0, 300));
    FakeServer server([&](const std::string&, const std::string&) { return FakeServer::Reply{reply}; });
    EtcdArbiter arbiter(server.url(), 50ms);
    const std::string reason = refusal(arbiter);
    CHECK(reason.find('\x1b') == std::string::npos);
    CHECK(reason.size() < 500);
  }
}

TEST_CASE("a compare-and-swap that says too little was not won") {
  const std::string header = R"("header":{"cluster_id":"7","revision":"9"})";
  for (const std::string more :
       {R"()", R"(,"succeeded":false)", R"(,"succeeded":"true")", R"(,"succeeded":1)", R"(,"succeeded":true)",
        R"(,"succeeded":true,"responses":[])", R"(,"succeeded":true,"responses":[{"response_range":{}}])",
        R"(,"succeeded":true,"responses":[7])", R"(,"succeeded":true,"responses":{"response_put":{}})"}) {
    CAPTURE(more);
    FakeServer server([&](const std::string& path, const std::string&) {
      return FakeServer::Reply{http(path == "/v3/kv/txn" ? "{" + header + more + "}" : "{" + header + "}")};
    });
    EtcdArbiter arbiter(server.url(), 50ms);
    CHECK(arbiter.try_acquire(1, "a").verdict == Verdict::unreachable);
  }
}

TEST_CASE("another cluster's answers are not believed once one has answered") {
  FakeEtcd first("7"), other("8");
  auto server = std::make_unique<FakeServer>(first.handler());
  FakeServer stranger(other.handler());
  EtcdArbiter arbiter(server->url() + "," + stranger.url(), 1s);
  CHECK(arbiter.try_acquire(1, "a").verdict == Verdict::won);
  server.reset();
  other.put(R"({"epoch":1,"node":"a"})");
  CHECK(contains(refusal(arbiter), "etcd cluster 8 answers instead of 7"));
}

TEST_CASE("a proxy in the environment is not asked") {
  FakeEtcd etcd;
  FakeServer server(etcd.handler());
  FakeServer proxy([](const std::string&, const std::string&) { return FakeServer::Reply{}; });
  REQUIRE(::setenv("http_proxy", proxy.url().c_str(), 1) == 0);
  EtcdArbiter arbiter(server.url(), kPatience);
  CHECK(arbiter.try_acquire(1, "a").verdict == Verdict::won);
  ::unsetenv("http_proxy");
  CHECK(proxy.requests() == 0);
}

TEST_CASE("random bytes in the place of an answer") {
  FakeEtcd etcd;
  etcd.put(R"({"epoch":5,"node":"holder"})");
  std::mt19937_64 random(7);
  FakeServer server([&](const std::string& path, const std::string& body) {
    auto reply = etcd.handler()(path, body);
    for (uint64_t i = random() % 4 + 1; i > 0; --i)
      reply.bytes[random() % reply.bytes.size()] = static_cast<char>(random());
    if (random() % 4 == 0) reply.bytes.resize(random() % reply.bytes.size());
    return reply;
  });
  for (int i = 0; i < 100; ++i) {
    EtcdArbiter arbiter(server.url(), 20ms);
    // Changed bytes may name an older epoch as the present one: then this claim is put, and rightly won.
    if (arbiter.try_acquire(5, "a").verdict == Verdict::won) CHECK(etcd.value() == R"({"epoch":5,"node":"a"})");
  }
}
