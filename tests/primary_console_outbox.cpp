#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>

#include "primary/console_outbox.h"

using understudy::primary::ConsoleOutbox;

namespace {

std::span<const uint8_t> bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
// "OFFSET:TEXT" of what is next, and it counts as sent.
std::string next(ConsoleOutbox& box, size_t most = 100, uint64_t window = 1000) {
  const ConsoleOutbox::Piece piece = box.next(most, window);
  if (piece.bytes.empty()) return "";
  box.send_from(piece.offset + piece.bytes.size());
  return std::to_string(piece.offset) + ":" + std::string(piece.bytes.begin(), piece.bytes.end());
}

}  // namespace

TEST_CASE("console outbox: bytes wait until they are delivered, and can be sent again") {
  ConsoleOutbox box;
  box.begin(100);
  CHECK(box.put(100, bytes("hel")));
  CHECK(box.put(103, bytes("lo")));
  CHECK(next(box) == "100:hello");
  CHECK(next(box).empty());
  CHECK(box.put(105, bytes("!")));
  CHECK(next(box) == "105:!");
  box.delivered(102);
  CHECK(box.size() == 4);
  CHECK(box.front() == 102);
  box.send_from(102);
  CHECK(next(box, 2) == "102:ll");
  box.delivered(106);
  CHECK(box.empty());
  CHECK(box.size() == 0);
  CHECK(box.front() == 106);
  CHECK(next(box).empty());
}

TEST_CASE("console outbox: what was put or delivered before is left out") {
  ConsoleOutbox box;
  box.begin(0);
  CHECK(box.put(0, bytes("abc")));
  CHECK(box.put(1, bytes("bcde")));
  CHECK(box.put(0, bytes("ab")));
  CHECK(next(box) == "0:abcde");
  box.delivered(10);  // somebody else went further
  CHECK(box.empty());
  CHECK(box.put(5, bytes("fghij")));
  CHECK(box.empty());
  CHECK(box.put(5, bytes("fghijkl")));
  CHECK(next(box) == "10:kl");
}

TEST_CASE("console outbox: a gap stays one") {
  ConsoleOutbox box;
  box.begin(0);
  CHECK(box.put(0, bytes("ab")));
  CHECK(box.put(10, bytes("cd")));
  CHECK(next(box) == "0:ab");
  CHECK(next(box) == "10:cd");
  box.send_from(0);
  CHECK(next(box, 100, 11) == "0:ab");
  CHECK(next(box, 100, 11) == "10:c");
  CHECK(next(box, 100, 11).empty());  // the window ends
  box.delivered(2);
  CHECK(box.front() == 10);
  CHECK(next(box, 100, 11) == "11:d");
}

TEST_CASE("console outbox: full is an answer, and nothing is taken then") {
  ConsoleOutbox box;
  const std::string much(ConsoleOutbox::kMaxBytes - 1, 'x');
  CHECK(box.put(0, bytes(much)));
  CHECK_FALSE(box.put(much.size(), bytes("ab")));
  CHECK(box.put(much.size(), bytes("a")));
  CHECK_FALSE(box.put(much.size() + 1, bytes("b")));
  CHECK(box.size() == ConsoleOutbox::kMaxBytes);
  box.delivered(1);
  CHECK(box.put(much.size() + 1, bytes("b")));
}

TEST_CASE("console outbox: against a plain string") {
  std::minstd_rand random(3);
  std::string stream;
  for (int i = 0; i < 200000; ++i) stream += static_cast<char>('a' + random() % 26);
  ConsoleOutbox box;
  box.begin(0);
  std::string there;
  uint64_t put = 0, delivered = 0;
  while (delivered < stream.size()) {
    switch (random() % 4) {
      case 0: {
        const uint64_t from = put - std::min<uint64_t>(put, random() % 10);
        const uint64_t size = std::min<uint64_t>(random() % 3000, stream.size() - from);
        REQUIRE(box.put(from, bytes(stream).subspan(from, size)));
        put = std::max(put, from + size);
        break;
      }
      case 1:
        if (const auto piece = box.next(1 + random() % 5000, 20000); !piece.bytes.empty()) {
          REQUIRE(piece.offset <= there.size());
          REQUIRE(piece.offset + piece.bytes.size() <= delivered + 20000);
          REQUIRE(stream.compare(piece.offset, piece.bytes.size(),
                                 std::string(piece.bytes.begin(), piece.bytes.end())) == 0);
          there.resize(std::max<size_t>(there.size(), piece.offset + piece.bytes.size()), '?');
          box.send_from(piece.offset + piece.bytes.size());
        }
        break;
      case 2:
        delivered += random() % (there.size() - delivered + 1);
        box.delivered(delivered);
        break;
      default:
        if (random() % 20 == 0) box.send_from(delivered);
    }
  }
  CHECK(box.empty());
}
