// State transfer between two machines known by heart: equal ones come out, and of what no sender sends, nothing.
#include <doctest/doctest.h>

#include <map>
#include <random>

#include "backup/state_receiver.h"
#include "primary/state_sender.h"
#include "tests/replay_rig.h"

using namespace understudy;
using namespace understudy::test;
using backup::StateReceiver;
using backup::StateTransferError;
using primary::StateChunkKind;
using primary::StateChunkSequence;
using primary::StateSender;

namespace {

using Chunk = std::vector<uint8_t>;

// A drive that the guest does not know: pages over a base of its own.
class FakeStore : public emu::PagedStore {
 public:
  explicit FakeStore(uint64_t count) : changes_(count) {}
  std::string_view store_name() const override { return "fake"; }
  uint64_t store_pages() const override { return changes_.pages(); }
  void read_page(uint64_t page, std::span<uint8_t, kPageBytes> to) override {
    std::fill(to.begin(), to.end(), uint8_t{0xb5});
    if (const auto found = pages.find(page); found != pages.end())
      std::copy(found->second.begin(), found->second.end(), to.begin());
  }
  void write_page(uint64_t page, std::span<const uint8_t, kPageBytes> from) override {
    if (broken) throw std::runtime_error("the host's disk is full");
    pages[page].assign(from.begin(), from.end());
    changes_.note(page);
  }
  bool is_base(uint64_t page) override { return !pages.contains(page); }
  void make_base(uint64_t page) override {
    pages.erase(page);
    changes_.note(page);
  }
  void make_all_base() override {
    pages.clear();
    changes_.note_all();
  }
  emu::ChangeMap::Mark mark() override { return changes_.mark(); }
  void for_each_changed(emu::ChangeMap::Mark since, const std::function<void(uint64_t page)>& call) override {
    for (uint64_t page = 0; page < changes_.pages(); ++page)
      if (changes_.changed_since(page, since)) call(page);
  }
  std::map<uint64_t, std::vector<uint8_t>> pages;
  bool broken = false;

 private:
  emu::ChangeMap changes_;
};

struct Node {
  explicit Node(Guest guest = Guest::counts, uint64_t store_pages = 600) : toy(guest), store(store_pages) {
    toy.machine().add(store);
  }
  emu::Machine& machine() { return toy.machine(); }
  void run(uint64_t instructions) {
    REQUIRE(machine().run(machine().icount() + instructions) == emu::MachineStop::limit);
  }
  ToyMachine toy;
  FakeStore store;
};

void check_equal(Node& left, Node& right) {
  CHECK(left.machine().digest() == right.machine().digest());
  CHECK(left.machine().icount() == right.machine().icount());
  CHECK(left.machine().now_ns() == right.machine().now_ns());
  CHECK(left.store.pages == right.store.pages);
}

// Changes pages of both stores as a guest and its drive would.
void scribble(Node& node, std::mt19937_64& random) {
  for (uint64_t i = random() % 40; i > 0; --i) {
    std::array<uint8_t, emu::PagedStore::kPageBytes> bytes{};
    if (random() % 4 != 0)
      for (auto& byte : bytes) byte = static_cast<uint8_t>(random() % 3 == 0 ? random() : 7);
    // Behind what the guest itself uses.
    if (random() % 2 == 0)
      node.machine().memory().store(0x10000 + random() % 240 * 4096, bytes);
    else if (random() % 4 == 0)
      node.store.make_base(random() % 600);
    else
      node.store.write_page(random() % 600, bytes);
  }
}

// A transfer's chunks, with the sender's machine at the end of it.
std::vector<Chunk> transfer(Node& from, uint64_t seed) {
  std::mt19937_64 random(seed);
  scribble(from, random);
  std::vector<Chunk> chunks;
  const auto sink = [&chunks](Chunk&& chunk) { chunks.push_back(std::move(chunk)); };
  StateSender sender(from.machine());
  for (int i = 0; i < 6; ++i) {
    sender.step(1 + random() % 60, sink);
    from.run(1 + random() % 5000);
    scribble(from, random);
  }
  sender.finish(sink);
  return chunks;
}

std::string refusal(const std::vector<Chunk>& chunks, size_t* refused_at = nullptr) {
  Node node;
  StateReceiver receiver(node.machine());
  try {
    for (size_t i = 0; i < chunks.size(); ++i) {
      if (refused_at != nullptr) *refused_at = i;
      if (receiver.accept(chunks[i])) return "complete";
    }
  } catch (const StateTransferError& error) {
    // For good.
    CHECK_THROWS_AS(receiver.accept(chunks[0]), StateTransferError);
    return error.what();
  }
  return "not complete";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Bodies with true checksums, whatever they are.
std::vector<Chunk> sealed(const std::vector<std::pair<StateChunkKind, Chunk>>& bodies) {
  StateChunkSequence sequence;
  std::vector<Chunk> chunks;
  for (const auto& [kind, body] : bodies) chunks.push_back(sequence.seal(kind, body));
  return chunks;
}
std::vector<std::pair<StateChunkKind, Chunk>> bodies_of(const std::vector<Chunk>& chunks) {
  StateChunkSequence sequence;
  std::vector<std::pair<StateChunkKind, Chunk>> bodies;
  for (const Chunk& chunk : chunks) {
    const primary::StateChunk opened = sequence.open(chunk);
    bodies.emplace_back(opened.kind, Chunk(opened.body.begin(), opened.body.end()));
  }
  return bodies;
}

}  // namespace

TEST_CASE("the receiver's machine equals the sender's, and both go on alike") {
  for (const Guest guest : {Guest::counts, Guest::sleeps})
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      CAPTURE(seed);
      Node from(guest), to(guest);
      if (seed % 2 == 0) {
        // What was there before is dropped.
        std::mt19937_64 random(seed + 1000);
        scribble(to, random);
      }
      StateReceiver receiver(to.machine());
      const auto chunks = transfer(from, seed);
      for (size_t i = 0; i < chunks.size(); ++i) {
        CHECK(chunks[i].size() <= primary::kMaxStateChunk);
        REQUIRE(receiver.accept(chunks[i]) == (i + 1 == chunks.size()));
      }
      CHECK(receiver.progress().chunks == chunks.size());
      check_equal(from, to);
      CHECK_THROWS_AS(receiver.accept(chunks.back()), StateTransferError);
      for (Node* node : {&from, &to}) {
        node->toy.type("x");
        node->run(20'000);
      }
      check_equal(from, to);
    }
}

TEST_CASE("finish() alone sends everything; step() counts down to what changes meanwhile") {
  Node from, to;
  std::mt19937_64 random(3);
  for (int i = 0; i < 10; ++i) scribble(from, random);
  std::vector<Chunk> chunks;
  const auto sink = [&chunks](Chunk&& chunk) { chunks.push_back(std::move(chunk)); };
  SUBCASE("alone") {
    StateSender sender(from.machine());
    sender.finish(sink);
    CHECK(sender.counts().rounds == 1);
    CHECK(sender.counts().resent_pages == 0);
  }
  SUBCASE("in rounds") {
    StateSender sender(from.machine());
    uint64_t left = sender.step(10, sink);
    const uint64_t first = left;
    while (left > 0) {
      const uint64_t now = sender.step(10, sink);
      REQUIRE(now == (left > 10 ? left - 10 : 0));
      left = now;
    }
    CHECK(sender.counts().rounds == 1);
    CHECK(sender.counts().pages <= first + 10);
    CHECK(sender.counts().resent_pages == 0);
    from.toy.type("x");
    from.run(1000);
    CHECK(sender.step(0, sink) > 0);
    sender.finish(sink);
    CHECK(sender.counts().rounds == 3);
    CHECK(sender.counts().resent_pages > 0);
    CHECK(sender.counts().resent_pages < 10);
    uint64_t bytes = 0;
    for (const Chunk& chunk : chunks) bytes += chunk.size();
    CHECK(sender.counts().bytes == bytes);
    CHECK(sender.counts().chunks == chunks.size());
  }
  StateReceiver receiver(to.machine());
  bool complete = false;
  for (const Chunk& chunk : chunks) complete = receiver.accept(chunk);
  CHECK(complete);
  check_equal(from, to);
}

TEST_CASE("pages that do not compress fit into a chunk, and those that went back to their base go back") {
  Node from, to;
  std::mt19937_64 random(5);
  std::vector<uint8_t> noise(1 << 20);
  for (auto& byte : noise) byte = static_cast<uint8_t>(random());
  from.machine().memory().store(0x10000, std::span(noise).first(240 * 4096));
  for (uint64_t page = 0; page < 600; ++page)
    from.store.write_page(page, std::span(noise).subspan(page % 256 * 4096).first<4096>());
  StateReceiver receiver(to.machine());
  size_t largest = 0;
  bool complete = false;
  const auto sink = [&](Chunk&& chunk) {
    largest = std::max(largest, chunk.size());
    complete = receiver.accept(chunk);
  };
  StateSender sender(from.machine());
  sender.step(10'000, sink);
  CHECK(largest > 900'000);
  CHECK(largest <= primary::kMaxStateChunk);
  const std::vector<uint8_t> zeros(100 * 4096);
  from.machine().memory().store(0x20000, zeros);
  for (uint64_t page = 100; page < 500; ++page) from.store.make_base(page);
  sender.finish(sink);
  CHECK(complete);
  check_equal(from, to);
  CHECK(to.store.pages.size() == 200);
}

TEST_CASE("chunks that are changed, cut, lost, doubled or moved are refused where they come") {
  Node from;
  const std::vector<Chunk> good = transfer(from, 9);
  REQUIRE(refusal(good) == "complete");
  REQUIRE(good.size() > 6);
  std::mt19937_64 random(1);
  size_t at = 0;
  for (size_t i = 0; i < good.size(); ++i) {
    CAPTURE(i);
    for (int k = 0; k < 6; ++k) {
      auto bad = good;
      // Heads more often than their share.
      const size_t byte = random() % (k < 3 ? primary::kStateChunkHead : bad[i].size());
      bad[i][byte] = static_cast<uint8_t>(bad[i][byte] ^ 1u << random() % 8);
      CAPTURE(byte);
      REQUIRE(contains(refusal(bad, &at), "state transfer: "));
      REQUIRE(at == i);
      bad[i] = good[i];
      bad[i].resize(random() % bad[i].size());
      REQUIRE(contains(refusal(bad, &at), "state transfer: "));
      REQUIRE(at == i);
    }
    auto bad = good;
    bad[i].push_back(0);
    REQUIRE(contains(refusal(bad, &at), "checksum"));
    bad = good;
    bad.insert(bad.begin() + static_cast<ptrdiff_t>(i), bad[i]);
    // The last one's double comes when all is over.
    REQUIRE((i + 1 == good.size() || contains(refusal(bad, &at), "came instead of")));
    bad = good;
    bad.erase(bad.begin() + static_cast<ptrdiff_t>(i));
    const std::string lost = refusal(bad, &at);
    REQUIRE((i + 1 == good.size() ? lost == "not complete" : contains(lost, "came instead of")));
    if (i + 1 == good.size()) continue;
    bad = good;
    std::swap(bad[i], bad[i + 1]);
    REQUIRE(contains(refusal(bad, &at), "came instead of"));
    REQUIRE(at == i);
  }
  // Of another transfer, with the same number.
  Node other;
  const std::vector<Chunk> second = transfer(other, 10);
  for (size_t i = 1; i < std::min(good.size(), second.size()); ++i) {
    auto bad = good;
    bad[i] = second[i];
    REQUIRE(contains(refusal(bad, &at), "checksum"));
    REQUIRE(at == i);
  }
  CHECK(contains(refusal({{}}), "0 bytes"));
  CHECK(contains(refusal({Chunk(primary::kMaxStateChunk + 1)}), "bytes"));
}

TEST_CASE("another machine's state is refused") {
  Node from;
  const std::vector<Chunk> chunks = transfer(from, 1);
  Node other(Guest::counts, 599);
  StateReceiver receiver(other.machine());
  CHECK_THROWS_WITH_AS(receiver.accept(chunks[0]), "state transfer: the sender's machine has other memory or drives",
                       StateTransferError);
}

TEST_CASE("a disk that fails under the receiver is its refusal") {
  Node from, to;
  const std::vector<Chunk> chunks = transfer(from, 1);
  StateReceiver receiver(to.machine());
  to.store.broken = true;
  std::string what;
  try {
    for (const Chunk& chunk : chunks) receiver.accept(chunk);
  } catch (const StateTransferError& error) {
    what = error.what();
  }
  CHECK(what == "state transfer: the host's disk is full");
}

TEST_CASE("sealed with true checksums, but not what a sender sends") {
  Node from;
  const auto good = bodies_of(transfer(from, 4));
  REQUIRE(refusal(sealed(good)) == "complete");
  const auto with = [&](size_t i, Chunk body) {
    auto bodies = good;
    bodies[i].second = std::move(body);
    return refusal(sealed(bodies));
  };
  const size_t end = good.size() - 1, archive = end - 1;
  REQUIRE(good[archive].first == StateChunkKind::archive);
  SUBCASE("the order of kinds") {
    for (size_t i = 0; i < good.size(); ++i) {
      auto bodies = good;
      bodies.erase(bodies.begin() + static_cast<ptrdiff_t>(i));
      const std::string said = refusal(sealed(bodies));
      // A pages chunk less is another machine at the end, unless the same pages come again later.
      CHECK(said != "");
      if (i == 0 || i == archive) CHECK(contains(said, "out of place"));
      if (i == end) CHECK(said == "not complete");
    }
    auto bodies = good;
    bodies.insert(bodies.begin() + 1, good[0]);
    CHECK(contains(refusal(sealed(bodies)), "out of place"));
    bodies = good;
    std::swap(bodies[archive], bodies[archive - 1]);
    CHECK(contains(refusal(sealed(bodies)), "out of place"));
    CHECK(contains(refusal(sealed({good[0], good[end]})), "out of place"));
  }
  SUBCASE("the begin") {
    Chunk body = good[0].second;
    CHECK(contains(with(0, {}), "this is none"));
    CHECK(contains(with(0, Chunk(body.begin(), body.begin() + 19)), "this is none"));
    body[8] ^= 2;
    CHECK(contains(with(0, body), "version 3, this program takes 1"));
    body[8] ^= 2;
    body.push_back('x');
    CHECK(contains(with(0, body), "other memory or drives"));
  }
  SUBCASE("the archive") {
    Chunk body = good[archive].second;
    CHECK(contains(with(archive, {}), "does not unpack"));
    body.pop_back();
    CHECK(contains(with(archive, body), "does not unpack"));
    // A frame that promises 2^60 bytes.
    CHECK(contains(with(archive, {0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x01, 0, 0}),
                   "does not unpack"));
    StateChunkSequence sequence;
    Node to;
    StateReceiver receiver(to.machine());
    receiver.accept(sequence.seal(StateChunkKind::begin, good[0].second));
    const Chunk piece(primary::kMaxStateChunk - primary::kStateChunkHead);
    std::string what;
    int pieces = 0;
    try {
      for (; pieces < 1000; ++pieces) receiver.accept(sequence.seal(StateChunkKind::archive, piece));
    } catch (const StateTransferError& error) {
      what = error.what();
    }
    CHECK(pieces == 64);
    CHECK(contains(what, "too long"));
  }
  SUBCASE("the end") {
    for (size_t i = 0; i < good[end].second.size(); ++i) {
      Chunk body = good[end].second;
      body[i] ^= 0x10;
      CHECK(contains(with(end, body), "another than the sender's"));
    }
    CHECK(contains(with(end, {}), "another than the sender's"));
  }
  SUBCASE("anything, changed at random") {
    std::mt19937_64 random(77);
    for (int round = 0; round < 600; ++round) {
      auto bodies = good;
      for (uint64_t i = 1 + random() % 3; i > 0; --i) {
        auto& [kind, body] = bodies[random() % bodies.size()];
        switch (random() % 5) {
          case 0:
            body.resize(random() % (body.size() + 1));
            break;
          case 1:
            kind = static_cast<StateChunkKind>(1 + random() % 4);
            break;
          default:
            // The heads of sections are near the start.
            if (!body.empty())
              body[random() % std::min<size_t>(body.size(), random() % 2 ? 100 : body.size())] ^= 1u << random() % 8;
        }
      }
      const std::string said = refusal(sealed(bodies));
      // It may have hit what comes again, or is not looked at.
      CHECK((said == "complete" || said == "not complete" || contains(said, "state transfer: ")));
    }
  }
}
