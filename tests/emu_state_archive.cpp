#include <doctest/doctest.h>

#include <random>
#include <stdexcept>
#include <string>

#include "emu/event_queue.h"
#include "emu/state_archive.h"

using namespace understudy::emu;

namespace {
enum class Phase : uint8_t { kIdle, kBusy };

constexpr uint8_t kQueued[] = {4, 5, 6};

// A machine in miniature: every shape of field, and two levels of groups.
struct Sample {
  uint8_t small = 1;
  bool flag = true;
  Phase phase = Phase::kBusy;
  int16_t negative = -2;
  uint32_t word = 0xdeadbeef;
  uint64_t wide = 0x0123456789abcdef;
  std::array<uint16_t, 3> table{1, 2, 3};
  uint8_t block[40] = {9};
  std::vector<uint8_t> queue{std::begin(kQueued), std::end(kQueued)};

  void visit(StateVisitor& v) {
    v.begin("cpu");
    v.value("small", small);
    v.value("flag", flag);
    v.begin("inner");
    v.value("phase", phase);
    v.value("negative", negative);
    v.end();
    v.value("word", word);
    v.end();
    v.value("wide", wide);
    v.value("table", table);
    v.value("block", block);
    v.sequence("queue", queue, 8);
  }
  bool operator==(const Sample&) const = default;
};

std::vector<uint8_t> save(Sample s) {
  StateWriter writer;
  s.visit(writer);
  return writer.finish();
}

Sample load(std::span<const uint8_t> archive) {
  Sample s{0, false, Phase::kIdle, 0, 0, 0, {}, {}, {}};
  StateReader reader(archive);
  s.visit(reader);
  reader.finish();
  return s;
}

template <typename Walk>
std::string complaint(const std::vector<uint8_t>& archive, Walk walk) {
  try {
    StateReader reader(archive);
    walk(reader);
    reader.finish();
  } catch (const std::runtime_error& e) {
    return e.what();
  }
  return "";
}

template <typename Walk>
std::vector<uint8_t> written(Walk walk) {
  StateWriter writer;
  walk(writer);
  return writer.finish();
}

uint64_t digest(Sample s) {
  StateDigest visitor;
  s.visit(visitor);
  return visitor.digest();
}
}  // namespace

TEST_CASE("state archive: every shape of field survives the round trip") {
  Sample s;
  s.block[39] = 0x77;
  CHECK(load(save(s)) == s);
  s.queue.clear();
  CHECK(load(save(s)) == s);
  // Nothing but the state is in the bytes.
  CHECK(save(s) == save(s));
}

TEST_CASE("state archive: the format is what the header documents") {
  const auto archive = written([](StateVisitor& v) {
    uint16_t x = 0x1234;
    v.begin("a");
    v.value("x", x);
    v.end();
  });
  const std::vector<uint8_t> expected{'U', 'S', 'T', 'A', 1, 0, 0, 0, 2, 3, 0, 'a', '.', 'x', 0x34, 0x12, 0};
  REQUIRE(archive.size() == expected.size() + 8);
  CHECK(std::vector<uint8_t>(archive.begin(), archive.end() - 8) == expected);
}

TEST_CASE("state archive: the reader names the first field that does not fit") {
  uint8_t x = 0;
  uint16_t y = 0;
  const auto archive = written([&](StateVisitor& v) {
    v.begin("dev");
    v.value("x", x);
    v.value("y", y);
    v.end();
  });
  const auto read = [&](auto walk) { return complaint(archive, walk); };
  CHECK(read([&](StateVisitor& v) {
          v.begin("dev");
          v.value("x", x);
          v.end();
        }) == "state: field dev.y is not known here");
  CHECK(read([&](StateVisitor& v) {
          v.begin("dev");
          v.value("x", x);
          v.value("z", y);
        }) == "state: expected field dev.z, found dev.y");
  CHECK(read([&](StateVisitor& v) {
          v.begin("dev");
          v.value("x", x);
          v.value("y", x);
        }) == "state: field dev.y is an integer of 2 bytes, expected an integer of 1 bytes");
  CHECK(read([&](StateVisitor& v) {
          v.begin("dev");
          v.value("x", x);
          v.value("y", y);
          v.value("z", y);
        }) == "state: field dev.z is missing at the end");

  std::array<uint8_t, 4> four{};
  std::array<uint8_t, 5> five{};
  CHECK(complaint(written([&](StateVisitor& v) { v.value("a", four); }),
                  [&](StateVisitor& v) { v.value("a", five); }) == "state: field a has 4 bytes, expected 5");
  std::vector<uint8_t> list(9);
  CHECK(complaint(written([&](StateVisitor& v) { v.sequence("l", list, 9); }), [&](StateVisitor& v) {
          v.sequence("l", list, 8);
        }) == "state: field l has 9 bytes, at most 8 are allowed");
}

TEST_CASE("state archive: misuse by the owner is a logic error") {
  StateWriter writer;
  CHECK_THROWS_AS(writer.end(), std::logic_error);
  std::vector<uint8_t> list(3);
  CHECK_THROWS_AS(writer.sequence("l", list, 2), std::logic_error);
}

TEST_CASE("state archive: every truncation and every flipped bit is refused") {
  const auto good = save({});
  for (size_t n = 0; n < good.size(); ++n) CHECK_THROWS_AS(load(std::span(good).first(n)), std::runtime_error);
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto bad = good;
    bad[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    CHECK_THROWS_AS(load(bad), std::runtime_error);
  }
  auto longer = good;
  longer.push_back(0);
  CHECK_THROWS_AS(load(longer), std::runtime_error);
}

TEST_CASE("state archive: damage under a correct checksum throws or loads, and never more") {
  // The checksum hides the parser from plain damage, so here it is made right again after each mutation.
  const auto good = save({});
  std::mt19937 random(20240229);
  unsigned refused = 0;
  unsigned loaded = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<uint8_t> body(good.begin(), good.end() - 8);
    for (unsigned n = 1 + random() % 4; n > 0; --n)
      body[8 + random() % (body.size() - 8)] = static_cast<uint8_t>(random());
    if (random() % 4 == 0) body.resize(9 + random() % (body.size() - 9));
    const auto sealed = seal_state_archive(body);
    try {
      const Sample s = load(sealed);
      CHECK(s.queue.size() <= 8);
      ++loaded;
    } catch (const std::runtime_error&) {
      ++refused;
    }
    try {
      const size_t count = state_diff(good, sealed).size();
      CHECK(count <= 64);
    } catch (const std::runtime_error&) {
    }
  }
  CHECK(refused > 1000);
  CHECK(loaded > 100);  // a mutated value is a legal state
}

TEST_CASE("state archive: a length near 4 GiB allocates nothing") {
  std::vector<uint8_t> body{'U', 'S', 'T', 'A', 1, 0, 0, 0, 's', 1, 0, 'l', 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 0};
  std::vector<uint8_t> list;
  CHECK(complaint(seal_state_archive(body), [&](StateVisitor& v) { v.sequence("l", list, ~size_t{0}); }) ==
        "state: the archive ends in the middle of a field");
  CHECK(list.capacity() == 0);
}

TEST_CASE("state archive: a hostile name reaches no terminal") {
  std::vector<uint8_t> body{'U', 'S', 'T', 'A', 1, 0, 0, 0, 1, 3, 0, 0x1b, '[', 'J', 7, 0};
  uint8_t x = 0;
  CHECK(complaint(seal_state_archive(body), [&](StateVisitor& v) { v.value("x", x); }) ==
        "state: expected field x, found ?[J");
}

TEST_CASE("state digest: a function of names, kinds and values") {
  const uint64_t base = digest({});
  CHECK(digest({}) == base);
  Sample s;
  s.block[17] = 1;
  CHECK(digest(s) != base);
  s = {};
  s.queue.push_back(0);
  CHECK(digest(s) != base);

  const auto of = [](auto walk) {
    StateDigest d;
    walk(d);
    return d.digest();
  };
  uint8_t a = 1;
  uint8_t b = 2;
  uint16_t wide = 1;
  const uint64_t plain = of([&](StateVisitor& v) { v.value("a", a); });
  CHECK(plain != of([&](StateVisitor& v) { v.value("b", a); }));
  CHECK(plain != of([&](StateVisitor& v) { v.value("a", b); }));
  CHECK(plain != of([&](StateVisitor& v) { v.value("a", wide); }));
  CHECK(of([&](StateVisitor& v) {
          v.value("a", a);
          v.value("b", b);
        }) != of([&](StateVisitor& v) {
          v.value("b", b);
          v.value("a", a);
        }));
  // Pinned: digests are compared between processes, machines and versions.
  CHECK(plain == 2464123584216740695u);
}

TEST_CASE("state diff: names what differs and shows both values") {
  Sample a;
  Sample b;
  CHECK(state_diff(save(a), save(b)).empty());
  b.small = 0xff;
  b.block[20] = 0xaa;
  b.queue = {4, 5, 6, 7};
  const auto differences = state_diff(save(a), save(b));
  REQUIRE(differences.size() == 3);
  CHECK(differences[0].field == "cpu.small");
  CHECK(differences[0].left == "0x1");
  CHECK(differences[0].right == "0xff");
  CHECK(differences[1].field == "block");
  CHECK(differences[1].left == "@+20: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 ... (40 bytes)");
  CHECK(differences[1].right == "@+20: aa 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 ... (40 bytes)");
  CHECK(differences[2].field == "queue");
  CHECK(differences[2].left == "@+3: (3 bytes)");
  CHECK(differences[2].right == "@+3: 07 (4 bytes)");
}

TEST_CASE("state diff: fields that only one side has") {
  uint8_t x = 1;
  const auto left = written([&](StateVisitor& v) { v.value("only_left", x); });
  const auto right = written([&](StateVisitor& v) { v.value("only_right", x); });
  const auto differences = state_diff(left, right);
  REQUIRE(differences.size() == 2);
  CHECK(differences[0].field == "only_left");
  CHECK(differences[0].right == "(absent)");
  CHECK(differences[1].field == "only_right");
  CHECK(differences[1].left == "(absent)");
}

TEST_CASE("state archive: an event queue's due times travel") {
  EventQueue from;
  const auto id = from.add("timer", [](uint64_t) {});
  from.schedule(id, 12345);
  StateWriter writer;
  from.visit_state(writer);
  const auto archive = writer.finish();
  EventQueue to;
  to.add("timer", [](uint64_t) {});
  StateReader reader(archive);
  to.visit_state(reader);
  reader.finish();
  CHECK(to.next_due() == 12345);
}
