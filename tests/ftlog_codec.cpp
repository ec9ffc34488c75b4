// ftlog/codec: what goes in comes out, in few bytes, and hostile bytes do no harm.
#include <doctest/doctest.h>

#include <random>

#include "ftlog/codec.h"
#include "tests/ftlog_rig.h"

using namespace understudy::ftlog;
using understudy::test::EntrySource;
using understudy::test::make_entries;

namespace {

std::vector<LogEntry> decode(const Encoder& encoder) {
  Decoder decoder(encoder.block_start(), encoder.body(), encoder.entries());
  std::vector<LogEntry> entries;
  for (LogEntry entry; decoder.next(entry);) entries.push_back(entry);
  CHECK(decoder.state() == encoder.state());
  return entries;
}

size_t size_of(Encoder& encoder, uint64_t icount, uint64_t virtual_ns, const Payload& payload) {
  const size_t before = encoder.body().size();
  encoder.append(icount, virtual_ns, payload);
  return encoder.body().size() - before;
}

}  // namespace

TEST_CASE("entries of every kind survive, in blocks that decode on their own") {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    const auto entries = make_entries(seed, 300, true);
    Encoder encoder;
    std::vector<LogEntry> decoded;
    bool kinds[kEntryKinds + 1] = {};
    for (const auto& entry : entries) {
      kinds[static_cast<size_t>(entry.kind())] = true;
      CHECK(encoder.append(entry.icount, entry.virtual_ns, entry.payload) == entry.sequence);
      if (entry.sequence % 17 != 0) continue;
      for (auto& back : decode(encoder)) decoded.push_back(std::move(back));
      encoder.begin_block();
    }
    for (auto& back : decode(encoder)) decoded.push_back(std::move(back));
    CHECK(decoded == entries);
    for (size_t kind = 1; kind <= kEntryKinds; ++kind) CHECK(kinds[kind]);
  }
}

TEST_CASE("a key stroke on the clock's line takes a few bytes") {
  Encoder encoder;
  CHECK(size_of(encoder, 1000, 4000, Input{3, {0x1c}}) == 6);        // kind, two of count, channel, length, byte
  CHECK(size_of(encoder, 1000, 4000, Input{3, {0x9c}}) == 4);        // the same count is not written
  CHECK(size_of(encoder, 1001, 4004, Reset{}) == 2);                 // no time
  CHECK(size_of(encoder, 1002, 4008 + 50, Reset{}) == 3);            // off the line by a little
  CHECK(size_of(encoder, 1003, 4012 + 50, Reset{}) == 2);            // which is now the line
  CHECK(size_of(encoder, 1004, 4016 + 50, ClockChange{1500}) == 4);  // another rate
  CHECK(size_of(encoder, 3004, 4016 + 50 + 3000, Reset{}) == 3);     // is predicted too
  CHECK(size_of(encoder, 3004, 4016 + 50 + 3000, StateDigest{1, 2, 3}) == 25);
}

TEST_CASE("bulky payloads are compressed where that helps") {
  Encoder encoder;
  const std::vector<uint8_t> zeros(4096);
  CHECK(size_of(encoder, 1, 4, BlockDone{0, 512, true, zeros}) < 60);
  std::vector<uint8_t> noise(4096);
  std::mt19937_64 random(1);
  for (auto& byte : noise) byte = static_cast<uint8_t>(random());
  CHECK(size_of(encoder, 2, 8, Input{1, noise}) == 4096 + 5);
  const auto entries = decode(encoder);
  CHECK(std::get<BlockDone>(entries[0].payload).bytes == zeros);
  CHECK(std::get<Input>(entries[1].payload).bytes == noise);
}

TEST_CASE("among inputs that do not shrink, those that do are found again soon") {
  Encoder encoder;
  std::mt19937 random(7);
  std::vector<LogEntry> entries;
  uint64_t icount = 0;
  const auto add = [&](Bytes bytes) {
    const size_t before = encoder.body().size();
    ++icount;
    entries.push_back({encoder.append(icount, 4 * icount, Input{1, bytes}), icount, 4 * icount, Input{1, bytes}});
    return encoder.body().size() - before;
  };
  const Bytes plain(1500, 'x');
  Bytes noise(1500);
  CHECK(add(plain) < 60);
  for (int n = 0; n < 100; ++n) {
    for (auto& byte : noise) byte = static_cast<uint8_t>(random());
    CHECK(add(noise) <= noise.size() + 6);
  }
  int large = 0;
  while (add(plain) > 60) REQUIRE(++large < 16);
  for (int n = 0; n < 100; ++n) CHECK(add(plain) < 60);
  // A single one costs the one after it.
  CHECK(add(noise) > 1000);
  CHECK(add(plain) > 1000);
  CHECK(add(plain) < 60);
  CHECK(decode(encoder) == entries);
}

TEST_CASE("extreme counts and times") {
  Encoder encoder({UINT64_MAX - 10, 5, 7, UINT64_MAX});
  std::vector<LogEntry> entries;
  const auto add = [&](uint64_t icount, uint64_t ns, const Payload& payload) {
    entries.push_back({encoder.append(icount, ns, payload), icount, ns, payload});
  };
  add(5, 7, Epoch{UINT64_MAX});
  add(6, UINT64_MAX, ClockChange{0});
  add(UINT64_MAX, UINT64_MAX, End{EndReason::error, INT32_MIN});
  CHECK(decode(encoder) == entries);
}

TEST_CASE("an encoder refuses what would not be an entry, and stays as it was") {
  Encoder encoder;
  encoder.append(100, 400, Reset{});
  const Bytes before(encoder.body().begin(), encoder.body().end());
  const CodecState state = encoder.state();
  CHECK_THROWS_AS(encoder.append(99, 400, Reset{}), std::invalid_argument);
  CHECK_THROWS_AS(encoder.append(100, 399, Reset{}), std::invalid_argument);
  CHECK_THROWS_AS(encoder.append(100, 400, Input{0, Bytes(kMaxInputBytes + 1)}), std::invalid_argument);
  CHECK_THROWS_AS(encoder.append(100, 400, BlockDone{0, 0, true, Bytes(kMaxBlockBytes + 1)}), std::invalid_argument);
  CHECK_THROWS_AS(encoder.append(100, 400, Start{0, Pacing::paced, std::string(kMaxStartText + 1, 'x')}),
                  std::invalid_argument);
  for (const char* name : {"", "../snap", "a/b", ".hidden", "new\nline"})
    CHECK_THROWS_AS(encoder.append(100, 400, Snapshot{name, 0, 0}), std::invalid_argument);
  CHECK_THROWS_AS(encoder.append(100, 400, End{static_cast<EndReason>(kEndReasons), 0}), std::invalid_argument);
  CHECK(Bytes(encoder.body().begin(), encoder.body().end()) == before);
  CHECK(encoder.state() == state);
  encoder.append(100, 400, Input{0, Bytes(kMaxInputBytes)});
  encoder.append(100, 400, BlockDone{0, 0, true, Bytes(kMaxBlockBytes)});
  CHECK(decode(encoder).size() == 3);
}

TEST_CASE("the largest entry stays within its bound") {
  Encoder encoder;
  std::mt19937_64 random(1);
  Bytes noise(kMaxBlockBytes);
  for (auto& byte : noise) byte = static_cast<uint8_t>(random());
  CHECK(size_of(encoder, UINT64_MAX, UINT64_MAX / 2, BlockDone{UINT16_MAX, UINT64_MAX, true, noise}) <=
        kMaxEncodedEntry);
}

TEST_CASE("a decoder says what is wrong with hostile bytes") {
  const auto problem = [](const Bytes& body, uint32_t entries = 1) {
    Decoder decoder({}, body, entries);
    LogEntry entry;
    try {
      while (decoder.next(entry)) {
      }
    } catch (const DecodeError& error) {
      CHECK(error.position() <= body.size());
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(problem({0x84}) == "");  // a reset at count 0
  CHECK(problem({}) == "the bytes end within an entry");
  CHECK(problem({0x84}, 2) == "the bytes end within an entry");
  CHECK(problem({0x84, 0x84}) == "there are bytes after the last entry");
  CHECK(problem({0x80}) == "no entry kind 0 is known");
  CHECK(problem({0x8b}) == "no entry kind 11 is known");
  CHECK(problem({0x9f}) == "no entry kind 31 is known");
  CHECK(problem({0xa4}) == "this kind of entry is never compressed");
  CHECK(problem({0x04, 0x00}) == "an impossible instruction count");
  CHECK(problem({0x04, 0x01, 0x04, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 2) ==
        "an impossible instruction count");
  CHECK(problem({0x04, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02}) ==
        "a number is longer than 64 bits");
  CHECK(problem({0x04, 0x01, 0xc4, 0x01}, 2) == "time goes backwards");
  CHECK(problem({0x82, 0x80, 0x80, 0x04}) == "a channel is too large");
  CHECK(problem({0x82, 0x01, 0x81, 0x80, 0x04}) == "a payload is too large");
  CHECK(problem({0x82, 0x01, 0x80, 0x80, 0x04}) == "the bytes end within an entry");
  CHECK(problem({0xa2, 0x01, 0x80, 0x02, 0x03, 1, 2, 3}) == "a payload does not unpack to its size");
  CHECK(problem({0x81, 0x00, 0x02, 0x00}) == "the pacing is too large");
  CHECK(problem({0x87, 0x03, '.', '.', '/', 0, 0, 0, 0, 0, 0, 0, 0, 0}) ==
        "a snapshot's name is not a plain file name");
  CHECK(problem({0x8a, kEndReasons, 0x00}) == "the reason of the end is too large");
  CHECK(problem({0x8a, 0x00, 0x80, 0x80, 0x80, 0x80, 0x20}) == "the exit code is too large");
}

TEST_CASE("a frame that unpacks to another size than it says is refused") {
  Encoder encoder;
  encoder.append(0, 0, Input{1, Bytes(1000, 'x')});
  Bytes body(encoder.body().begin(), encoder.body().end());
  REQUIRE(body[0] == 0xa2);
  for (const uint16_t size : {999, 1001}) {
    body[2] = static_cast<uint8_t>(size | 0x80);
    body[3] = static_cast<uint8_t>(size >> 7);
    Decoder decoder({}, body, 1);
    LogEntry entry;
    CHECK_THROWS_AS(decoder.next(entry), DecodeError);
  }
}

TEST_CASE("seeded mutations of encoded blocks decode or are refused") {
  std::mt19937_64 random(7);
  for (int round = 0; round < 3000; ++round) {
    EntrySource source(round % 50, 600);
    Encoder encoder;
    for (int i = 0; i < 12; ++i) {
      const LogEntry entry = source.next();
      encoder.append(entry.icount, entry.virtual_ns, entry.payload);
    }
    Bytes body(encoder.body().begin(), encoder.body().end());
    for (uint64_t change = random() % 4 + 1; change > 0; --change) {
      const size_t at = random() % body.size();
      switch (random() % 4) {
        case 0:
          body[at] = static_cast<uint8_t>(body[at] ^ 1u << random() % 8);
          break;
        case 1:
          body[at] = static_cast<uint8_t>(random());
          break;
        case 2:
          body.insert(body.begin() + static_cast<ptrdiff_t>(at), static_cast<uint8_t>(random()));
          break;
        default:
          if (body.size() > 1) body.erase(body.begin() + static_cast<ptrdiff_t>(at));
      }
    }
    Decoder decoder(encoder.block_start(), body, encoder.entries());
    uint64_t last_icount = 0, last_ns = 0;
    uint32_t count = 0;
    try {
      for (LogEntry entry; decoder.next(entry); ++count) {
        // Whatever comes out keeps the promises that the rest builds on.
        REQUIRE(entry.icount >= last_icount);
        REQUIRE(entry.virtual_ns >= last_ns);
        last_icount = entry.icount;
        last_ns = entry.virtual_ns;
        if (const auto* input = std::get_if<Input>(&entry.payload)) REQUIRE(input->bytes.size() <= kMaxInputBytes);
        if (const auto* snapshot = std::get_if<Snapshot>(&entry.payload)) REQUIRE(is_snapshot_name(snapshot->file));
      }
      REQUIRE(count == encoder.entries());
    } catch (const DecodeError& error) {
      REQUIRE(error.position() <= body.size());
    }
  }
}
