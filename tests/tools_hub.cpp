// A hub with replicas that are links without machines.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <zmq.hpp>
#include <zmq_addon.hpp>

#include "ftlog/key_guard.h"
#include "tests/host_sockets.h"
#include "tests/hub_rig.h"
#include "tools/serial_backend.h"

using namespace understudy;
using namespace understudy::test;
namespace net = understudy::net_test;
namespace hub = understudy::primary::hub;

namespace {

// A message's worth of one.
ftlog::Bytes packed(const Frame& frame) {
  hub::FrameBatch batch;
  REQUIRE(batch.add(frame));
  return {batch.bytes().begin(), batch.bytes().end()};
}

Frame frame(uint8_t number, size_t size = 60) {
  Frame f = net::ethernet(net::kBroadcast, {0x02, 0, 0, 0, 0, number}, 0x88b5, Frame(size - 14, number));
  return f;
}

// A hub whose Ethernet ends in a socket of this test.
struct Rig {
  HubFolder folder;
  net::HostSocket peer = net::HostSocket::bound(SOCK_DGRAM);
  uint16_t hub_port = net::free_port(SOCK_DGRAM);
  tools::HubOptions options;
  std::optional<RunningHub> hub;

  Rig() {
    options.listen = "ipc://" + (folder / "hub");
    options.console = "unix:" + (folder / "console");
    options.nets = {"socket:udp=127.0.0.1:" + std::to_string(peer.port()) +
                    ",local=127.0.0.1:" + std::to_string(hub_port)};
  }
  RunningHub& start() { return hub.emplace(options); }
  void to_hub(const Frame& f) { REQUIRE(peer.send_to(f, net::loopback(hub_port))); }
  ConsoleUser user() {
    const uint64_t before = hub->count("/console/users");
    ConsoleUser u(folder / "console");
    REQUIRE(hub->reaches("/console/users", before + 1));
    return u;
  }
  std::vector<nlohmann::json> journal(const std::string& event) const {
    std::vector<nlohmann::json> lines;
    std::ifstream file(options.journal);
    for (std::string line; std::getline(file, line);) {
      auto json = nlohmann::json::parse(line);
      if (json["event"] == event) lines.push_back(std::move(json));
    }
    return lines;
  }
};

// Bytes that differ all along.
std::string stream(size_t size) {
  std::string text;
  for (size_t i = 0; text.size() < size; ++i) text += std::to_string(i) + ' ';
  text.resize(size);
  return text;
}

// A peer that speaks ZeroMQ, and says what the test wants.
class RawPeer {
 public:
  explicit RawPeer(const std::string& address) : socket_(context_, zmq::socket_type::dealer) {
    socket_.set(zmq::sockopt::linger, 10000);
    socket_.set(zmq::sockopt::rcvtimeo, 60000);
    socket_.connect(address);
  }
  void send(const ftlog::Bytes& bytes) { socket_.send(zmq::buffer(bytes), zmq::send_flags::none); }
  void send_parts(const std::vector<std::string>& parts) { zmq::send_multipart(socket_, parts_of(parts)); }
  hub::ToReplica receive(ftlog::Bytes& buffer) {
    zmq::message_t message;
    REQUIRE(socket_.recv(message));
    buffer.assign(message.data<uint8_t>(), message.data<uint8_t>() + message.size());
    return hub::decode_to_replica(buffer);
  }

 private:
  static std::vector<zmq::const_buffer> parts_of(const std::vector<std::string>& parts) {
    std::vector<zmq::const_buffer> buffers;
    for (const auto& part : parts) buffers.push_back(zmq::buffer(part));
    return buffers;
  }
  zmq::context_t context_;
  zmq::socket_t socket_;
};

}  // namespace

TEST_SUITE("hub") {
  TEST_CASE("hub: frames pass both ways, and nothing before an announcement") {
    Rig rig;
    rig.start();
    Replica left(rig.hub->endpoint(), "left");
    CHECK_FALSE(left->send_frame(frame(1)));
    rig.to_hub(frame(9));
    CHECK(rig.hub->reaches("/frames/in_no_replica", 1));
    CHECK(rig.hub->reaches("/connections/made", 1));
    CHECK(rig.hub->status()["replicas"].empty());
    left->announce(1, 0, 0);
    CHECK(left->send_frame(frame(2)));
    CHECK(rig.peer.receive() == frame(2));
    CHECK(eventually([&] { return left->accepted(); }));
    rig.to_hub(frame(8));
    REQUIRE(eventually([&] { return left.frames().size() == 1; }));
    CHECK(left.frames()[0] == frame(8));
    CHECK_FALSE(left->send_frame(Frame(13)));
    CHECK_FALSE(left->send_frame(Frame(1519)));
    CHECK(left->counts().out_not_live == 1);
    CHECK(left->counts().out_bad_size == 2);
    const auto status = rig.hub->status();
    CHECK(status["role"] == "hub");
    CHECK(status["epoch"] == 1);
    CHECK(status["node"] == "left");
    CHECK(status["frames"]["out"] == 1);
    CHECK(status["replicas"][0]["live"] == true);
  }

  TEST_CASE("hub: frames that leave in one go travel together, and arrive one by one in their order") {
    Rig rig;
    rig.start();
    Replica left(rig.hub->endpoint(), "left");
    left->announce(1, 0, 0);
    REQUIRE(eventually([&] { return left->accepted(); }));
    // Nothing goes before all of them are there...
    for (uint8_t n = 0; n < 5; ++n) CHECK(left->queue_frame(frame(n, 1000)));
    CHECK(left->counts().frames_out == 0);
    left->send_queued_frames();
    CHECK(left->counts().frames_out == 5);
    CHECK(left->counts().bytes_out == 5000);
    for (uint8_t n = 0; n < 5; ++n) CHECK(rig.peer.receive() == frame(n, 1000));
    // ...or a message is full.
    for (uint8_t n = 0; n < 70; ++n) CHECK(left->queue_frame(frame(n, hub::kMaxFrame)));
    CHECK(left->counts().frames_out >= 5 + 64);
    CHECK(left->counts().frames_out < 5 + 70);
    left->send_queued_frames();
    for (uint8_t n = 0; n < 70; ++n) CHECK(rig.peer.receive() == frame(n, hub::kMaxFrame));
    CHECK(rig.hub->count("/frames/out") == 75);
    // The other way they meet in the hub.
    for (uint8_t n = 0; n < 50; ++n) rig.to_hub(frame(n, 900));
    CHECK(eventually([&] { return left->counts().frames_in == 50; }));
    CHECK(left->counts().bytes_in == 45'000);
  }

  TEST_CASE("hub: a later epoch takes over; the older one is dropped, counted and told") {
    Rig rig;
    rig.options.journal = rig.folder / "journal";
    rig.start();
    Replica left(rig.hub->endpoint(), "left"), right(rig.hub->endpoint(), "right");
    left->announce(1, 0, 0);
    REQUIRE(eventually([&] { return left->accepted(); }));
    // One who does not listen goes on sending.
    RawPeer deaf(rig.hub->endpoint());
    deaf.send(hub::encode(hub::Announce{2, 77, 0, 0, "deaf"}));
    deaf.send(hub::encode(hub::FramesOut{2, packed(frame(1))}));
    CHECK(rig.peer.receive() == frame(1));
    CHECK(left.is_fenced_by("deaf/2"));
    CHECK_FALSE(left->send_frame(frame(2)));
    right->announce(3, 0, 0);
    REQUIRE(eventually([&] { return right->accepted(); }));
    for (int i = 0; i < 5; ++i) deaf.send(hub::encode(hub::FramesOut{2, packed(frame(3))}));
    deaf.send(hub::encode(hub::ConsoleOut{2, 0, frame(3)}));
    deaf.send(hub::encode(hub::ConsoleTaken{2, 7}));
    deaf.send(hub::encode(hub::FramesOut{3, packed(frame(3))}));  // of an epoch that is not its own
    CHECK(rig.hub->reaches("/fenced/frame", 6));
    CHECK(rig.hub->count("/fenced/console") == 1);
    CHECK(rig.hub->count("/fenced/taken") == 1);
    ftlog::Bytes buffer;
    CHECK(std::holds_alternative<hub::Accepted>(deaf.receive(buffer)));
    CHECK(std::get<hub::Fenced>(deaf.receive(buffer)) == hub::Fenced{3, "right"});
    // Frames go to the live one only, and what reached the wire is the live one's.
    rig.to_hub(frame(9));
    CHECK(eventually([&] { return right.frames().size() == 1; }));
    CHECK(left.frames().empty());
    right->send_frame(frame(4));
    CHECK(rig.peer.receive() == frame(4));
    rig.hub.reset();
    const auto reigns = rig.journal("reign");
    REQUIRE(reigns.size() == 3);
    CHECK(reigns[2]["node"] == "right");
    CHECK(reigns[2]["before"]["node"] == "deaf");
    CHECK(reigns[2]["before"]["frames"] == 1);
    CHECK(reigns[2]["before"]["last_output_ns"].get<uint64_t>() <= reigns[2]["mono_ns"].get<uint64_t>());
    const auto fenced = rig.journal("fenced");
    REQUIRE_FALSE(fenced.empty());
    CHECK(fenced[0]["node"] == "deaf");
    CHECK(fenced[0]["epoch"] == 2);
    CHECK(rig.journal("stop")[0]["fenced"]["frame"] == 6);
  }

  TEST_CASE("hub: an epoch belongs to whoever announced it first") {
    Rig rig;
    rig.options.journal = rig.folder / "journal";
    rig.start();
    Replica left(rig.hub->endpoint(), "left"), right(rig.hub->endpoint(), "left");  // of the same name
    left->announce(5, 0, 0);
    REQUIRE(eventually([&] { return left->accepted(); }));
    right->announce(5, 0, 0);
    CHECK(right.is_fenced_by("left/5"));
    CHECK(rig.hub->count("/same_epoch_refused") == 1);
    left->send_frame(frame(1));
    CHECK(rig.peer.receive() == frame(1));
    CHECK_FALSE(left->is_fenced());
    // It may try again when it has won a later one.
    right->announce(6, 0, 0);
    CHECK(eventually([&] { return right->accepted(); }));
    CHECK(left.is_fenced_by("left/6"));
    right->send_frame(frame(2));
    CHECK(rig.peer.receive() == frame(2));
    CHECK(rig.journal("refused")[0]["why"] == "epoch of another");
  }

  TEST_CASE("hub: the console's bytes pass exactly once through failovers") {
    Rig rig;
    rig.start();
    ConsoleUser user = rig.user();
    std::optional<Replica> left(std::in_place, rig.hub->endpoint(), "left");
    Replica right(rig.hub->endpoint(), "right");
    left->say("before anybody is live, ");
    (*left)->announce(1, 0, 0);
    left->say("and after");
    CHECK(user.read(33) == "before anybody is live, and after");
    CHECK(eventually([&] { return (*left)->console_delivered() == 33; }));
    CHECK((*left)->console_pending() == 0);
    user.type("abcdef");
    CHECK(left->hears("abcdef"));
    (*left)->console_taken(2);
    CHECK(rig.hub->reaches("/console/in_taken", 2));
    left.reset();
    user.type("gh");
    CHECK(rig.hub->reaches("/console/in_typed", 8));
    // The backup's guest has had 4 bytes, and its log says of 20 bytes of output that they are out.
    right->announce(2, 4, 20);
    right.said(20);
    right.say("ve, and after the failover");
    CHECK(user.read(13) == " the failover");
    CHECK(right.hears("efgh"));
    CHECK(eventually([&] { return right->console_pending() == 0; }));
    CHECK(rig.hub->count("/console/out_missing") == 0);
    CHECK(right->flush(kPatience));
  }

  TEST_CASE("hub: a replica without room for input stops the user, and loses nothing") {
    Rig rig;
    rig.start();
    ConsoleUser user = rig.user();
    Replica left(rig.hub->endpoint(), "left");
    left.set_room(100);
    left->announce(1, 0, 0);
    const std::string text = stream(2 << 20);
    size_t typed = 0, had = 0;
    std::jthread taker([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        if (const size_t heard = left.heard().size(); heard > had) left->console_taken(had = heard);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
    CHECK(rig.hub->reaches("/console/in_typed", 0));
    while (true) {
      const size_t more = user.type_without_waiting(text.substr(typed, 8192));
      typed += more;
      if (more == 0 && rig.hub->count("/console/in_typed") >= 96 + hub::kInputWindow) break;
    }
    CHECK(typed < text.size());
    CHECK(rig.hub->count("/console/in_typed") == 96 + hub::kInputWindow);
    left.set_room(SIZE_MAX);
    user.type(text.substr(typed, 100000));
    CHECK(left.hears(text.substr(0, typed + 100000)));
  }

  TEST_CASE("hub: a user who does not read stops the console, and nothing else") {
    Rig rig;
    rig.start();
    ConsoleUser user = rig.user();
    Replica left(rig.hub->endpoint(), "left");
    left->announce(1, 0, 0);
    const std::string text = stream(4 << 20);
    left.say(text);
    REQUIRE(eventually([&] {
      return rig.hub->count("/console/out_received") >= rig.hub->count("/console/out_delivered") + hub::kOutputWindow;
    }));
    left->send_frame(frame(1));
    CHECK(rig.peer.receive() == frame(1));
    CHECK(left->console_pending() > 1 << 20);
    CHECK(user.read(text.size()) == text);
    CHECK(eventually([&] { return left->console_pending() == 0; }));
    CHECK(rig.hub->count("/console/out_too_early") == 0);
  }

  TEST_CASE("hub: after it was started again replicas come back, and the console goes on") {
    Rig rig;
    rig.start();
    Replica left(rig.hub->endpoint(), "left");
    left->announce(3, 10, 100);
    left.said(100);
    {
      ConsoleUser user = rig.user();
      left.say("hello");
      CHECK(user.read(5) == "hello");
      CHECK(eventually([&] { return left->console_delivered() == 105; }));
      user.type("xyz");
      CHECK(left.hears("xyz"));
    }
    rig.hub.reset();
    CHECK(eventually([&] { return !left->connected(); }));
    left.say(" from the dark");
    left->send_frame(frame(5));
    rig.start();
    ConsoleUser user = rig.user();
    CHECK(rig.peer.receive() == frame(5));
    CHECK(eventually([&] { return left->accepted(); }));
    left.say(", again");
    // What came before there was a user is gone.
    std::string read;
    CHECK(eventually([&] { return (read += user.read_at_once()).ends_with("again"); }));
    CHECK(std::string(" from the dark, again").ends_with(read));
    user.type("!");
    CHECK(left.hears("xyz!"));
    CHECK(left->counts().announcements == 2);
  }

  TEST_CASE("hub: what may have been lost with a connection is sent again over the next, both ways") {
    Rig rig;
    rig.start();
    SUBCASE("to the replica") {
      const ftlog::Bytes announce = hub::encode(hub::Announce{1, 7, 0, 0, "left"});
      ftlog::Bytes buffer;
      const auto next_frame = [&buffer](RawPeer& peer) {
        const hub::ToReplica message = peer.receive(buffer);
        const auto* in = std::get_if<hub::FramesIn>(&message);
        Frame frame;
        if (in != nullptr)
          hub::for_each_frame(in->bytes, [&](auto bytes) { frame.assign(bytes.begin(), bytes.end()); });
        return frame;
      };
      RawPeer first(rig.hub->endpoint());
      first.send(announce);
      REQUIRE(std::holds_alternative<hub::Accepted>(first.receive(buffer)));
      rig.to_hub(frame(8));
      CHECK(next_frame(first) == frame(8));
      // The first connection is still there, as far as the hub can tell.
      RawPeer second(rig.hub->endpoint());
      second.send(announce);
      REQUIRE(std::holds_alternative<hub::Accepted>(second.receive(buffer)));
      rig.to_hub(frame(9));
      CHECK(next_frame(second) == frame(8));
      CHECK(next_frame(second) == frame(9));
      CHECK(rig.hub->count("/frames/in_again") == 1);
    }
    SUBCASE("to the hub") {
      Replica left(rig.hub->endpoint(), "left");
      left->announce(1, 0, 0);
      REQUIRE(left->send_frame(frame(2)));
      REQUIRE(rig.peer.receive() == frame(2));
      rig.hub.reset();
      REQUIRE(eventually([&] { return !left->connected(); }));
      REQUIRE(left->send_frame(frame(3)));
      rig.start();
      CHECK(rig.peer.receive() == frame(2));
      CHECK(rig.peer.receive() == frame(3));
      CHECK(left->counts().frames_again == 1);
    }
  }

  TEST_CASE("hub: with its journal it remembers who reigned") {
    Rig rig;
    rig.options.journal = rig.folder / "journal";
    rig.start();
    Replica left(rig.hub->endpoint(), "left"), right(rig.hub->endpoint(), "right");
    left->announce(4, 0, 0);
    REQUIRE(eventually([&] { return left->accepted(); }));
    CHECK_THROWS_WITH_AS(tools::HubJournal(rig.options.journal),
                         ("--journal " + rig.options.journal + ": another hub writes it").c_str(), tools::UsageError);
    rig.hub.reset();
    std::ofstream(rig.options.journal, std::ios::app) << R"({"event":"reign","epoch":99)";  // cut off by a crash
    rig.start();
    right->announce(3, 0, 0);
    CHECK(right.is_fenced_by("left/4"));
    CHECK(eventually([&] { return left->accepted(); }));
    left->send_frame(frame(1));
    CHECK(rig.peer.receive() == frame(1));
    right->announce(5, 0, 0);
    CHECK(eventually([&] { return right->accepted(); }));
    rig.hub.reset();
    CHECK(rig.journal("start").size() == 2);
    CHECK(rig.journal("start")[1]["remembers"]["epoch"] == 4);
    for (const auto& [text, complaint] :
         {std::pair{"hello\n", "line 1: is not a hub's"}, std::pair{"{\"event\":7}\n", "line 1: is not a hub's"},
          std::pair{"{\"event\":\"x\"}\n{\"event\":\"reign\"}\n", "line 2: a reign lacks its epoch, node or instance"},
          std::pair{"{\"event\":\"reign\",\"epoch\":0,\"node\":\"a\",\"instance\":\"1\"}\n",
                    "line 1: a reign's epoch, node or instance is none"}}) {
      std::ofstream(rig.options.journal) << text;
      CHECK_THROWS_WITH_AS(tools::HubJournal(rig.options.journal),
                           ("--journal " + rig.options.journal + ": " + complaint).c_str(), tools::UsageError);
    }
  }

  TEST_CASE("hub: garbage is counted and harms nobody") {
    Rig rig;
    rig.options.listen = "tcp://127.0.0.1:*";
    rig.start();
    Replica left(rig.hub->endpoint(), "left");
    left->announce(1, 0, 0);
    REQUIRE(eventually([&] { return left->accepted(); }));
    const auto port = static_cast<uint16_t>(std::stoul(rig.hub->endpoint().substr(rig.hub->endpoint().rfind(':') + 1)));
    net::HostSocket web = net::HostSocket::connected(SOCK_STREAM, port);
    CHECK(web.send(net::text("GET / HTTP/1.1\r\nHost: hub\r\n\r\n")));
    net::HostSocket noise = net::HostSocket::connected(SOCK_STREAM, port);
    // As ZeroMQ greets, with a security mechanism that is none.
    Frame greeting{0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0};
    greeting.resize(64, 'x');
    CHECK(noise.send(greeting));
    CHECK(rig.hub->reaches("/connections/bad_peers", 1));
    noise.close();
    RawPeer raw(rig.hub->endpoint());
    raw.send({});
    raw.send(ftlog::Bytes(hub::kMaxMessage, 0xaa));
    ftlog::Bytes version = hub::encode(hub::FramesOut{1, packed(frame(1))});
    version[3] = 9;
    raw.send(version);
    raw.send_parts({"a", "b", "c"});
    raw.send(hub::encode(hub::ConsoleDelivered{7}));
    raw.send(hub::encode(hub::FramesOut{1, packed(frame(1))}));
    CHECK(rig.hub->reaches("/unannounced", 1));
    CHECK(rig.hub->count("/connections/bad_messages") == 4);
    CHECK(rig.hub->count("/connections/other_versions") == 1);
    RawPeer huge(rig.hub->endpoint());
    huge.send(ftlog::Bytes(hub::kMaxMessage + 1));
    CHECK(rig.hub->reaches("/connections/lost", 1));
    left->send_frame(frame(7));
    CHECK(rig.peer.receive() == frame(7));
    CHECK(left->counts().connections == 1);
  }

  TEST_CASE("hub: a replica of another version is told so, and not let in") {
    Rig rig;
    rig.start();
    RawPeer later(rig.hub->endpoint());
    ftlog::Bytes announce = hub::encode(hub::Announce{1, 1, 0, 0, "later"});
    announce[3] = hub::kVersion + 1;
    later.send(announce);
    // The rest is for the later version to understand.
    ftlog::Bytes answer;
    CHECK(std::holds_alternative<hub::OtherVersion>(later.receive(answer)));
    CHECK(rig.hub->count("/connections/other_versions") == 1);
    CHECK(rig.hub->count("/reign_count") == 0);
    CHECK(rig.hub->status()["replicas"].empty());
  }

  TEST_CASE("hub: a replica that takes nothing loses frames, and holds up nobody") {
    Rig rig;
    rig.start();
    ConsoleUser user = rig.user();
    Replica right(rig.hub->endpoint(), "right");
    {
      RawPeer stuck(rig.hub->endpoint());
      stuck.send(hub::encode(hub::Announce{1, 1, 0, 0, "stuck"}));
      REQUIRE(rig.hub->reaches("/epoch", 1));
      user.type("hello");
      while (rig.hub->count("/frames/in_queue_full") == 0)
        for (int i = 0; i < 50; ++i) rig.to_hub(frame(9, 1500));
      right->announce(2, 0, 0);
      CHECK(right.hears("hello"));
      right->send_frame(frame(1));
      CHECK(rig.peer.receive() == frame(1));
      rig.to_hub(frame(8));
      CHECK(eventually([&] { return !right.frames().empty(); }));
    }
    CHECK(rig.hub->reaches("/connections/lost", 1));
    CHECK(eventually([&] { return rig.hub->status()["replicas"].size() == 1; }));
  }

  TEST_CASE("hub: with keys, only who is listed comes in") {
    Rig rig;
    const ftlog::CurveKeyPair hub_keys = ftlog::generate_keys(), own = ftlog::generate_keys(),
                              other = ftlog::generate_keys();
    rig.options.listen = "tcp://127.0.0.1:*";
    rig.options.keys = ftlog::CurveIdentity{hub_keys.public_key, hub_keys.secret_key, {own.public_key}};
    rig.start();
    const ftlog::CurveIdentity stranger{other.public_key, other.secret_key, {hub_keys.public_key}};
    const ftlog::CurveIdentity misled{own.public_key, own.secret_key, {other.public_key}};
    const ftlog::CurveIdentity known{own.public_key, own.secret_key, {hub_keys.public_key}};
    Replica bare(rig.hub->endpoint(), "bare"), unknown(rig.hub->endpoint(), "unknown", &stranger),
        wrong(rig.hub->endpoint(), "wrong", &misled), left(rig.hub->endpoint(), "left", &known);
    bare->announce(7, 0, 0);
    unknown->announce(8, 0, 0);
    wrong->announce(9, 0, 0);
    CHECK(rig.hub->reaches("/connections/refused_keys", 2));
    CHECK(rig.hub->reaches("/connections/bad_peers", 2));
    left->announce(1, 0, 0);
    left->send_frame(frame(1));
    CHECK(rig.peer.receive() == frame(1));
    CHECK(rig.hub->count("/reign_count") == 1);
    CHECK(rig.hub->count("/connections/made") == 1);
    CHECK_FALSE(unknown->connected());
    CHECK(unknown->counts().bad_peers >= 1);
  }

  TEST_CASE("hub: addresses, names and nets that are none") {
    CHECK_THROWS_WITH_AS(Replica("nowhere", "left"),
                         "hub nowhere: Invalid argument: want tcp://HOST:PORT or ipc://PATH", primary::HubLinkError);
    CHECK_THROWS_AS(Replica("ipc:///tmp/x", "a b"), primary::HubLinkError);
    Rig rig;
    rig.options.listen = "ipc:///nowhere/at/all";
    CHECK_THROWS_WITH_AS(rig.start(), "--listen ipc:///nowhere/at/all: No such file or directory", tools::UsageError);
    rig.options.listen = "ipc://" + (rig.folder / "hub");
    rig.options.nets = {"user", "user"};
    CHECK_THROWS_WITH_AS(rig.start(), "--net user: there can be one user network; it takes several hostfwd=RULE",
                         tools::UsageError);
    rig.options.nets = {"hub:ipc:///tmp/x"};
    CHECK_THROWS_WITH_AS(rig.start(), "--net hub:ipc:///tmp/x: this is the hub", tools::UsageError);
    rig.options.nets.clear();
    rig.options.console = "tty";
    CHECK_THROWS_WITH_AS(rig.start(), "console 'tty' is not stdio, file:PATH, unix:PATH, tcp:HOST:PORT or none",
                         tools::UsageError);
  }
}

TEST_SUITE("hub") {
  TEST_CASE("hub: a console in a file, and on TCP") {
    Rig rig;
    rig.options.console = "file:" + (rig.folder / "text");
    rig.start();
    {
      Replica left(rig.hub->endpoint(), "left");
      left->announce(1, 0, 0);
      left.say(stream(100000));
      CHECK(left->flush(kPatience));
    }
    std::ifstream file(rig.folder / "text");
    CHECK(std::string(std::istreambuf_iterator<char>(file), {}) == stream(100000));
    rig.hub.reset();
    const uint16_t port = net::free_port(SOCK_STREAM);
    rig.options.console = "tcp:127.0.0.1:" + std::to_string(port);
    rig.start();
    Replica right(rig.hub->endpoint(), "right");
    right->announce(1, 0, 0);
    for (int turn = 0; turn < 2; ++turn) {  // one client after the other
      net::HostSocket user = net::HostSocket::connected(SOCK_STREAM, port);
      CHECK(user.send(net::text("hi")));
      CHECK(right.hears(turn == 0 ? "hi" : "hihi"));
      right.say("hello");
      CHECK(user.receive_all(5) == net::text("hello"));
    }
    CHECK(rig.hub->count("/console/users") == 2);
  }

  TEST_CASE("hub: a console that cannot be written to loses its output, and the replica goes on") {
    Rig rig;
    rig.options.console = "file:/dev/full";
    rig.start();
    Replica left(rig.hub->endpoint(), "left");
    left->announce(1, 0, 0);
    left.say("hello");
    CHECK(left->flush(kPatience));
    left.say("hello");
    CHECK(left->flush(kPatience));
    CHECK(rig.hub->count("/console/out_lost") == 10);
  }

  TEST_CASE("escape key: Ctrl-A and what follows it") {
    using Meaning = tools::EscapeKey::Meaning;
    tools::EscapeKey key;
    for (const auto& [byte, meaning] :
         {std::pair{'a', Meaning::type}, std::pair{'\1', Meaning::nothing}, std::pair{'\1', Meaning::type},
          std::pair{'x', Meaning::type}, std::pair{'\1', Meaning::nothing}, std::pair{'x', Meaning::quit},
          std::pair{'\1', Meaning::nothing}, std::pair{'?', Meaning::help}, std::pair{'\1', Meaning::nothing},
          std::pair{'z', Meaning::nothing}, std::pair{'z', Meaning::type}})
      CHECK(key.feed(static_cast<uint8_t>(byte)) == meaning);
  }
}
