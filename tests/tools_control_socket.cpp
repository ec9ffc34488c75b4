#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <zmq_addon.hpp>

#include "tools/control_socket.h"

using namespace understudy;
using namespace understudy::tools;

namespace {

constexpr std::chrono::milliseconds kLong(60000);

struct Rig {
  zmq::context_t context;
  ControlServer server{context,
                       "tcp://127.0.0.1:*",
                       {{"status",
                         [](const auto&) {
                           return nlohmann::ordered_json{{"role", "test"}, {"n", 7}};
                         }},
                        {"add", [](const auto& q) {
                           return nlohmann::ordered_json{{"sum", q.at("a").template get<int>() + 1}};
                         }}}};
  // What is answered to any text.
  nlohmann::json say(const std::vector<std::string>& parts) {
    zmq::socket_t socket(context, zmq::socket_type::dealer);
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::rcvtimeo, 60000);
    socket.connect(server.endpoint());
    std::vector<zmq::const_buffer> buffers;
    for (const auto& part : parts) buffers.push_back(zmq::buffer(part));
    zmq::send_multipart(socket, buffers);
    std::vector<zmq::message_t> answer;
    REQUIRE(zmq::recv_multipart(socket, std::back_inserter(answer)));
    REQUIRE(answer.size() == parts.size());
    return nlohmann::json::parse(answer.back().to_string_view());
  }
};

}  // namespace

TEST_SUITE("hub") {
  TEST_CASE("control: questions are answered") {
    Rig rig;
    CHECK(ask_node(rig.server.endpoint(), {{"ask", "status"}}, kLong)["n"] == 7);
    CHECK(ask_node(rig.server.endpoint(), {{"ask", "add"}, {"a", 4}}, kLong)["sum"] == 5);
    CHECK(rig.say({"", R"({"ask":"status"})"})["role"] == "test");  // from a REQ socket
    CHECK_THROWS_WITH_AS(
        ask_node(rig.server.endpoint(), {{"ask", "x"}}, kLong),
        (rig.server.endpoint() + ": this node does not know what \"ask\" asks for; it knows: add, status").c_str(),
        ControlError);
  }

  TEST_CASE("control: what is no question gets an error, and the next one its answer") {
    Rig rig;
    for (const std::string text :
         {"", "{", "[]", "7", "{}", R"({"ask":7})", R"({"ask":"add"})", R"({"ask":"add","a":"x"})", "\xff\xfe"})
      CHECK(rig.say({text})["error"].is_string());
    CHECK(rig.say({std::string(60000, '[')})["error"] == "the question is not JSON");
    CHECK_THROWS_AS(ask_node(rig.server.endpoint(), {{"ask", std::string(kMaxControlRequest, 'x')}},
                             std::chrono::milliseconds(200)),
                    ControlError);
    CHECK(ask_node(rig.server.endpoint(), {{"ask", "status"}}, kLong)["n"] == 7);
  }

  TEST_CASE("control: nobody there is said after the time") {
    CHECK_THROWS_WITH_AS(ask_node("ipc:///nowhere/x", {{"ask", "status"}}, std::chrono::milliseconds(50)),
                         "ipc:///nowhere/x: no answer within 50 ms", ControlError);
    CHECK_THROWS_WITH_AS(ask_node("nowhere", {{"ask", "status"}}, std::chrono::milliseconds(50)),
                         "nowhere: Invalid argument", ControlError);
    zmq::context_t context;
    CHECK_THROWS_WITH_AS(ControlServer(context, "ipc:///nowhere/x", {}),
                         "control ipc:///nowhere/x: No such file or directory", ControlError);
  }
}
