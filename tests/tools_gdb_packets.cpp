// The packet layer of GDB's protocol: frames, escapes, run lengths, acknowledgements, Ctrl-C, and bytes of any kind.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <random>

#include "tests/gdb_rig.h"
#include "tools/gdb_packets.h"

using namespace understudy::test;
using namespace understudy::tools;
using Event = GdbPackets::Event;

namespace {

void give(GdbPackets& packets, std::string_view text) {
  packets.receive({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

std::vector<Event> all(GdbPackets& packets) {
  std::vector<Event> events;
  while (auto event = packets.next()) events.push_back(*event);
  return events;
}

const Event kInterrupt{Event::Kind::interrupt, ""};
Event packet(std::string payload) { return {Event::Kind::packet, std::move(payload)}; }

// What a client makes of a frame: run lengths first, then escapes. An empty string for one that breaks the rules.
std::string payload_of_frame(std::string_view sent) {
  REQUIRE(sent.size() >= 4);
  REQUIRE(sent.front() == '$');
  const std::string_view body = sent.substr(1, sent.size() - 4);
  CHECK(sent == gdb_frame(body));
  CHECK(body.find_first_of("#$") == std::string_view::npos);
  std::string runs;
  for (size_t i = 0; i < body.size(); ++i) {
    if (body[i] != '*') {
      runs += body[i];
      continue;
    }
    REQUIRE(i + 1 < body.size());
    REQUIRE(!runs.empty());
    const int count = body[++i] - 29;
    CHECK(count >= 3);
    CHECK(body[i] <= '~');
    CHECK(std::string_view("#$+-").find(body[i]) == std::string_view::npos);
    runs.append(static_cast<size_t>(count), runs.back());
  }
  std::string payload;
  for (size_t i = 0; i < runs.size(); ++i) payload += runs[i] == '}' ? static_cast<char>(runs[++i] ^ 0x20) : runs[i];
  return payload;
}

}  // namespace

TEST_CASE("hexadecimal numbers and bytes") {
  CHECK(to_hex(std::string_view("\x00\x7f\xff", 3)) == "007fff");
  CHECK(from_hex("007FfF") == std::string("\x00\x7f\xff", 3));
  CHECK(from_hex("") == "");
  CHECK_FALSE(from_hex("123"));
  CHECK_FALSE(from_hex("1g"));
  std::string_view text = "10,fFffffffffffffff;";
  CHECK(take_hex_number(text) == 16);
  CHECK(text == ",fFffffffffffffff;");
  text.remove_prefix(1);
  CHECK(take_hex_number(text) == ~0ull);
  CHECK(text == ";");
  CHECK_FALSE(take_hex_number(text));
  text = "10000000000000000";
  CHECK_FALSE(take_hex_number(text));
}

TEST_CASE("a frame becomes a packet, acknowledged, however it is cut") {
  const std::string sent = gdb_frame("m1000,4") + gdb_frame("") + gdb_frame("X0,2:}\x03}\x04");
  for (size_t piece = 1; piece <= sent.size(); ++piece) {
    GdbPackets packets;
    for (size_t i = 0; i < sent.size(); i += piece) give(packets, std::string_view(sent).substr(i, piece));
    CHECK(all(packets) == std::vector{packet("m1000,4"), packet(""), packet("X0,2:#$")});
    CHECK(packets.take_output() == "+++");
  }
}

TEST_CASE("a damaged frame is asked for again") {
  GdbPackets packets;
  give(packets, "$g#00");
  CHECK(packets.take_output() == "-");
  give(packets, "$g#zz");
  CHECK(packets.take_output() == "-");
  CHECK(all(packets).empty());
  give(packets, gdb_frame("g"));
  CHECK(packets.take_output() == "+");
  CHECK(all(packets) == std::vector{packet("g")});
}

TEST_CASE("without acknowledgements, a damaged frame is an event") {
  GdbPackets packets;
  packets.stop_acknowledging();
  give(packets, "$g#00" + gdb_frame("g"));
  CHECK(packets.take_output().empty());
  CHECK(all(packets) == std::vector{Event{Event::Kind::bad, "a packet has a wrong checksum"}, packet("g")});
}

TEST_CASE("a frame that begins inside another takes its place; what is between frames is passed over") {
  GdbPackets packets;
  give(packets, "noise++$lost" + gdb_frame("c") + "\x03zz" + gdb_frame("?"));
  CHECK(all(packets) == std::vector{packet("c"), kInterrupt, packet("?")});
}

TEST_CASE("Ctrl-C inside a frame is a byte of it") {
  GdbPackets packets;
  give(packets, gdb_frame("X0,1:\x03"));
  CHECK(all(packets) == std::vector{packet("X0,1:\x03")});
}

TEST_CASE("a frame of any length takes bounded memory") {
  GdbPackets packets;
  give(packets, gdb_frame(std::string(GdbPackets::kMaxPayload, 'a')));
  CHECK(all(packets) == std::vector{packet(std::string(GdbPackets::kMaxPayload, 'a'))});
  give(packets, gdb_frame(std::string(GdbPackets::kMaxPayload + 1, 'a')) + gdb_frame("g"));
  CHECK(all(packets) == std::vector{Event{Event::Kind::bad, "a packet is too long"}, packet("g")});
}

TEST_CASE("who never waits for answers is cut off") {
  GdbPackets packets;
  const std::string flood(1 << 16, '\x03');
  for (int i = 0; i < 16; ++i) give(packets, flood);
  CHECK(packets.broken() == "the other side sends more than it waits for");
  CHECK(all(packets).size() < GdbPackets::kMaxWaiting / sizeof(Event) + 1);
}

TEST_CASE("an answer is repeated when it is refused, but not for ever") {
  GdbPackets packets;
  give(packets, "-");  // nothing was said yet
  CHECK(packets.take_output().empty());
  packets.send("OK");
  CHECK(packets.take_output() == "$OK#9a");
  give(packets, "-+");
  CHECK(packets.take_output() == "$OK#9a");
  CHECK(packets.broken().empty());
  for (unsigned i = 0; i < 100000; ++i) give(packets, "-+");
  CHECK(packets.take_output().size() == (GdbPackets::kMaxRepeats - 1) * 6);
  CHECK(packets.broken() == "the other side refuses every answer");
}

TEST_CASE("runs are shortened") {
  GdbPackets packets;
  const auto sent = [&packets](const std::string& payload) {
    packets.send(payload);
    return packets.take_output();
  };
  CHECK(sent("000") == gdb_frame("000"));
  CHECK(sent("0000") == gdb_frame("0* "));
  CHECK(sent("1" + std::string(7, '0')) == gdb_frame("10*\"0"));  // six more would be counted by '#'
  CHECK(sent("") == "$#00");
}

TEST_CASE("any payload arrives as it was") {
  std::mt19937 chance(5);
  GdbPackets packets;
  for (int round = 0; round < 2000; ++round) {
    std::string payload;
    while (payload.size() < chance() % 300) {
      const char c = static_cast<char>(chance() % 4 == 0 ? "#$}*"[chance() % 4] : chance());
      payload.append(chance() % 3 == 0 ? chance() % 200 : 1, c);
    }
    packets.send(payload);
    CHECK(payload_of_frame(packets.take_output()) == payload);
  }
  for (size_t length = 0; length < 300; ++length) {
    packets.send(std::string(length, 'x'));
    CHECK(payload_of_frame(packets.take_output()) == std::string(length, 'x'));
  }
}
