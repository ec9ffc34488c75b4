// The timeline on recordings of our own guests: every point is the same state however it is reached, and every search
// ends where a reference, stepped through from the start, has the hit.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "tests/timeline_reference.h"

using namespace understudy;
using namespace understudy::test;
using tools::Condition;
using tools::Direction;
using tools::Mark;
using tools::Stop;
using tools::Timeline;
using tools::Watchpoint;

namespace {

// Addresses that the guest uses between two counts: of its operands there, some more than others.
std::vector<uint64_t> used_addresses(const std::string& directory, std::mt19937_64& chance, size_t many) {
  tools::ReplaySession session(directory);
  emu::Machine& machine = session.machine();
  const emu::EngineCpu& cpu = machine.cpu().engine().cpu();
  tools::InstructionDecoder decoder;
  tools::TouchedMemory operands(machine);
  std::vector<uint64_t> counts;
  for (size_t i = 0; i < 400; ++i) counts.push_back(chance() % session.last_icount());
  std::sort(counts.begin(), counts.end());
  std::vector<uint64_t> addresses;
  for (const uint64_t count : counts) {
    session.run_to(count);
    std::array<uint8_t, 15> bytes{};
    const size_t readable = machine.cpu().mmu().peek(machine.cpu().linear_pc(), bytes);
    operands.before(decoder.decode(cpu, cpu.eip, std::span(bytes).first(readable)));
    for (const tools::MemoryTouch& touch : operands) addresses.push_back(touch.address);
  }
  std::shuffle(addresses.begin(), addresses.end(), chance);
  addresses.resize(std::min(many, addresses.size()));
  return addresses;
}

// Writes and reads, linear and physical, of one byte to a page.
std::vector<Watchpoint> make_watchpoints(const std::string& directory, std::mt19937_64& chance, size_t many,
                                         std::vector<Watchpoint> all) {
  for (const uint64_t address : used_addresses(directory, chance, many)) {
    Watchpoint& w = all.emplace_back();
    w.address = address;
    constexpr uint64_t kLengths[] = {1, 2, 4, 8, 64, 4096};
    w.length = kLengths[chance() % std::size(kLengths)];
    // Our guests run where linear addresses are physical ones, mostly.
    w.physical = chance() % 2 && address < (32u << 20) - 4096;
    w.reads = chance() % 3 == 0;
    w.writes = !w.reads || chance() % 2;
    w.id = static_cast<int>(all.size());
  }
  return all;
}

struct Expected {
  size_t index;
  Stop::Why why;
  int id = 0;
};

// Commands against a timeline, and what a walk over the reference's points says of them.
class RandomSession {
 public:
  RandomSession(const std::string& directory, uint64_t seed, const tools::TimelineOptions& options,
                const std::vector<Watchpoint>& watchpoints = {})
      : chance_(seed),
        watchpoints_(make_watchpoints(directory, chance_, 12, watchpoints)),
        reference_(directory, watchpoints_),
        timeline_(directory, options) {
    for (int i = 0; i < 12; ++i) breakpoints_.push_back({points()[chance_() % points().size()].pc, 100 + i});
  }

  void run(unsigned commands) {
    for (unsigned i = 0; i < commands; ++i) {
      CAPTURE(i);
      CAPTURE(tools::Mark(points()[index_].mark).icount);
      one_command();
      if (at_count()) digests_.push_back({timeline_.position(), timeline_.machine().digest()});
    }
    // All of them at once, since the reference comes from the start.
    std::vector<uint64_t> counts;
    for (const auto& [count, digest] : digests_) counts.push_back(count);
    const auto want = reference_.digests(counts);
    for (const auto& [count, digest] : digests_) CHECK_MESSAGE(digest == want.at(count), "at ", count);
  }

  // How often each kind of end was met.
  const std::map<int, unsigned>& ends() const { return ends_; }
  const TimelineReference& reference() const { return reference_; }

 private:
  const std::vector<TimelineReference::Point>& points() const { return reference_.points(); }
  bool at_count() const { return points()[index_].mark.deliveries == 0; }
  size_t last() const { return points().size() - 1; }

  template <typename T>
  std::vector<T> some_of(const std::vector<T>& all) {
    std::vector<T> some;
    for (const T& one : all)
      if (chance_() % 4 == 0) some.push_back(one);
    return some;
  }

  // Mostly few.
  uint64_t some_steps() {
    const uint64_t bits = chance_() % 12;
    return 1 + chance_() % (1ull << bits);
  }

  void one_command() {
    Expected want{};
    Stop got;
    std::string what;
    switch (chance_() % 8) {
      case 0: {
        const Mark to = points()[chance_() % points().size()].mark;
        want = {reference_.index_of(to), Stop::limit};
        what = fmt::format("seek {}.{}", to.icount, to.deliveries);
        got = timeline_.seek(to);
        break;
      }
      case 1:
      case 2: {
        const uint64_t steps = some_steps();
        const auto watched = chance_() % 2 ? some_of(watchpoints_) : std::vector<Watchpoint>();
        want = walk(steps, watched);
        what = fmt::format("step {}", steps);
        got = timeline_.step(steps, watched);
        break;
      }
      case 3:
      case 4: {
        const uint64_t steps = some_steps();
        const auto watched = chance_() % 2 ? some_of(watchpoints_) : std::vector<Watchpoint>();
        what = fmt::format("reverse-step {}", steps);
        want = steps <= index_ ? Expected{index_ - steps, Stop::limit} : Expected{0, Stop::begin};
        if (want.why == Stop::limit)
          if (const Watchpoint* w = touched(want.index, watched)) want = {want.index, Stop::watchpoint, w->id};
        got = timeline_.reverse_step(steps, watched);
        break;
      }
      default: {
        Condition condition;
        if (chance_() % 3 != 0) condition.breakpoints = some_of(breakpoints_);
        if (chance_() % 3 != 0) condition.watchpoints = some_of(watchpoints_);
        const bool forward = chance_() % 2 == 0;
        if (chance_() % 3 == 0) condition.until_icount = points()[chance_() % points().size()].mark.icount;
        what = fmt::format("run {}, {} breakpoints, {} watchpoints, until {}", forward ? "forward" : "backward",
                           condition.breakpoints.size(), condition.watchpoints.size(),
                           condition.until_icount.value_or(~0ull));
        want = forward ? forward_to(condition) : backward_to(condition);
        got = timeline_.run_until(condition, forward ? Direction::forward : Direction::backward);
        break;
      }
    }
    CAPTURE(what);
    if (want.why == Stop::watchpoint) {
      const Watchpoint& w = watchpoints_[static_cast<size_t>(want.id - 1)];
      what += fmt::format("; watchpoint {:#x}, {} bytes{}{}{}", w.address, w.length, w.physical ? ", physical" : "",
                          w.reads ? ", read" : "", w.writes ? ", written" : "");
    }
    index_ = want.index;
    const Mark at = points()[index_].mark;
    CHECK(timeline_.mark().icount == at.icount);
    CHECK(timeline_.mark().deliveries == at.deliveries);
    CHECK(got.at == timeline_.mark());
    CHECK(static_cast<int>(got.why) == static_cast<int>(want.why));
    CHECK(got.id == want.id);
    CHECK(std::as_const(timeline_.machine().cpu()).linear_pc() == points()[index_].pc);
    ++ends_[want.why];
    REQUIRE(timeline_.mark() == at);
  }

  // The first of them that the step from a point touches.
  const Watchpoint* touched(size_t index, const std::vector<Watchpoint>& watched) const {
    for (const Watchpoint& w : watched)
      if (index < last() && points()[index].touched >> (w.id - 1) & 1) return &w;
    return nullptr;
  }
  const tools::Breakpoint* hit(size_t index, const Condition& condition) const {
    if (!points()[index].executes) return nullptr;
    for (const tools::Breakpoint& b : condition.breakpoints)
      if (b.address == points()[index].pc) return &b;
    return nullptr;
  }

  Expected walk(uint64_t steps, const std::vector<Watchpoint>& watched) const {
    size_t at = index_;
    for (; steps > 0; --steps, ++at) {
      if (at == last()) return {at, Stop::end_of_log};
      if (const Watchpoint* w = touched(at, watched)) return {at + 1, Stop::watchpoint, w->id};
    }
    return {at, Stop::limit};
  }

  Expected forward_to(const Condition& condition) const {
    const Mark end{condition.until_icount.value_or(~0ull), 0};
    size_t at = index_;
    while (points()[at].mark < end) {
      if (at == last()) return {at, Stop::end_of_log};
      if (const Watchpoint* w = touched(at, condition.watchpoints)) return {at + 1, Stop::watchpoint, w->id};
      ++at;
      if (const tools::Breakpoint* b = hit(at, condition)) return {at, Stop::breakpoint, b->id};
    }
    return {at, Stop::limit};
  }

  Expected backward_to(const Condition& condition) const {
    const Mark begin{condition.until_icount.value_or(0), 0};
    size_t at = index_;
    while (at > 0 && points()[at].mark > begin) {
      --at;
      if (const Watchpoint* w = touched(at, condition.watchpoints)) return {at, Stop::watchpoint, w->id};
      if (const tools::Breakpoint* b = hit(at, condition)) return {at, Stop::breakpoint, b->id};
    }
    return {at, begin == Mark{} ? Stop::begin : Stop::limit};
  }

  std::mt19937_64 chance_;
  std::vector<Watchpoint> watchpoints_;
  std::vector<tools::Breakpoint> breakpoints_;
  TimelineReference reference_;
  Timeline timeline_;
  size_t index_ = 0;
  std::vector<std::pair<uint64_t, emu::Digest>> digests_;
  std::map<int, unsigned> ends_;
};

// Snapshots so dense that short recordings have many, and so few bytes for them that some are dropped.
constexpr tools::TimelineOptions kDense{4u << 20, 5000, 64};

void random_sequences(const std::string& guest, uint64_t stop_at, const std::string& options, uint64_t seed,
                      unsigned commands) {
  CAPTURE(guest);
  CAPTURE(seed);
  const TempDir scratch;
  RandomSession session(record_guest(scratch, guest, stop_at, options), seed, kDense);
  session.run(commands);
}

}  // namespace

TEST_CASE("timeline: random commands end where the reference has it") {
  random_sequences("paging32", 40'000, "", 1, 40);
  random_sequences("timer", 30'000, "", 2, 40);
  random_sequences("ring3_long", 20'000, "", 3, 40);
}

TEST_CASE("timeline: a thousand steps back and forth end where they began") {
  const TempDir scratch;
  Timeline timeline(record_guest(scratch, "irq_bench", 2'000'000));
  CHECK(timeline.seek(1'000'000).why == Stop::limit);
  const emu::Digest digest = timeline.machine().digest();
  CHECK(timeline.reverse_step(1000).why == Stop::limit);
  CHECK(timeline.position() < 1'000'000);
  CHECK(timeline.machine().digest().all != digest.all);
  CHECK(timeline.step(1000).why == Stop::limit);
  CHECK(timeline.mark() == Mark{1'000'000, 0});
  CHECK(timeline.machine().digest() == digest);
}

TEST_CASE("timeline: a small budget drops snapshots, and every point is the same without them") {
  const TempDir scratch;
  const std::string directory = record_guest(scratch, "irq_bench", 12'000'000);
  Timeline wide(directory, {.widest = 2'000'000});
  Timeline narrow(directory, {.budget_bytes = 1, .widest = 2'000'000});
  for (Timeline* timeline : {&wide, &narrow}) CHECK(timeline->seek(timeline->last()).at.icount > 7'000'001);
  CHECK(wide.snapshots().dropped == 0);
  CHECK(wide.snapshots().snapshots.size() == wide.snapshots().taken);
  CHECK(wide.snapshots().widest_gap <= wide.snapshots().wanted_gap);
  CHECK(wide.snapshots().bytes > 1);
  CHECK(narrow.snapshots().dropped > 0);
  CHECK(narrow.snapshots().snapshots.size() == 2);
  CHECK(narrow.snapshots().widest_gap > narrow.snapshots().wanted_gap);
  CHECK(narrow.snapshots().bytes < wide.snapshots().bytes);
  for (const uint64_t at : {7'000'001u, 2'000'000u, 0u, 4'567'890u}) {
    for (Timeline* timeline : {&wide, &narrow}) CHECK(timeline->seek(at).why == Stop::limit);
    CHECK(wide.machine().digest() == narrow.machine().digest());
  }
}

TEST_CASE("timeline: from random points back to the beginning and forward again is the same state") {
  const TempDir scratch;
  Timeline timeline(record_guest(scratch, "irq_bench", 2'000'000), kDense);
  std::mt19937_64 chance(5);
  const emu::Digest first = timeline.machine().digest();
  for (unsigned i = 0; i < 10; ++i) {
    const uint64_t at = chance() % timeline.last();
    CHECK(timeline.seek(at).why == Stop::limit);
    const emu::Digest digest = timeline.machine().digest();
    CHECK(timeline.run_until({}, Direction::backward).why == Stop::begin);
    CHECK(timeline.position() == 0);
    CHECK(timeline.machine().digest() == first);
    CHECK(timeline.run_until({{}, {}, at}, Direction::forward).why == Stop::limit);
    CHECK(timeline.mark() == Mark{at, 0});
    CHECK(timeline.machine().digest() == digest);
  }
}

TEST_CASE("timeline: back and forth over resets of the board, of every kind") {
  const TempDir scratch;
  // A ROM of 64 KiB that counts its starts at 500h, works a little, and resets the board: by the keyboard controller,
  // by a triple fault, by port 92h; the fourth time it leaves by the debug exit.
  std::vector<uint8_t> rom(0x10000, 0xf4);
  const std::vector<uint8_t> code{0x31, 0xc0, 0x8e, 0xd8,              // xor ax, ax; mov ds, ax
                                  0xff, 0x06, 0x00, 0x05,              // inc word [500h]
                                  0x8b, 0x0e, 0x00, 0x05,              // mov cx, [500h]
                                  0xbe, 0xc8, 0x00, 0x4e, 0x75, 0xfd,  // mov si, 200; dec si; jnz
                                  0x83, 0xf9, 0x01, 0x75, 0x04,        // cmp cx, 1; jne
                                  0xb0, 0xfe, 0xe6, 0x64,              // mov al, feh; out 64h, al
                                  0x83, 0xf9, 0x02, 0x75, 0x06,        // cmp cx, 2; jne
                                  0x0f, 0x01, 0x1e, 0x10, 0x05, 0xcc,  // lidt [510h]: no vectors; int3
                                  0x83, 0xf9, 0x03, 0x75, 0x04,        // cmp cx, 3; jne
                                  0xb0, 0x01, 0xe6, 0x92,              // mov al, 1; out 92h, al
                                  0xb0, 0x10, 0xe6, 0xf4, 0xf4};       // mov al, 10h; out f4h, al; hlt
  std::copy(code.begin(), code.end(), rom.begin());
  const std::vector<uint8_t> entry{0xe9, 0x0d, 0x00};
  std::copy(entry.begin(), entry.end(), rom.begin() + 0xfff0);
  const std::string image = scratch.path() + "/reset.rom";
  write_bytes(image, rom);
  const std::string directory = record_image(scratch.path() + "/reset", image, 100'000, "--reboot");
  {
    tools::ReplaySession session(directory);
    unsigned resets = 0;
    session.on_applied(
        [&](const ftlog::LogEntry& applied) { resets += std::holds_alternative<ftlog::Reset>(applied.payload); });
    session.run_to(session.last_icount());
    REQUIRE(resets == 3);
    session.on_applied({});
  }
  for (uint64_t seed = 0; seed < 3; ++seed) RandomSession(directory, seed, kDense).run(60);
  Timeline timeline(directory, kDense);
  CHECK(timeline.seek(timeline.last()).why == Stop::limit);
  const Mark end = timeline.mark();
  const emu::Digest digest = timeline.machine().digest();
  // The reset vector is where each start begins, but for the first: the recording begins there.
  const Condition starts{{{0xfffffff0, 7}}, {}, {}};
  for (unsigned i = 0; i < 3; ++i) {
    CHECK(timeline.run_until(starts, Direction::backward).why == Stop::breakpoint);
    // One step further back is the end of the life before.
    const Mark start = timeline.mark();
    CHECK(timeline.reverse_step().why == Stop::limit);
    CHECK(std::as_const(timeline.machine().cpu()).linear_pc() < 0xffff1000);
    CHECK(timeline.step().why == Stop::limit);
    CHECK(timeline.mark() == start);
  }
  CHECK(timeline.run_until(starts, Direction::backward).why == Stop::breakpoint);
  CHECK(timeline.mark() == Mark{0, 0});
  CHECK(timeline.seek(end).why == Stop::limit);
  CHECK(timeline.machine().digest() == digest);
}

TEST_CASE("timeline: what a device wrote by DMA is its own, and silent stores are writes") {
  const TempDir scratch;
  const std::string disk = scratch.path() + "/disk.img";
  write_bytes(disk, {});
  std::filesystem::resize_file(disk, 8u << 20);
  const std::string directory = record_guest(scratch, "disk", 10'000'000, "--disk " + disk);
  // By a replay from the start: the last transfer into RAM.
  uint64_t address = 0, icount = 0;
  {
    tools::ReplaySession session(directory);
    emu::Cpu& cpu = session.machine().cpu();
    cpu.watch_accesses(
        {{0, (32u << 20) - 1, false, true, true}},
        [&](const emu::AccessWatch::Touch& touch) {
          if (touch.who != emu::AccessWatch::Who::device || touch.length < 512) return;
          address = touch.physical + 100;
          icount = session.machine().icount();
        },
        false);
    session.run_to(session.last_icount());
    cpu.watch_accesses({}, {}, false);
  }
  REQUIRE(icount > 0);
  Timeline timeline(directory, kDense);
  // One of many sectors that are zeros there: nothing changes.
  REQUIRE(timeline.seek(icount + 1).why == Stop::limit);
  const Mark present = timeline.mark();
  const auto last = timeline.last_write(address, 1, true, present);
  REQUIRE(last);
  CHECK(last->access.who == emu::AccessWatch::Who::device);
  CHECK(last->access.device == "piix3_ide");
  CHECK(last->access.before == std::vector<uint8_t>{0});
  CHECK(last->access.after == std::vector<uint8_t>{0});
  CHECK(last->after.icount >= icount);
  CHECK(last->before < last->after);
  CHECK(timeline.mark() == present);
  const auto next = timeline.next_write(address, 1, true, last->before);
  REQUIRE(next);
  CAPTURE(fmt::format("last {}.{} to {}.{}, next {}.{} to {}.{}", last->before.icount, last->before.deliveries,
                      last->after.icount, last->after.deliveries, next->before.icount, next->before.deliveries,
                      next->after.icount, next->after.deliveries));
  CHECK(next->before == last->before);
  CHECK(next->after == last->after);
  // Who only looks for linear addresses hears of no device.
  const auto linear = timeline.last_write(address, 1, false, present);
  if (linear) CHECK(linear->access.who != emu::AccessWatch::Who::device);
}

TEST_SUITE("long") {
  TEST_CASE("timeline: two hundred random sequences on many guests end where the reference has it") {
    const TempDir scratch;
    std::map<int, unsigned> ends;
    uint64_t deliveries = 0, silent = 0;
    for (const char* guest : {"timer", "paging32", "paging_long", "ring3", "ring3_long", "rep", "smc", "v86",
                              "task_switch", "real_mode", "debug", "intr_window", "irq_bench", "wild_store"}) {
      CAPTURE(std::string(guest));
      const std::string directory = record_guest(scratch, guest, 60'000);
      for (uint64_t seed = 0; seed < 15; ++seed) {
        CAPTURE(seed);
        RandomSession session(directory, seed, kDense);
        session.run(60);
        for (const auto& [why, many] : session.ends()) ends[why] += many;
        for (const TimelineReference::Point& point : session.reference().points()) {
          deliveries += point.mark.deliveries > 0;
          silent += (point.touched & ~point.has_changed) != 0;
        }
      }
    }
    // They were about something.
    for (const int why : {Stop::limit, Stop::breakpoint, Stop::watchpoint, Stop::begin, Stop::end_of_log})
      CHECK(ends[why] > 100);
    CHECK(deliveries > 1000);
    CHECK(silent > 1000);
  }

  TEST_CASE("timeline: random commands about what a disk moves by DMA") {
    const TempDir scratch;
    const std::string disk = scratch.path() + "/disk.img";
    write_bytes(disk, {});
    std::filesystem::resize_file(disk, 8u << 20);
    // Where the last of the guest's transfers go.
    const std::vector<Watchpoint> target{{0xc00000, 4096, true, 1}, {0xc00000, 64, true, 2, true, false}};
    const std::string directory = record_guest(scratch, "disk", 2'310'000, "--disk " + disk);
    RandomSession session(directory, 1, {8u << 20, 100'000, 64}, target);
    session.run(200);
    uint64_t by_device = 0;
    for (const TimelineReference::Point& point : session.reference().points()) by_device += point.by_device != 0;
    CHECK(by_device > 20);
  }

  TEST_CASE("timeline: from a hundred random points back to the beginning and forward again is the same state") {
    const TempDir scratch;
    for (const char* guest : {"irq_bench", "cpu_bench64"}) {
      Timeline timeline(record_guest(scratch, guest, 60'000'000), {.budget_bytes = 16u << 20, .widest = 2'000'000});
      std::mt19937_64 chance(6);
      const emu::Digest first = timeline.machine().digest();
      for (unsigned i = 0; i < 50; ++i) {
        const uint64_t at = chance() % timeline.last();
        CHECK(timeline.seek(at).why == Stop::limit);
        const emu::Digest digest = timeline.machine().digest();
        CHECK(timeline.seek(uint64_t{0}).why == Stop::limit);
        CHECK(timeline.machine().digest() == first);
        CHECK(timeline.seek(at).why == Stop::limit);
        CHECK(timeline.machine().digest() == digest);
      }
    }
  }
}
