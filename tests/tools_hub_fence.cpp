#include <doctest/doctest.h>

#include "tools/hub_fence.h"

using namespace understudy::tools;
using understudy::primary::hub::Announce;
using Answer = HubFence::Answer;

namespace {

Answer announce(HubFence& fence, const std::string& id, uint64_t epoch, uint64_t instance, uint64_t now = 0) {
  return fence.announce(*fence.heard(id, 7), Announce{epoch, instance, 0, 0, "node-" + std::to_string(instance)}, now);
}
bool admits(HubFence& fence, const std::string& id, uint64_t epoch, FencedKind kind = FencedKind::frame) {
  return fence.admits(*fence.heard(id, 7), epoch, kind);
}
uint64_t dropped(const HubFence& fence, FencedKind kind) { return fence.dropped()[static_cast<size_t>(kind)]; }

}  // namespace

TEST_SUITE("hub") {
  TEST_CASE("fence: the highest epoch reigns, and only it is let in") {
    HubFence fence;
    CHECK(fence.reign() == nullptr);
    CHECK_FALSE(admits(fence, "a", 1));  // not announced
    CHECK(fence.unannounced() == 1);
    CHECK(announce(fence, "a", 1, 11, 100) == Answer::reigns);
    CHECK(admits(fence, "a", 1));
    CHECK(fence.live() == "a");
    CHECK_FALSE(admits(fence, "b", 2));  // an epoch alone is no announcement
    CHECK(announce(fence, "b", 2, 22, 200) == Answer::reigns);
    CHECK(fence.live() == "b");
    CHECK_FALSE(admits(fence, "a", 1));
    CHECK_FALSE(admits(fence, "a", 1, FencedKind::console));
    CHECK_FALSE(admits(fence, "a", 1, FencedKind::disk));
    CHECK_FALSE(admits(fence, "a", 2));
    CHECK_FALSE(admits(fence, "b", 1));
    CHECK_FALSE(admits(fence, "b", 3));
    CHECK(admits(fence, "b", 2));
    CHECK(dropped(fence, FencedKind::frame) == 6);
    CHECK(dropped(fence, FencedKind::console) == 1);
    CHECK(dropped(fence, FencedKind::disk) == 1);
    CHECK(announce(fence, "a", 1, 11) == Answer::older);
    CHECK(announce(fence, "a", 2, 11) == Answer::taken);
    CHECK_FALSE(admits(fence, "a", 2));  // a refused announcement makes nobody live
    CHECK(announce(fence, "b", 1, 22) == Answer::older);
    CHECK(dropped(fence, FencedKind::announce) == 3);
    CHECK(fence.same_epoch() == 1);
    REQUIRE(fence.reigns().size() == 2);
    CHECK(fence.reigns()[0].node == "node-11");
    CHECK(fence.reigns()[1].began_ns == 200);
  }

  TEST_CASE("fence: a replica that comes back on another connection reigns on") {
    HubFence fence;
    fence.heard("a", 5);
    CHECK(announce(fence, "a", 3, 11) == Answer::reigns);
    CHECK_FALSE(fence.disconnected(6));
    fence.heard("new", 5);  // the system has used the number again
    CHECK(announce(fence, "new", 3, 11) == Answer::again);
    CHECK(fence.live() == "new");
    const auto gone = fence.disconnected(5);
    REQUIRE(gone);
    CHECK(gone->first == "a");
    CHECK(fence.live() == "new");
    CHECK(admits(fence, "new", 3));
    CHECK_FALSE(admits(fence, "a", 3));
    CHECK(fence.reign_count() == 1);
    CHECK(fence.disconnected(5)->first == "new");
    CHECK(fence.live().empty());
    CHECK(fence.reign()->epoch == 3);  // and nobody older takes its place
    CHECK(announce(fence, "b", 2, 22) == Answer::older);
  }

  TEST_CASE("fence: what an earlier hub let in is remembered") {
    HubFence fence;
    Reign reign;
    reign.epoch = 4;
    reign.instance = 11;
    reign.node = "left";
    fence.remember(reign);
    CHECK(announce(fence, "b", 3, 22) == Answer::older);
    CHECK(announce(fence, "b", 4, 22) == Answer::taken);
    CHECK(announce(fence, "a", 4, 11) == Answer::again);
    CHECK(admits(fence, "a", 4));
    CHECK(announce(fence, "b", 5, 22) == Answer::reigns);
  }

  TEST_CASE("fence: reigns know their outputs, and there are bounds") {
    HubFence fence;
    announce(fence, "a", 1, 11);
    fence.note_output(FencedKind::frame, 60, 1000);
    fence.note_output(FencedKind::console, 5, 1500);
    fence.note_output(FencedKind::frame, 60, 2000);
    CHECK(fence.reign()->first_output_ns == 1000);
    CHECK(fence.reign()->last_output_ns == 2000);
    CHECK(fence.reign()->frames == 2);
    CHECK(fence.reign()->console_bytes == 5);
    for (uint64_t epoch = 2; epoch <= 200; ++epoch) announce(fence, "a", epoch, 11);
    CHECK(fence.reigns().size() == HubFence::kMaxReigns);
    CHECK(fence.reign_count() == 200);
    for (int i = 0; i < 1000; ++i) fence.heard("x" + std::to_string(i), 100 + i);
    CHECK(fence.peers().size() == HubFence::kMaxPeers);
    CHECK(fence.heard("one more", 1) == nullptr);
    CHECK(fence.heard("a", 1) != nullptr);
  }
}
