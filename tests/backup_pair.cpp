// What a primary and a backup each do when the other is well, silent, late, different or wrong.
#include <random>

#include "tests/toy_pair.h"

using namespace understudy;
using namespace understudy::test;
using namespace std::chrono_literals;

TEST_CASE("pair: a backup says how far it is although the log brings nothing and its beats are far apart") {
  LocalArbiter arbiter;
  const std::string address = new_address();
  ToyPrimary primary(arbiter, address, 600s, true);
  ToyBackup backup(address);
  REQUIRE(backup.join());
  const uint64_t before = primary.link->status().replayed.virtual_ns;
  CHECK(backup.follow_until([&] { return primary.link->status().replayed.virtual_ns > before + 100'000'000; }));
}

TEST_CASE("pair: what little was replayed is told without waiting for a beat") {
  LockStep pair(600s, true);
  pair.north.stand_still();
  emu::Machine& machine = pair.north.toy.machine();
  // One instruction more; the nanoseconds that passed.
  const auto step = [&] {
    const uint64_t before = machine.now_ns();
    machine.run(machine.icount() + 1);
    pair.north.link->tell_where();
    return machine.now_ns() - before;
  };
  const auto is_told = [&] {
    return pair.south.follow_until([&] { return pair.north.link->status().replayed.icount == machine.icount(); });
  };
  // Out of its sleep, if that is where it was.
  while (step() > 1'000'000) continue;
  REQUIRE(is_told());
  for (int i = 0; i < 3; ++i) {
    REQUIRE(step() < 1'000'000);
    CHECK(is_told());
  }
}

TEST_CASE("pair: a primary whose backup takes the log and does not acknowledge it stops at a bound, and goes on") {
  LocalArbiter arbiter;
  const std::string address = new_address();
  constexpr uint64_t kBound = 20'000;
  ToyPrimary north(arbiter, address, 60'000ms, false, kBound);
  MuteBackup south(address);
  REQUIRE(await([&] { return south.engaged() && north.state() == primary::PairState::lock_step; }));
  const std::string out = north.out();
  REQUIRE(await([&] {
    north.toy.type(std::string(500, 'x'));
    return north.link->full();
  }));
  // It stands still there, and nothing has left.
  REQUIRE(await([&] { return south.heard() == north.link->status().appended; }));
  CHECK(north.out() == out);
  CHECK(north.link->status().acknowledged < north.link->status().appended);
  south.acknowledge();
  CHECK(await([&] { return !north.link->full() && north.out().size() > out.size(); }));
  CHECK(north.state() == primary::PairState::lock_step);
}

TEST_CASE("pair: a log that is no log makes a backup that never takes over, says so, and joins again") {
  const std::string address = new_address();
  FalsePrimary north(address);
  for (const int attempt : {1, 2}) {
    backup::PrimaryLink::Options o;
    o.socket.role = ftlog::ChannelSocket::Role::connected;
    o.socket.address = address;
    o.socket.name = o.node = "south";
    o.build = "test";
    backup::PrimaryLink south(std::move(o));
    REQUIRE(south.join(kPatience));
    CHECK(north.hellos() >= attempt);
    south.ready("machine: toy\n");
    REQUIRE(await([&] { return north.is_ready(); }));
    ftlog::StateEnd end;
    end.log.sequence = 5;
    north.say(end);
    ftlog::Bytes chunk;
    CHECK_FALSE(south.next_chunk(chunk));
    REQUIRE(south.state_end());
    north.say(ftlog::Engaged{});
    ftlog::LogBlock block;
    block.start = end.log;
    block.entries = 3;
    block.body = {0xff, 0xff, 0xff, 0xff, 0xff};
    north.say(block);
    REQUIRE(await([&] { return south.wait(5ms) == backup::LinkEvent::failed; }));
    CHECK(south.trouble().find("the primary's log is damaged") == 0);
    REQUIRE(await([&] { return north.failed().find("damaged") != std::string::npos; }));
  }
}

TEST_CASE("pair: a backup joins a running machine, follows it, and its machine is the same") {
  LocalArbiter arbiter;
  const std::string address = new_address();
  ToyPrimary north(arbiter, address);
  north.toy.type("before");
  ToyBackup south(address);
  REQUIRE(south.join());
  REQUIRE(south.follow_until([&] { return south.link.engaged() && north.state() == primary::PairState::lock_step; }));
  for (const char* text : {"a", "bc", "def"}) {
    const size_t before = north.out().size();
    north.toy.type(text);
    REQUIRE(south.follow_until([&] { return north.out().size() > before; }));
  }
  const uint64_t proofs = south.replayer->proofs();
  CHECK(south.follow_until([&] { return south.replayer->proofs() > proofs + 3; }));
  CHECK(north.link->status().backups_joined == 1);
  CHECK(south.link.status().gaps == 0);
}

TEST_CASE("pair: much input is on its way to the backup while the machine still works on it") {
  LockStep pair;
  pair.north.stand_still();
  const emu::Machine& machine = pair.north.toy.machine();
  const uint64_t before = pair.north.link->last();
  std::minstd_rand random(1);
  for (int frame = 0; frame < 60; ++frame) {
    // What does not compress.
    ftlog::Input input{0, std::vector<uint8_t>(1500)};
    for (uint8_t& byte : input.bytes) byte = static_cast<uint8_t>(random() >> 16);
    pair.north.link->append(machine.icount(), machine.now_ns(), input);
  }
  CHECK(await([&] { return pair.south.link.status().received > before + 40; }));
}

TEST_CASE("pair: what comes in is acknowledged with what waits for it, when it is much, or a little later") {
  LockStep pair(600s, true);
  pair.north.stand_still();
  pair.north.link->tell_where();
  const emu::Machine& machine = pair.north.toy.machine();
  const auto is_acknowledged = [&] { return pair.north.link->status().acknowledged == pair.north.link->last(); };
  REQUIRE(pair.south.follow_until(
      [&] { return is_acknowledged() && pair.north.link->status().replayed.icount == machine.icount(); }));
  // Nobody runs the backup's machine from here on, and its beats are far apart.
  std::minstd_rand random(1);
  const auto send = [&](ftlog::Payload payload) {
    if (auto* input = std::get_if<ftlog::Input>(&payload))
      for (uint8_t& byte : input->bytes) byte = static_cast<uint8_t>(random() >> 16);
    pair.north.link->append(machine.icount(), machine.now_ns(), payload);
    pair.north.link->service(pair.north.recorder->sums());
  };
  const auto send_some = [&] {
    for (int i = 0; i < 10; ++i) send(ftlog::Input{0, std::vector<uint8_t>(1000)});
    return await([&] { return pair.south.link.status().received == pair.north.link->last(); });
  };
  const uint64_t said = pair.south.link.status().channel.messages_out;
  REQUIRE(send_some());
  CHECK(pair.south.link.status().channel.messages_out == said);
  SUBCASE("an output") {
    send(ftlog::OutputMark{0, 0, 0});
    CHECK(await(is_acknowledged));
  }
  SUBCASE("a lot") {
    const uint64_t acknowledged = pair.north.link->status().acknowledged;
    for (int i = 0; i < 260; ++i) send(ftlog::Input{0, std::vector<uint8_t>(1000)});
    CHECK(await([&] { return pair.north.link->status().acknowledged > acknowledged + 200; }));
    CHECK(pair.south.link.status().channel.messages_out < said + 5);
  }
  SUBCASE("a little later, by who waits for more") {
    for (ftlog::LogEntry entry; pair.south.link.next(entry);) continue;
    std::thread waits([&] { pair.south.link.wait(60s); });
    CHECK(await(is_acknowledged));
    send(ftlog::OutputMark{0, 0, 0});
    waits.join();
  }
}

TEST_CASE("pair: nothing leaves a primary whose backup has fallen silent, until the arbiter has spoken") {
  LocalArbiter arbiter;
  const std::string address = new_address();
  ToyPrimary north(arbiter, address, 300ms);
  auto south = std::make_unique<ToyBackup>(address);
  REQUIRE(south->join());
  REQUIRE(south->follow_until([&] { return south->link.engaged(); }));
  arbiter.reachable = false;
  south.reset();
  REQUIRE(await([&] { return north.state() == primary::PairState::deciding; }));
  // What its last acknowledgements covered has left by now; the machine goes on.
  const std::string out = north.out();
  REQUIRE(await([&] { return north.outputs.counts().held > 100; }));
  CHECK(north.out() == out);
  arbiter.reachable = true;
  REQUIRE(await([&] { return north.state() == primary::PairState::alone; }));
  CHECK(await([&] { return north.out().size() > out.size(); }));
  CHECK(await([&] { return north.epochs_logged == 1; }));
  CHECK(north.link->status().epoch == 2);
  SUBCASE("and another backup may join") {
    ToyBackup next(address);
    REQUIRE(next.join());
    CHECK(next.follow_until([&] { return next.link.engaged(); }));
    CHECK(next.link.epoch() == 2);
  }
}

TEST_CASE("pair: a primary that is silent is found out, and its successor has everything that left") {
  LockStep pair(300ms);
  for (int i = 0; i < 50; ++i) {
    const size_t before = pair.north.out().size();
    pair.north.toy.type("x");
    REQUIRE(pair.south.follow_until([&] { return pair.north.out().size() > before; }));
  }
  pair.north.kill();
  REQUIRE(await([&] {
    pair.south.step();
    return pair.south.link.wait(5ms) == backup::LinkEvent::lost;
  }));
  CHECK(pair.south.replayer->sums()[0].bytes >= pair.north.out().size());
  CHECK(pair.arbiter.try_acquire(2, "south").verdict == ftlog::Verdict::won);
  // What is still here was not delivered, as far as the primary could say, or only just.
  pair.south.outputs.drop(pair.south.link.status().delivered);
  CHECK(pair.south.outputs.next_offset(0) <= pair.north.out().size());
}

// Its first word, and the log's last block, may be lost with a connection.
TEST_CASE("pair: a primary that hands over goes on to name all that its backup must have") {
  LockStep pair;
  pair.north.stand_still();
  const uint64_t before = pair.north.link->last();
  pair.north.recorder->new_epoch(1);
  REQUIRE(pair.north.link->last() > before);
  REQUIRE(pair.north.link->hand_over());
  CHECK(pair.north.link->status().horizon.sequence == pair.north.link->last());
  CHECK(pair.north.link->status().appended == pair.north.link->last());
}

TEST_CASE("pair: a deposed primary stops, and lets nothing out") {
  LockStep pair(300ms);
  REQUIRE(pair.arbiter.try_acquire(2, "south").verdict == ftlog::Verdict::won);
  pair.south.link.leave("took over");
  REQUIRE(await([&] { return pair.north.state() == primary::PairState::deposed; }));
  const std::string out = pair.north.out();
  std::this_thread::sleep_for(50ms);
  CHECK(pair.north.out() == out);
  CHECK(pair.north.link->verdict() == "south reigns in epoch 2");
}

TEST_CASE("pair: another build and another machine are refused, with what differs") {
  LocalArbiter arbiter;
  const std::string address = new_address();
  ToyPrimary north(arbiter, address);
  {
    ToyBackup other(address, "newer");
    CHECK_FALSE(other.join());
    CHECK(other.link.refused()->reason == "build newer where this primary has test");
    CHECK_FALSE(other.link.refused()->busy);
  }
  ToyBackup other(address);
  CHECK_FALSE(other.join("machine: another\n"));
  REQUIRE(other.link.refused());
  CHECK(other.link.refused()->reason.find("machine") != std::string::npos);
  CHECK(north.state() == primary::PairState::alone);
}

TEST_CASE("pair: one backup is enough: a second one is asked to wait") {
  LockStep pair;
  backup::PrimaryLink::Options o;
  o.socket.role = ftlog::ChannelSocket::Role::connected;
  o.socket.address = pair.address;
  o.socket.name = o.node = "east";
  o.build = "test";
  backup::PrimaryLink east(std::move(o));
  CHECK_FALSE(east.join(kPatience));
  REQUIRE(east.refused());
  CHECK(east.refused()->busy);
}

TEST_CASE("pair: a backup that diverges is given up, and never had the epoch") {
  LockStep pair;
  const uint8_t flipped = 0x80;
  pair.south.toy.machine().memory().store(0x3000, {&flipped, 1});
  backup::ReplayStop stop = backup::ReplayStop::starved;
  REQUIRE(await([&] { return (stop = pair.south.step()) != backup::ReplayStop::starved; }));
  CHECK(stop == backup::ReplayStop::diverged);
  CHECK(pair.south.replayer->divergence()->ram);
  pair.south.link.fail("diverged");
  REQUIRE(await([&] { return pair.north.state() == primary::PairState::alone; }));
  CHECK(pair.north.link->status().epoch == 2);
  CHECK(pair.arbiter.try_acquire(2, "south").verdict == ftlog::Verdict::lost);
}
