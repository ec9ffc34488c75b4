// The arbiter on a shared disk: one winner an epoch whoever races, whoever is killed, and whatever lies in its
// directory.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <barrier>
#include <chrono>
#include <future>
#include <map>

#include "ftlog/arbiter_file.h"
#include "ftlog/reign_directory.h"
#include "tests/ftlog_rig.h"

using namespace understudy::ftlog;
using namespace understudy::test;
using namespace std::chrono_literals;

namespace {

constexpr auto kPatience = 60s;
constexpr uint64_t kEpochs = 1000;

struct Place {
  TempDir directory;
  std::string path = directory.path() + "/arbiter";
  FileArbiter arbiter{path, kPatience};
  std::string file(uint64_t number) const { return path + "/" + reign_name(number); }
  void win(uint64_t epoch, const std::string& node) {
    REQUIRE(arbiter.try_acquire(epoch, node).verdict == Verdict::won);
  }
};

std::string refusal(Arbiter& arbiter, uint64_t epoch = 100) {
  const Lookup lookup = arbiter.current();
  CHECK_FALSE(lookup.reachable);
  const Claim claim = arbiter.try_acquire(epoch, "other");
  CHECK(claim.verdict == Verdict::unreachable);
  CHECK(claim.reason == lookup.reason);
  return claim.reason;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Claims every next epoch up to `last`; `won` hears of those that this node got.
template <typename Won>
bool claim_all(const std::string& path, const std::string& node, uint64_t last, Won won) {
  FileArbiter arbiter(path, kPatience);
  for (uint64_t epoch = 1; epoch <= last;) {
    const Claim claim = arbiter.try_acquire(epoch, node);
    if (claim.verdict == Verdict::unreachable) {
      fmt::print(stderr, "{}\n", claim.reason);
      return false;
    }
    if (claim.verdict == Verdict::won) won(epoch);
    epoch = (claim.verdict == Verdict::won ? epoch : claim.holder.epoch) + 1;
  }
  return true;
}

// A pipe's reader gets 16 bytes a win: epoch and who.
pid_t claiming_child(const Place& place, uint64_t who, uint64_t last, int told) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child != 0) return child;
  const bool good = claim_all(place.path, fmt::format("node-{}", who), last, [&](uint64_t epoch) {
    const uint64_t win[2] = {epoch, who};
    if (::write(told, win, sizeof win) != sizeof win) ::_exit(2);
  });
  ::_exit(good ? 0 : 1);
}

std::optional<Reign> record(const Place& place, uint64_t number) {
  const auto bytes = read_bytes(place.file(number));
  return decode_reign(number, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

}  // namespace

TEST_CASE("an epoch is won once, by a greater number than all before") {
  Place place;
  CHECK(place.arbiter.current().reachable);
  CHECK_FALSE(place.arbiter.current().reign);
  CHECK_FALSE(std::filesystem::exists(place.path));
  place.win(1, "a");
  CHECK(place.arbiter.current().reign == Reign{1, "a"});
  place.win(1, "a");
  Claim claim = place.arbiter.try_acquire(1, "b");
  CHECK(claim.verdict == Verdict::lost);
  CHECK(claim.holder == Reign{1, "a"});
  place.win(7, "b");
  for (const uint64_t old : {1, 6, 7}) {
    claim = place.arbiter.try_acquire(old, "a");
    CHECK(claim.verdict == Verdict::lost);
    CHECK(claim.holder == Reign{7, "b"});
  }
  place.win(UINT64_MAX, "c");
  FileArbiter again(place.path + "/", kPatience);
  CHECK(again.current().reign == Reign{UINT64_MAX, "c"});
  CHECK(again.try_acquire(UINT64_MAX, "c").verdict == Verdict::won);
  // Nothing but records is left.
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(place.path)) ++files;
  CHECK(files == 3);
}

TEST_CASE("only the first epoch may be claimed where nothing is recorded") {
  Place place;
  const Claim claim = place.arbiter.try_acquire(2, "b");
  CHECK(claim.verdict == Verdict::unreachable);
  CHECK(contains(claim.reason, "not mounted"));
  CHECK_FALSE(std::filesystem::exists(place.path));
  std::filesystem::create_directory(place.path);
  CHECK(place.arbiter.try_acquire(2, "b").verdict == Verdict::unreachable);
  place.win(1, "b");
}

TEST_CASE("epoch 0 and bad names are the caller's mistake") {
  Place place;
  CHECK_THROWS_AS(place.arbiter.try_acquire(0, "a"), ArbiterError);
  for (const auto* name : {"", "a b", "a\n", "\x80"}) CHECK_THROWS_AS(place.arbiter.try_acquire(1, name), ArbiterError);
  CHECK_THROWS_AS(place.arbiter.try_acquire(1, std::string(201, 'x')), ArbiterError);
  place.win(1, std::string(200, '~'));
  CHECK(place.arbiter.current().reign == Reign{1, std::string(200, '~')});
}

TEST_CASE("specifications") {
  CHECK_NOTHROW(open_arbiter("file:somewhere/else", 1s));
  for (const auto* bad : {"", "file", "file:", "/tmp/x", "ftp:x"}) CHECK_THROWS_AS(open_arbiter(bad, 1s), ArbiterError);
}

TEST_CASE("threads that claim the same epoch at the same time: one wins, the others hear who") {
  Place place;
  constexpr size_t kThreads = 4;
  std::barrier<> start(kThreads);
  std::vector<std::vector<Claim>> claims(kThreads);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i] {
      FileArbiter own(place.path, kPatience);
      for (uint64_t epoch = 1; epoch <= kEpochs; ++epoch) {
        start.arrive_and_wait();
        claims[i].push_back(own.try_acquire(epoch, fmt::format("thread-{}", i)));
      }
    });
  for (auto& thread : threads) thread.join();
  for (uint64_t epoch = 1; epoch <= kEpochs; ++epoch) {
    std::vector<size_t> winners;
    for (size_t i = 0; i < kThreads; ++i)
      if (claims[i][epoch - 1].verdict == Verdict::won) winners.push_back(i);
    CAPTURE(epoch);
    REQUIRE(winners.size() == 1);
    const Reign reign{epoch, fmt::format("thread-{}", winners[0])};
    for (size_t i = 0; i < kThreads; ++i) {
      if (i == winners[0]) continue;
      REQUIRE(claims[i][epoch - 1].verdict == Verdict::lost);
      REQUIRE(claims[i][epoch - 1].holder == reign);
    }
    REQUIRE(record(place, epoch) == reign);
  }
}

TEST_CASE("processes that claim all they can: every epoch has exactly one winner") {
  Place place;
  int pipe_ends[2];
  REQUIRE(::pipe(pipe_ends) == 0);
  std::vector<pid_t> children;
  for (uint64_t who = 0; who < 3; ++who) children.push_back(claiming_child(place, who, kEpochs, pipe_ends[1]));
  ::close(pipe_ends[1]);
  std::map<uint64_t, uint64_t> winners;
  for (uint64_t win[2]; ::read(pipe_ends[0], win, sizeof win) == sizeof win;)
    REQUIRE(winners.emplace(win[0], win[1]).second);
  ::close(pipe_ends[0]);
  for (const pid_t child : children) {
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
  REQUIRE(winners.size() == kEpochs);
  for (const auto& [epoch, who] : winners) REQUIRE(record(place, epoch) == Reign{epoch, fmt::format("node-{}", who)});
}

TEST_CASE("claimants killed at any moment leave every win that they told, and an arbiter that works") {
  Place place;
  std::map<uint64_t, uint64_t> winners;
  for (uint64_t round = 1; round <= 40; ++round) {
    CAPTURE(round);
    int pipe_ends[2];
    REQUIRE(::pipe(pipe_ends) == 0);
    const pid_t children[2] = {claiming_child(place, 2 * round, UINT64_MAX, pipe_ends[1]),
                               claiming_child(place, 2 * round + 1, UINT64_MAX, pipe_ends[1])};
    ::close(pipe_ends[1]);
    uint64_t win[2];
    const auto hear = [&] {
      if (::read(pipe_ends[0], win, sizeof win) != sizeof win) return false;
      REQUIRE(winners.emplace(win[0], win[1]).second);
      return true;
    };
    // Past the last win, by a part of what a claim takes.
    for (uint64_t i = 0; i <= round % 5; ++i) REQUIRE(hear());
    ::usleep(static_cast<useconds_t>(round * 197 % 4000));
    for (const pid_t child : children) ::kill(child, SIGKILL);
    while (hear()) {
    }
    ::close(pipe_ends[0]);
    for (const pid_t child : children) REQUIRE(::waitpid(child, nullptr, 0) == child);
    const Lookup lookup = place.arbiter.current();
    REQUIRE_MESSAGE(lookup.reachable, lookup.reason);
    REQUIRE(lookup.reign->epoch >= winners.rbegin()->first);
    for (const auto& [epoch, who] : winners) REQUIRE(record(place, epoch) == Reign{epoch, fmt::format("node-{}", who)});
    place.win(lookup.reign->epoch + 1, "witness");
    // Which the next round's children never are.
  }
}

TEST_CASE("a claim that ended after its link is found as won") {
  Place place;
  place.win(1, "a");
  const auto bytes = encode_reign(2, {2, "b"});
  write_bytes(place.file(2), {bytes.begin(), bytes.end()});
  CHECK(place.arbiter.try_acquire(2, "a").verdict == Verdict::lost);
  place.win(2, "b");
  CHECK_FALSE(std::filesystem::exists(place.file(3)));
}

TEST_CASE("drafts of the dead go after an hour, those of the living stay") {
  Place place;
  place.win(1, "a");
  const auto draft = [&](const char* name, time_t age) {
    write_bytes(place.path + "/" + name, {'x'});
    const timespec times[2] = {{::time(nullptr) - age, 0}, {::time(nullptr) - age, 0}};
    REQUIRE(::utimensat(AT_FDCWD, (place.path + "/" + name).c_str(), times, 0) == 0);
  };
  draft(".claim-old", 7200);
  draft(".claim-new", 60);
  draft(".other", 7200);
  place.win(2, "b");
  CHECK_FALSE(std::filesystem::exists(place.path + "/.claim-old"));
  CHECK(std::filesystem::exists(place.path + "/.claim-new"));
  CHECK(std::filesystem::exists(place.path + "/.other"));
}

TEST_CASE("what is not an arbiter's is refused with its name") {
  Place place;
  place.win(1, "a");
  place.win(2, "b");
  const std::string whole = encode_reign(2, {2, "b"});
  SUBCASE("damaged") {
    for (size_t i = 0; i < whole.size(); ++i) {
      CAPTURE(i);
      write_byte(place.file(2), i, static_cast<uint8_t>(whole[i]) ^ 1);
      REQUIRE(contains(refusal(place.arbiter), "reign-00000002 is damaged"));
      write_byte(place.file(2), i, static_cast<uint8_t>(whole[i]));
    }
    place.win(3, "c");
  }
  SUBCASE("cut") {
    for (size_t size = whole.size(); size-- > 0;) {
      REQUIRE(::truncate(place.file(2).c_str(), static_cast<off_t>(size)) == 0);
      REQUIRE(contains(refusal(place.arbiter), "is damaged"));
    }
  }
  SUBCASE("long") {
    write_bytes(place.file(2), std::vector<uint8_t>(1 << 20, '1'));
    REQUIRE(contains(refusal(place.arbiter), "is damaged"));
  }
  SUBCASE("another's number") {
    const auto bytes = read_bytes(place.file(1));
    write_bytes(place.file(3), bytes);
    CHECK(contains(refusal(place.arbiter), "reign-00000003 is damaged"));
  }
  SUBCASE("no plain file") {
    REQUIRE(::mkfifo(place.file(3).c_str(), 0600) == 0);
    CHECK(contains(refusal(place.arbiter), "reign-00000003 is not a plain file"));
    REQUIRE(::unlink(place.file(3).c_str()) == 0);
    std::filesystem::create_directory(place.file(3));
    CHECK(contains(refusal(place.arbiter), "reign-00000003 is not a plain file"));
    std::filesystem::remove(place.file(3));
    std::filesystem::create_symlink(place.file(2), place.file(3));
    CHECK(contains(refusal(place.arbiter), "reign-00000003"));
  }
  SUBCASE("a gap") {
    place.win(3, "c");
    REQUIRE(::unlink(place.file(2).c_str()) == 0);
    CHECK(contains(refusal(place.arbiter), "reign-00000002 is missing"));
  }
  SUBCASE("other names") {
    for (const std::string name : {"notes.txt", "reign-3", "reign-00000000", "reign-00000003~", "reign-000000003",
                                   "reign-99999999", "reign-18446744073709551616", "\n\x1b[2J", "reign-"}) {
      write_bytes(place.path + "/" + name, {'x'});
      const std::string reason = refusal(place.arbiter);
      CHECK(contains(reason, "needs a directory of its own"));
      CHECK(reason.find_first_of("\n\x1b") == std::string::npos);
      REQUIRE(::unlink((place.path + "/" + name).c_str()) == 0);
    }
    std::filesystem::create_directory(place.path + "/lost+found");
    place.win(3, "c");
  }
}

TEST_CASE("a path that is no directory, or has none above it") {
  const TempDir directory;
  write_bytes(directory.path() + "/file", {'x'});
  FileArbiter file(directory.path() + "/file", kPatience);
  CHECK(contains(refusal(file, 1), "Not a directory"));
  FileArbiter nowhere(directory.path() + "/a/b", kPatience);
  CHECK(contains(refusal(nowhere, 1), "the directory above it: No such file"));
}

TEST_CASE("a call that hangs costs no more than the timeout, and is told that nobody waits") {
  BoundedCalls calls(50ms);
  std::promise<void> release;
  std::promise<bool> saw_given_up;
  auto released = release.get_future().share();
  const auto hang = [released, &saw_given_up](const std::atomic<bool>& given_up) {
    released.wait();
    saw_given_up.set_value(given_up);
    return 1;
  };
  CHECK_FALSE(calls.call<int>(hang));
  CHECK_FALSE(calls.call<int>([](const std::atomic<bool>&) { return 2; }));
  release.set_value();
  CHECK(saw_given_up.get_future().get());
  std::optional<int> answer;
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!answer && std::chrono::steady_clock::now() < end)
    answer = calls.call<int>([](const std::atomic<bool>&) { return 3; });
  CHECK(answer == 3);
}
