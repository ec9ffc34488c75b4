// What a replica's user is told while the hub does not let it in.
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <future>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "primary/hub_link.h"
#include "primary/hub_trouble.h"

using namespace understudy;
using namespace std::chrono_literals;
using primary::HubTrouble;
namespace hub = primary::hub;
using Lines = std::vector<std::string>;

namespace {

struct Told {
  Lines lines;
  HubTrouble trouble{"ipc:///hub", [this](const std::string& line) { lines.push_back(line); }};
};

}  // namespace

TEST_SUITE("hub trouble") {
  TEST_CASE("hub trouble: each is told once, and again after it was over") {
    Told told;
    told.trouble.note("it is closed");
    told.trouble.note("it is on fire");
    told.trouble.note("it is closed");
    CHECK(told.lines == Lines{"hub ipc:///hub: it is closed", "hub ipc:///hub: it is on fire"});
    told.trouble.over();
    told.trouble.note("it is closed");
    CHECK(told.lines.size() == 4);
    CHECK(told.lines[2] == "hub ipc:///hub: it has let this node in now");
    CHECK(told.lines[3] == told.lines[0]);
  }

  TEST_CASE("hub trouble: silence is told after a while, unless there is a reason for it") {
    Told told;
    const auto begin = HubTrouble::Clock::now();
    CHECK_FALSE(told.trouble.due());
    told.trouble.waits(true, begin);
    CHECK(told.trouble.due() == begin + HubTrouble::kPatience);
    told.trouble.waits(true, begin + HubTrouble::kPatience - 1ms);
    CHECK(told.lines.empty());
    SUBCASE("an answer in time") {
      told.trouble.waits(false, begin + 1s);
      told.trouble.waits(true, begin + 2s);
      told.trouble.waits(true, begin + 4s);
      told.trouble.over();
      CHECK(told.lines.empty());
    }
    SUBCASE("none") {
      told.trouble.waits(true, begin + HubTrouble::kPatience);
      CHECK(told.lines == Lines{"hub ipc:///hub: no answer for 3 s; it is tried until there is one"});
      CHECK_FALSE(told.trouble.due());
      told.trouble.waits(true, begin + 2 * HubTrouble::kPatience);
      CHECK(told.lines.size() == 1);
    }
    SUBCASE("a reason") {
      told.trouble.note("it is closed");
      CHECK_FALSE(told.trouble.due());
      told.trouble.waits(true, begin + HubTrouble::kPatience);
      CHECK(told.lines.size() == 1);
    }
  }

  TEST_CASE("hub trouble: a hub of another version is named by a link as such") {
    const std::string path = std::filesystem::temp_directory_path() / ("hub-trouble-" + std::to_string(getpid()));
    zmq::context_t context;
    zmq::socket_t router(context, zmq::socket_type::router);
    router.set(zmq::sockopt::rcvtimeo, 30'000);
    router.set(zmq::sockopt::linger, 0);
    router.bind("ipc://" + path);
    std::promise<std::string> told;
    primary::HubLink link({.address = "ipc://" + path,
                           .node = "left",
                           .on_trouble = [&](const std::string& line) { told.set_value(line); }},
                          {}, {}, {});
    link.announce(1, 0, 0);
    zmq::message_t id, body;
    REQUIRE(router.recv(id));
    REQUIRE(router.recv(body));
    ftlog::Bytes answer = hub::encode(hub::ToReplica(hub::OtherVersion{}));
    answer[3] = hub::kVersion + 1;
    // Twice: it is told once.
    for (int i = 0; i < 2; ++i) {
      router.send(zmq::buffer(id.data(), id.size()), zmq::send_flags::sndmore);
      router.send(zmq::buffer(answer), zmq::send_flags::none);
    }
    auto line = told.get_future();
    REQUIRE(line.wait_for(30s) == std::future_status::ready);
    CHECK(line.get() ==
          "hub ipc://" + path +
              ": it speaks version 5 of the hub's protocol, this program version 4: run one build on both");
    while (link.counts().bad_messages < 2) std::this_thread::yield();
    CHECK_FALSE(link.accepted());
    std::filesystem::remove(path);
  }
}
