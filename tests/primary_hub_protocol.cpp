#include <doctest/doctest.h>

#include <random>
#include <string>

#include "primary/hub_protocol.h"

using namespace understudy::primary::hub;
using understudy::emu::BlockOperation;
using understudy::ftlog::Bytes;
using understudy::ftlog::DecodeError;
using View = std::span<const uint8_t>;

namespace {

const Bytes kPayload(60, 0xa5);
Bytes packed(const std::vector<size_t>& sizes) {
  Bytes bytes;
  for (const size_t size : sizes) {
    bytes.push_back(static_cast<uint8_t>(size));
    bytes.push_back(static_cast<uint8_t>(size >> 8));
    bytes.insert(bytes.end(), size, 0xa5);
  }
  return bytes;
}
const Bytes kBatch = packed({60, kMinFrame, kMaxFrame});
const std::string kLongName(kMaxNode, 'n'), kLongDisk(kMaxDiskName, 'd');
constexpr uint64_t kBig = UINT64_MAX;

std::vector<ToHub> all_to_hub() {
  return {Announce{7, kBig, 5, kBig, "left"},
          Announce{kBig, 0, 0, 0, kLongName},
          FramesOut{1, kBatch},
          ConsoleOut{3, kBig - 60, kPayload},
          ConsoleOut{3, 0, View(kPayload).first(1)},
          ConsoleTaken{9, kBig},
          AskDisk{"data"},
          DiskRequest{5, true, "data", {kBig, BlockOperation::write, kBig - 60, 60, kPayload}},
          DiskRequest{5, false, kLongDisk, {1, BlockOperation::read, 512, kMaxDiskBytes, {}}},
          DiskRequest{5, false, "d", {2, BlockOperation::flush, 0, 0, {}}}};
}
std::vector<ToReplica> all_to_replica() {
  return {Accepted{7, 1, 2},
          Fenced{8, "right"},
          FramesIn{kBatch},
          ConsoleIn{77, kPayload},
          ConsoleDelivered{kBig},
          DiskShape{true, true, kBig, "data"},
          DiskShape{false, false, 0, kLongDisk},
          DiskAnswer{5, "data", {kBig, true, kPayload}},
          DiskAnswer{kBig, "d", {1, false, {}}}};
}

Bytes decode_and_encode(View bytes, ToHub) { return encode(decode_to_hub(bytes)); }
Bytes decode_and_encode(View bytes, ToReplica) { return encode(decode_to_replica(bytes)); }

// What was accepted must be exactly what encode() makes.
template <typename Message>
bool accepts(View bytes, Message tag) {
  Bytes again;
  try {
    again = decode_and_encode(bytes, tag);
  } catch (const DecodeError&) {
    return false;
  }
  REQUIRE(again == Bytes(bytes.begin(), bytes.end()));
  return true;
}

Bytes with(Bytes head, View tail) {
  head.insert(head.end(), tail.begin(), tail.end());
  return head;
}

template <typename Message>
void damage(const std::vector<Message>& messages, unsigned rounds) {
  std::minstd_rand random(4);
  for (const auto& message : messages) {
    const Bytes good = encode(message);
    CHECK(accepts(good, Message{}));
    for (size_t length = 0; length < good.size(); ++length) accepts(View(good).first(length), Message{});
    for (unsigned n = 0; n < rounds; ++n) {
      Bytes bad = good;
      for (unsigned flips = 1 + random() % 3; flips > 0; --flips)
        bad[random() % bad.size()] = static_cast<uint8_t>(random());
      accepts(bad, Message{});
    }
  }
  for (unsigned n = 0; n < rounds; ++n) {
    Bytes noise = encode(messages[0]);
    noise.resize(5 + random() % 80);
    noise[4] = static_cast<uint8_t>(random() % 8 | (random() % 2) << 7);
    for (size_t i = 5; i < noise.size(); ++i) noise[i] = static_cast<uint8_t>(random());
    accepts(noise, Message{});
  }
}

}  // namespace

TEST_CASE("hub protocol: what is said is understood") {
  const Bytes announce = encode(ToHub(Announce{7, 8, 9, 10, "left"}));
  CHECK(std::get<Announce>(decode_to_hub(announce)) == Announce{7, 8, 9, 10, "left"});
  const Bytes out = encode(ToHub(ConsoleOut{3, 1000, kPayload}));
  const auto console = std::get<ConsoleOut>(decode_to_hub(out));
  CHECK(console.epoch == 3);
  CHECK(console.offset == 1000);
  CHECK(std::equal(console.bytes.begin(), console.bytes.end(), kPayload.begin(), kPayload.end()));
  const Bytes fenced = encode(ToReplica(Fenced{8, "right"}));
  CHECK(std::get<Fenced>(decode_to_replica(fenced)) == Fenced{8, "right"});
  const Bytes accepted = encode(ToReplica(Accepted{1, 2, 3}));
  CHECK(std::get<Accepted>(decode_to_replica(accepted)) == Accepted{1, 2, 3});
  for (const auto& message : all_to_hub()) CHECK(encode(message).size() <= kMaxMessage);
}

TEST_CASE("hub protocol: bounds are kept") {
  Bytes head = encode(ToHub(FramesOut{1, kBatch}));
  head.resize(head.size() - kBatch.size());
  const auto frames = [&head](const std::vector<size_t>& sizes) { return accepts(with(head, packed(sizes)), ToHub{}); };
  CHECK(frames({kMinFrame}));
  CHECK(frames({kMaxFrame}));
  CHECK(frames({kMaxFrame, kMinFrame, 60}));
  CHECK_FALSE(frames({}));
  CHECK_FALSE(frames({0}));
  CHECK_FALSE(frames({kMinFrame - 1}));
  CHECK_FALSE(frames({kMaxFrame + 1}));
  CHECK_FALSE(frames({60, kMinFrame - 1, 60}));
  CHECK_FALSE(frames({60, 0}));
  const Bytes whole = with(head, packed({60, 60}));
  for (size_t less = 1; less < 62; ++less)
    CHECK_FALSE(accepts(View(whole).first(whole.size() - less), ToHub{}));  // ends within a frame, or its length
  const std::vector<size_t> full((FrameBatch::kMaxBytes - 100) / (kMinFrame + 2), kMinFrame);
  CHECK(frames(full));
  CHECK_FALSE(frames(std::vector<size_t>(FrameBatch::kMaxBytes / (kMinFrame + 2) + 1, kMinFrame)));
  const Bytes last = encode(ToHub(ConsoleOut{1, kBig - 1, View(kPayload).first(1)}));
  CHECK(accepts(last, ToHub{}));
  CHECK_FALSE(accepts(with(last, View(kPayload).first(1)), ToHub{}));  // beyond 64 bits
  CHECK_FALSE(accepts(View(last).first(last.size() - 1), ToHub{}));    // no bytes
  const Bytes console = encode(ToHub(ConsoleOut{1, 0, View(kPayload).first(1)}));
  CHECK(accepts(with(console, Bytes(kMaxConsole - 1)), ToHub{}));
  CHECK_FALSE(accepts(with(console, Bytes(kMaxConsole)), ToHub{}));
  CHECK_FALSE(accepts(with(encode(ToHub(ConsoleTaken{1, 2})), View(kPayload).first(1)), ToHub{}));
  Bytes zero = encode(ToHub(ConsoleTaken{1, 2}));
  zero[5] = 0;  // epoch 0
  CHECK_FALSE(accepts(zero, ToHub{}));
  // Neither side takes the other's messages.
  for (const auto& message : all_to_hub()) CHECK_FALSE(accepts(encode(message), ToReplica{}));
  for (const auto& message : all_to_replica()) CHECK_FALSE(accepts(encode(message), ToHub{}));
}

TEST_CASE("hub protocol: names of nodes") {
  CHECK(is_node_name("left"));
  CHECK(is_node_name(kLongName));
  CHECK_FALSE(is_node_name(""));
  CHECK_FALSE(is_node_name(kLongName + "n"));
  CHECK_FALSE(is_node_name("a b"));
  CHECK_FALSE(is_node_name("a\n"));
  CHECK_FALSE(is_node_name("\xc3\xa4"));
  Bytes message = encode(ToHub(Announce{1, 2, 3, 4, "left"}));
  message.back() = '\n';
  CHECK_FALSE(accepts(message, ToHub{}));
}

TEST_CASE("hub protocol: what is asked of a disk, and its bounds") {
  for (const auto& message : all_to_hub())
    if (const auto* request = std::get_if<DiskRequest>(&message)) {
      const Bytes bytes = encode(message);
      CHECK(std::get<DiskRequest>(decode_to_hub(bytes)) == *request);
    }
  for (const auto& message : all_to_replica()) {
    const Bytes bytes = encode(message);
    if (const auto* answer = std::get_if<DiskAnswer>(&message))
      CHECK(std::get<DiskAnswer>(decode_to_replica(bytes)) == *answer);
    if (const auto* shape = std::get_if<DiskShape>(&message))
      CHECK(std::get<DiskShape>(decode_to_replica(bytes)) == *shape);
  }
  const Bytes read = encode(ToHub(DiskRequest{1, false, "d", {1, BlockOperation::read, 0, kMaxDiskBytes, {}}}));
  CHECK(accepts(read, ToHub{}));
  Bytes longer = read;
  ++longer[longer.size() - 4];  // the length's lowest byte
  CHECK_FALSE(accepts(longer, ToHub{}));
  const Bytes answer = encode(ToReplica(DiskAnswer{1, "d", {1, true, Bytes(kMaxDiskBytes)}}));
  CHECK(answer.size() <= kMaxMessage);
  CHECK(accepts(answer, ToReplica{}));
  CHECK_FALSE(accepts(with(answer, Bytes(1)), ToReplica{}));
  CHECK(is_disk_name("a.B_9-"));
  CHECK_FALSE(is_disk_name(""));
  CHECK_FALSE(is_disk_name("a/b"));
  CHECK_FALSE(is_disk_name(kLongDisk + "d"));
}

TEST_CASE("hub protocol: another version is told as such") {
  Bytes message = encode(ToHub(ConsoleTaken{1, 2}));
  message[3] = kVersion + 1;
  CHECK_THROWS_WITH_AS(decode_to_hub(message), "speaks version 5 of the hub's protocol, this program version 4",
                       VersionError);
  message = encode(ToReplica(OtherVersion{}));
  message[3] = kVersion - 1;
  CHECK_THROWS_AS(decode_to_replica(message), VersionError);
}

TEST_CASE("hub protocol: any bytes are either a message or none") {
  damage(all_to_hub(), 2000);
  damage(all_to_replica(), 2000);
}

TEST_SUITE("fuzz") {
  TEST_CASE("hub protocol: many bytes") {
    damage(all_to_hub(), 300000);
    damage(all_to_replica(), 300000);
  }
}
