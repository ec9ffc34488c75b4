#include <doctest/doctest.h>

#include <string>

#include "tools/hub_console.h"

using understudy::primary::hub::kInputWindow;
using understudy::primary::hub::kOutputWindow;
using understudy::tools::HubConsole;

namespace {

std::span<const uint8_t> bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
std::string receive(HubConsole& console, uint64_t offset, std::string_view text) {
  const auto fresh = console.receive(offset, bytes(text));
  return {fresh.begin(), fresh.end()};
}
// "OFFSET:TEXT", and it counts as sent.
std::string next(HubConsole& console) {
  const HubConsole::Piece piece = console.next_input();
  if (piece.bytes.empty()) return "";
  console.input_sent(piece.bytes.size());
  return std::to_string(piece.offset) + ":" + std::string(piece.bytes.begin(), piece.bytes.end());
}

}  // namespace

TEST_SUITE("hub") {
  TEST_CASE("hub console: output passes once, and what is missing is counted") {
    HubConsole console;
    console.announced(0, 100);
    CHECK(receive(console, 100, "hello") == "hello");
    CHECK(receive(console, 100, "hello").empty());
    CHECK(receive(console, 103, "lo world") == " world");
    CHECK(console.counts().repeated == 7);
    CHECK(console.out_received() == 111);
    CHECK(console.out_delivered() == 100);
    console.delivered(11);
    CHECK(console.out_delivered() == 111);
    console.announced(0, 50);  // the next replica starts again further back
    CHECK(console.out_received() == 111);
    CHECK(receive(console, 50, std::string(61, 'x')).empty());
    CHECK(receive(console, 120, "after") == "after");
    CHECK(console.counts().missing == 9);
    console.delivered(5);
    CHECK(console.out_delivered() == 125);
    CHECK(console.out_received() == 125);
  }

  TEST_CASE("hub console: more than the window at once is refused") {
    HubConsole console;
    console.announced(0, 0);
    const std::string much(kOutputWindow, 'x');
    CHECK(receive(console, 0, much) == much);
    CHECK(receive(console, much.size(), "y").empty());
    CHECK(console.counts().too_early == 1);
    console.delivered(1);
    CHECK(receive(console, much.size(), "y") == "y");
  }

  TEST_CASE("hub console: input waits for a replica, and goes again to the next one") {
    HubConsole console;
    console.typed(bytes("early"));
    console.announced(1000, 0);  // a hub that comes into a running service
    CHECK(next(console) == "1000:early");
    console.typed(bytes("abc"));
    CHECK(next(console) == "1005:abc");
    CHECK(next(console).empty());
    console.taken(1002);
    CHECK(console.input_room() == kInputWindow - 6);
    console.announced(1004, 0);  // a takeover: that guest has had four of them
    CHECK(next(console) == "1004:yabc");
    console.announced(1008, 0);
    CHECK(next(console).empty());
    console.taken(1008);
    CHECK(console.input_room() == kInputWindow);
    console.typed(bytes("d"));
    CHECK(next(console) == "1008:d");
    CHECK(console.counts().lost_in == 0);
  }

  TEST_CASE("hub console: numbers follow the guest") {
    HubConsole console;
    console.announced(0, 0);
    console.typed(bytes("abcdef"));
    console.taken(4);
    console.announced(2, 0);  // needs two that are gone
    CHECK(console.counts().lost_in == 2);
    CHECK(next(console) == "2:ef");
    console.announced(50, 0);  // has had what never was here
    console.typed(bytes("g"));
    CHECK(next(console) == "50:g");
    console.taken(UINT64_MAX);
    CHECK(console.in_taken() == 51);
  }
}
