#include <doctest/doctest.h>

#include <random>

#include "ftlog/channel_message.h"
#include "ftlog/segment_format.h"

using namespace understudy::ftlog;

namespace {

std::vector<ChannelMessage> one_of_each() {
  const CodecState state{7, 1000, 4000, 4100};
  const Horizon horizon{6, 2000, 9000};
  return {{0, Hello{"0.1.0", "north/1a2b"}},
          {3, Ready{"memory: 64 MiB\n"}},
          {3, Ack{12, horizon, true, 7, true, 11}},
          {3, Failed{"diverged"}},
          {3, Welcome{"0.1.0", "south", "memory: 64 MiB\n", {-5, Pacing::paced, "{}"}, true, 400, 100}},
          {3, Refusal{true, "another backup is here"}},
          {3, StateChunk{Bytes(1000, 0x5a)}},
          {3, StateEnd{state, {{0, 1, 2, 3}, {5, 6, 7, ~0ull}}}},
          {3, Engaged{}},
          {3, LogBlock{state, 2, {1, 2, 3}, horizon, 5, 12}},
          {3, Beat{horizon, 5, 9, 13}},
          {3, Handover{99}},
          {~0ull, Goodbye{"the guest switched off"}}};
}

Bytes with_checksum(Bytes bytes) {
  bytes.resize(bytes.size() - 8);
  put_u64(bytes, checksum(bytes));
  return bytes;
}

}  // namespace

TEST_CASE("channel: every kind of message comes back as it went") {
  CHECK(one_of_each().size() == std::variant_size_v<ChannelPayload>);
  for (const ChannelMessage& message : one_of_each()) {
    CAPTURE(name_of(message.payload));
    CHECK(decode_channel_message(encode(message)) == message);
  }
}

TEST_CASE("channel: an idle pair's heartbeat is small") {
  CHECK(encode({12, Beat{{123456, 1'000'000'000'000, 4'000'000'000'000}, 123456}}).size() <= 48);
}

TEST_CASE("channel: each single flipped bit and each cut is seen") {
  for (const ChannelMessage& message : one_of_each()) {
    const Bytes good = encode(message);
    for (size_t bit = 0; bit < good.size() * 8; ++bit) {
      Bytes bad = good;
      bad[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
      CHECK_THROWS_AS(decode_channel_message(bad), DecodeError);
    }
    for (size_t size = 0; size < good.size(); ++size)
      CHECK_THROWS_AS(decode_channel_message(std::span(good).first(size)), DecodeError);
  }
}

TEST_CASE("channel: another version is named, and can still refuse") {
  Bytes hello = encode({1, Hello{"9.9", "future"}});
  hello[3] = kChannelVersion + 1;
  CHECK_THROWS_AS(decode_channel_message(with_checksum(hello)), ChannelVersionError);
  Bytes refusal = encode({1, Refusal{false, "too old"}});
  refusal[3] = kChannelVersion + 1;
  CHECK(std::get<Refusal>(decode_channel_message(with_checksum(refusal)).payload).reason == "too old");
}

TEST_CASE("channel: bytes with a true checksum and anything else inside are an error or a message, nothing worse") {
  std::mt19937 random(4);
  const auto seeds = one_of_each();
  unsigned refused = 0;
  for (unsigned round = 0; round < 50'000; ++round) {
    Bytes bytes = encode(seeds[random() % seeds.size()]);
    for (unsigned n = random() % 4 + 1; n != 0; --n)
      bytes[random() % (bytes.size() - 8)] = static_cast<uint8_t>(random());
    if (random() % 4 == 0) bytes.resize(8 + random() % (bytes.size() - 8));
    if (bytes.size() > 8) bytes = with_checksum(bytes);
    try {
      const ChannelMessage message = decode_channel_message(bytes);
      CHECK(decode_channel_message(encode(message)) == message);
    } catch (const DecodeError&) {
      ++refused;
    }
  }
  CHECK(refused > 1000);
}

TEST_CASE("channel: a field beyond its bounds is not sent") {
  CHECK_THROWS_AS(encode({1, StateChunk{Bytes(kMaxStateChunk + 1)}}), std::invalid_argument);
  CHECK_THROWS_AS(encode({1, Hello{std::string(kMaxChannelText + 1, 'x'), ""}}), std::invalid_argument);
}
