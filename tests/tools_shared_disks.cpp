// Shared disks and their servers: the NBD client, the worker that asks it in order, and the hub with replicas that are
// links without machines.
#include <doctest/doctest.h>

#include <algorithm>

#include "primary/hub_disk_query.h"
#include "tests/hub_rig.h"
#include "tests/nbd_server.h"
#include "tools/disk_worker.h"
#include "tools/recipe.h"
#include "tools/serial_backend.h"
#include "tools/shared_disks.h"

using namespace understudy;
using namespace understudy::test;
using namespace std::chrono_literals;
using devices::HostNbd;
using emu::BlockOperation;
using emu::BlockRequest;
using tools::DiskWorker;
using Bytes = std::vector<uint8_t>;

namespace {

constexpr uint64_t kSize = 1 << 20;

BlockRequest write_of(uint64_t number, uint64_t offset, uint8_t value, size_t size = 512) {
  return {number, BlockOperation::write, offset, static_cast<uint32_t>(size), Bytes(size, value)};
}
BlockRequest read_of(uint64_t number, uint64_t offset, uint32_t size = 512) {
  return {number, BlockOperation::read, offset, size, {}};
}

// What a worker says.
struct Heard {
  std::mutex mutex;
  std::vector<std::pair<uint64_t, emu::BlockAnswer>> answers;
  std::vector<std::string> reports;

  DiskWorker::Done done() {
    return [this](uint64_t epoch, emu::BlockAnswer answer) {
      const std::lock_guard lock(mutex);
      answers.emplace_back(epoch, std::move(answer));
    };
  }
  DiskWorker::Report report() {
    return [this](const std::string& line) {
      const std::lock_guard lock(mutex);
      reports.push_back(line);
    };
  }
  bool has(size_t count) {
    return eventually([&] {
      const std::lock_guard lock(mutex);
      return answers.size() >= count;
    });
  }
  bool says(const std::string& words) {
    return eventually([&] {
      const std::lock_guard lock(mutex);
      return std::any_of(reports.begin(), reports.end(),
                         [&](const std::string& line) { return line.find(words) != std::string::npos; });
    });
  }
};

}  // namespace

TEST_SUITE("disks") {
  TEST_CASE("nbd: what is written is read, at the server and here; out of range fails") {
    HubFolder folder;
    NbdServer server(folder / "", kSize);
    server.start();
    HostNbd nbd(server.uri());
    Bytes back(2048);
    CHECK(nbd.read(0, back) == HostNbd::Outcome::gone);
    const HostNbd::Shape shape = nbd.open(10s);
    CHECK(shape.bytes == kSize);
    CHECK_FALSE(shape.read_only);
    CHECK(nbd.write(512, Bytes(1024, 7), true) == HostNbd::Outcome::done);
    CHECK(nbd.flush() == HostNbd::Outcome::done);
    CHECK(nbd.read(0, back) == HostNbd::Outcome::done);
    Bytes wanted(2048);
    std::fill_n(wanted.begin() + 512, 1024, uint8_t{7});
    CHECK(back == wanted);
    CHECK(server.read(0, 2048) == wanted);
    CHECK(nbd.read(kSize, back) == HostNbd::Outcome::failed);
    CHECK_FALSE(nbd.error().empty());
    CHECK(nbd.read(0, back) == HostNbd::Outcome::done);
    server.kill();
    CHECK(nbd.read(0, back) == HostNbd::Outcome::gone);
    CHECK_THROWS_AS(nbd.open(10s), devices::NbdError);
    server.start();
    nbd.open(10s);
    CHECK(nbd.read(0, back) == HostNbd::Outcome::done);
  }

  TEST_CASE("nbd: a wait for a server that says nothing can be ended") {
    HubFolder folder;
    NbdServer server(folder / "", kSize);
    server.start();
    HostNbd nbd(server.uri());
    nbd.open(10s);
    server.kill(SIGSTOP);
    std::thread stopper([&] { nbd.stop(); });
    Bytes bytes(512);
    CHECK(nbd.read(0, bytes) == HostNbd::Outcome::stopped);
    stopper.join();
  }

  TEST_CASE("worker: one after the other, in order, and a failure is an answer") {
    HubFolder folder;
    NbdServer server(folder / "", kSize);
    server.start();
    Heard heard;
    DiskWorker worker("data", server.uri(), heard.done(), heard.report());
    for (uint64_t n = 1; n <= 100; ++n) CHECK(worker.ask({1, false, write_of(n, 0, static_cast<uint8_t>(n))}));
    CHECK(worker.ask({1, false, read_of(101, 0)}));
    CHECK(worker.ask({1, false, read_of(102, kSize)}));
    REQUIRE(heard.has(102));
    for (uint64_t n = 1; n <= 102; ++n) CHECK(heard.answers[n - 1].second.number == n);
    CHECK(heard.answers[100].second.data == Bytes(512, 100));
    CHECK_FALSE(heard.answers[101].second.ok);
    CHECK(heard.says("a read of 512 bytes at 1048576 failed"));
    CHECK(worker.counts().writes == 100);
    CHECK(worker.counts().failed == 1);
  }

  TEST_CASE("worker: requests wait for a server that is away; those of an epoch that is over are not begun") {
    HubFolder folder;
    NbdServer server(folder / "", kSize);
    server.start();
    Heard heard;
    DiskWorker worker("data", server.uri(), heard.done(), heard.report());
    CHECK(worker.ask({1, false, write_of(1, 0, 1)}));
    REQUIRE(heard.has(1));
    server.kill();
    CHECK(worker.ask({1, false, write_of(2, 0, 2)}));
    CHECK(worker.ask({1, false, write_of(3, 512, 3)}));
    CHECK(heard.says("is gone"));
    CHECK(worker.ask({2, false, read_of(4, 0, 1024)}));
    worker.fence(2);
    server.start();
    CHECK(heard.says("is back"));
    REQUIRE(heard.has(2));
    CHECK(heard.answers[1].first == 2);
    Bytes wanted(1024);
    std::fill_n(wanted.begin(), 512, uint8_t{1});
    CHECK(heard.answers[1].second.data == wanted);
    CHECK(worker.counts().superseded == 2);
    CHECK(worker.drain(10s));
  }

  TEST_CASE("worker: it takes no more than it can hold") {
    HubFolder folder;
    NbdServer server(folder / "", kSize);
    server.start();
    Heard heard;
    DiskWorker worker("data", server.uri(), heard.done(), heard.report());
    server.kill(SIGSTOP);
    for (size_t n = 1; n <= DiskWorker::kMaxWaiting; ++n) CHECK(worker.ask({1, false, read_of(n, 0)}));
    CHECK_FALSE(worker.ask({1, false, read_of(1000, 0)}));
  }
}

namespace {

// A replica that only asks disks.
class DiskReplica {
 public:
  DiskReplica(const std::string& address, const std::string& node)
      : link_({address, node, nullptr,
               [this](const std::string& disk, emu::BlockAnswer answer) {
                 const std::lock_guard lock(mutex_);
                 CHECK(disk == "data");
                 answers_.push_back(std::move(answer));
               }},
              {}, {}, {}) {}
  primary::HubLink* operator->() { return &link_; }
  bool has(size_t count) {
    return eventually([&] { return answers().size() >= count; });
  }
  std::vector<emu::BlockAnswer> answers() {
    const std::lock_guard lock(mutex_);
    return answers_;
  }

 private:
  std::mutex mutex_;
  std::vector<emu::BlockAnswer> answers_;
  primary::HubLink link_;  // goes first
};

struct HubRig {
  HubFolder folder;
  NbdServer server{folder / "", kSize};
  tools::HubOptions options;
  std::optional<RunningHub> hub;

  HubRig() {
    server.start();
    options.listen = "ipc://" + (folder / "hub");
    options.disks = {"data=" + (folder / "disk.sock")};
  }
  RunningHub& start() { return hub.emplace(options); }
};

}  // namespace

TEST_SUITE("disks") {
  TEST_CASE("hub: it says what its disks are, and that it has none of a name") {
    HubRig rig;
    rig.start();
    const primary::HubDisk disk = primary::ask_hub_for_disk(rig.options.listen, nullptr, "data", 10s);
    CHECK(disk.bytes == kSize);
    CHECK_FALSE(disk.read_only);
    CHECK_THROWS_WITH_AS(primary::ask_hub_for_disk(rig.options.listen, nullptr, "other", 10s),
                         doctest::Contains("no disk named other"), primary::HubLinkError);
    CHECK_THROWS_AS(primary::ask_hub_for_disk("ipc://" + (rig.folder / "nobody"), nullptr, "data", 100ms),
                    primary::HubLinkError);
    tools::RunOptions run;
    run.virtio_disks = {"hub:data"};
    run = tools::with_hub_disks(run, rig.options.listen, nullptr);
    CHECK(run.shared_disks.at("hub:data") == tools::SharedShape{kSize, false});
    const tools::RunOptions again = tools::options_of_recipe(tools::recipe_of(run, true), "a test");
    CHECK(again.shared_disks == run.shared_disks);
    CHECK(again.virtio_disks == run.virtio_disks);
    run.disks = {rig.server.uri()};
    CHECK_THROWS_AS(tools::with_hub_disks(run, rig.options.listen, nullptr), tools::UsageError);
  }

  TEST_CASE(
      "hub: only the live replica reaches a disk, each request is answered once, and an older epoch changes nothing") {
    HubRig rig;
    rig.start();
    DiskReplica north(rig.options.listen, "north"), south(rig.options.listen, "south");
    // These wait for the announcement.
    CHECK(north->send_disk("data", write_of(1, 0, 1)));
    CHECK(north->send_disk("data", read_of(2, 0)));
    CHECK(north->send_disk("data", read_of(2, 0)));  // the same again, while it is out
    north->announce(1, 0, 0);
    REQUIRE(north.has(2));
    CHECK(north.answers()[1].data == Bytes(512, 1));
    // South goes on with a request that north has out too; what north asks from then on is dropped.
    south->announce(2, 0, 0);
    CHECK(south->send_disk("data", write_of(3, 0, 3)));
    REQUIRE(south.has(1));
    CHECK(eventually([&] { return north->is_fenced(); }));
    CHECK(north->send_disk("data", write_of(4, 0, 4)));
    CHECK(south->send_disk("data", read_of(4, 0)));
    REQUIRE(south.has(2));
    CHECK(south.answers()[1].data == Bytes(512, 3));
    CHECK(north.answers().size() == 2);
    CHECK(rig.server.read(0, 512) == Bytes(512, 3));
    CHECK(rig.hub->count("/disks/0/writes") == 2);
  }

  TEST_CASE("hub: a sender that does not know that it is fenced changes nothing and is counted") {
    HubRig rig;
    rig.start();
    DiskReplica south(rig.options.listen, "south");
    south->announce(2, 0, 0);
    CHECK(south->send_disk("data", write_of(1, 0, 2)));
    REQUIRE(south.has(1));
    zmq::context_t context;
    zmq::socket_t old(context, zmq::socket_type::dealer);
    old.set(zmq::sockopt::linger, 10000);
    old.connect(rig.options.listen);
    namespace hub = primary::hub;
    old.send(zmq::buffer(hub::encode(hub::ToHub(hub::DiskRequest{1, false, "data", write_of(1, 0, 1)}))));
    old.send(zmq::buffer(hub::encode(hub::ToHub(hub::DiskRequest{2, false, "data", write_of(2, 0, 1)}))));
    CHECK(rig.hub->reaches("/fenced/disk", 2));
    CHECK(rig.server.read(0, 512) == Bytes(512, 2));
    CHECK(rig.hub->count("/disks/0/writes") == 1);
  }

  TEST_CASE("hub: requests outlive it, and its disk's server") {
    HubRig rig;
    rig.options.journal = rig.folder / "journal";
    rig.start();
    DiskReplica north(rig.options.listen, "north");
    north->announce(1, 0, 0);
    CHECK(north->send_disk("data", write_of(1, 0, 1)));
    REQUIRE(north.has(1));
    rig.hub.reset();
    CHECK(north->send_disk("data", write_of(2, 512, 2)));
    CHECK(north->send_disk("data", read_of(3, 0, 1024)));
    rig.start();
    REQUIRE(north.has(3));
    Bytes wanted(1024, 1);
    std::fill_n(wanted.begin() + 512, 512, uint8_t{2});
    CHECK(north.answers()[2].data == wanted);
    rig.server.kill();
    CHECK(north->send_disk("data", write_of(4, 1024, 4)));
    CHECK(rig.hub->reaches("/disks/0/waiting", 1));
    rig.server.start();
    REQUIRE(north.has(4));
    CHECK(north.answers()[3].ok);
    CHECK(rig.server.read(1024, 512) == Bytes(512, 4));
  }

  TEST_CASE("hub: disks that are none are refused in one line") {
    HubRig rig;
    const std::vector<std::string> bad_ones = {"data", "da/ta=" + rig.server.uri(), "data=/dev/null", "=x"};
    for (const std::string& bad : bad_ones) {
      rig.options.disks = {bad};
      CHECK_THROWS_AS(tools::HubServer hub(rig.options), tools::UsageError);
    }
    rig.options.disks = {"data=" + rig.server.uri(), "data=" + rig.server.uri()};
    CHECK_THROWS_AS(tools::HubServer hub(rig.options), tools::UsageError);
    rig.server.kill();
    rig.options.disks = {"data=" + rig.server.uri()};
    CHECK_THROWS_AS(tools::HubServer hub(rig.options), devices::NbdError);
  }
}
