#include <doctest/doctest.h>

#include <memory>

#include "devices/local_apic.h"
#include "tests/fake_board.h"

namespace understudy::devices {
namespace {

constexpr uint32_t kMasked = 1u << 16;
constexpr uint32_t kPeriodic = 1u << 17;
constexpr uint64_t kId = 0x20, kVersion = 0x30, kTpr = 0x80, kPpr = 0xa0, kEoi = 0xb0, kLdr = 0xd0, kDfr = 0xe0;
constexpr uint64_t kSvr = 0xf0, kIsr = 0x100, kTmr = 0x180, kIrr = 0x200, kEsr = 0x280, kIcrLow = 0x300;
constexpr uint64_t kIcrHigh = 0x310, kLvtTimer = 0x320, kLvtPerformance = 0x340, kLvtLint0 = 0x350, kLvtLint1 = 0x360;
constexpr uint64_t kLvtError = 0x370, kInitialCount = 0x380, kCurrentCount = 0x390, kDivide = 0x3e0;
constexpr uint32_t kDivideBy1 = 0b1011;

struct Fixture {
  tests::FakeBoard board;
  LocalApic apic{board.clock, board.events};
  unsigned nmis = 0, inits = 0, base_changes = 0, ready = 0;
  std::vector<int> ended;
  int pic_vector = 0x30;
  unsigned pic_acknowledged = 0;

  Fixture() {
    LocalApic::Wiring wiring;
    wiring.interrupt = {&board.irqs, 99};
    wiring.nmi = [this] { ++nmis; };
    wiring.init = [this] { ++inits; };
    wiring.pic_acknowledge = [this] {
      ++pic_acknowledged;
      return pic_vector;
    };
    wiring.end_of_interrupt = [this](uint8_t vector) { ended.push_back(vector); };
    wiring.accepting = [this] { ++ready; };
    wiring.base_change = [this] { ++base_changes; };
    apic.connect(wiring);
  }
  uint32_t read(uint64_t offset) { return static_cast<uint32_t>(apic.mmio_read(offset, 4)); }
  void write(uint64_t offset, uint32_t value) { apic.mmio_write(offset, 4, value); }
  void enable() { write(kSvr, 0x1ff); }
  bool output() { return board.irqs.levels[99]; }
  bool fixed(uint8_t vector, bool level = false) { return apic.deliver(vector, DeliveryMode::kFixed, level); }
};

TEST_CASE_FIXTURE(Fixture, "local apic: power-on registers") {
  CHECK(apic.base_msr() == 0xfee00900);
  CHECK(apic.base_address() == 0xfee00000);
  CHECK(read(kId) == 0);
  CHECK(read(kVersion) == 0x00050014);
  CHECK(read(kSvr) == 0xff);
  CHECK(read(kDfr) == 0xffffffff);
  CHECK(read(kLdr) == 0);
  CHECK(read(kLvtTimer) == kMasked);
  CHECK(read(kLvtLint0) == 0x700);
  CHECK(read(kLvtLint1) == kMasked);
  CHECK(read(kLvtError) == kMasked);
  CHECK(read(kInitialCount) == 0);
  CHECK(read(kCurrentCount) == 0);
}

TEST_CASE_FIXTURE(Fixture, "local apic: registers keep what is writable and no more") {
  enable();
  write(kId, 0xffffffff);
  CHECK(read(kId) == 0xff000000);
  write(kLdr, 0xffffffff);
  CHECK(read(kLdr) == 0xff000000);
  write(kDfr, 0);
  CHECK(read(kDfr) == 0x0fffffff);
  write(kTpr, 0xffffff5a);
  CHECK(read(kTpr) == 0x5a);
  write(kLvtTimer, ~0u);
  CHECK(read(kLvtTimer) == 0x300ff);
  write(kLvtPerformance, ~0u);
  CHECK(read(kLvtPerformance) == 0x107ff);
  write(kLvtLint1, ~0u);
  CHECK(read(kLvtLint1) == 0x1a7ff);
  write(kLvtError, ~0u);
  CHECK(read(kLvtError) == 0x100ff);
  write(kDivide, ~0u);
  CHECK(read(kDivide) == 0b1011);
  write(kVersion, 0);
  CHECK(read(kVersion) == 0x00050014);
  write(kIcrHigh, ~0u);
  CHECK(read(kIcrHigh) == 0xff000000);
  write(kIrr, ~0u);
  CHECK(read(kIrr) == 0);
}

TEST_CASE_FIXTURE(Fixture, "local apic: odd accesses are harmless") {
  write(kTpr, 0x42);
  CHECK(apic.mmio_read(kTpr, 1) == 0x42);
  CHECK(apic.mmio_read(kVersion, 2) == 0x14);
  CHECK(apic.mmio_read(kVersion + 2, 1) == 0x05);
  CHECK(apic.mmio_read(kVersion, 8) == 0x00050014);
  CHECK(apic.mmio_read(kVersion + 4, 4) == 0);
  CHECK(apic.mmio_read(kVersion + 15, 8) == 0);
  apic.mmio_write(kTpr, 1, 0x10);
  apic.mmio_write(kTpr, 2, 0x10);
  apic.mmio_write(kTpr + 4, 4, 0x10);
  CHECK(read(kTpr) == 0x42);
  apic.mmio_write(kTpr, 8, 0xffffffff00000020);
  CHECK(read(kTpr) == 0x20);
  for (uint64_t offset = 0; offset < 0x1010; ++offset)
    for (unsigned size : {1u, 2u, 4u, 8u}) {
      apic.mmio_write(offset, size, ~0ull);
      (void)apic.mmio_read(offset, size);
    }
}

TEST_CASE_FIXTURE(Fixture, "local apic: delivery by priority, nesting, EOI") {
  enable();
  CHECK(fixed(0x41));
  CHECK(fixed(0x52));
  CHECK(fixed(0x53));
  CHECK(output());
  CHECK(read(kIrr + 0x20) == (1u << 0x12 | 1u << 0x13 | 1u << 0x01));
  CHECK(apic.acknowledge() == 0x53);
  CHECK_FALSE(output());  // 52 is of the same class, 41 below
  CHECK(read(kPpr) == 0x50);
  CHECK(read(kIsr + 0x20) == 1u << 0x13);
  CHECK(fixed(0x61));
  CHECK(output());
  CHECK(apic.acknowledge() == 0x61);
  CHECK(apic.acknowledge() == -1);
  write(kEoi, 0);
  CHECK(read(kPpr) == 0x50);
  CHECK_FALSE(output());
  write(kEoi, 0);
  CHECK(output());
  CHECK(apic.acknowledge() == 0x52);
  write(kEoi, 0);
  CHECK(apic.acknowledge() == 0x41);
  write(kEoi, 0);
  write(kEoi, 0);  // one too many
  CHECK_FALSE(output());
  CHECK(ended.empty());
}

TEST_CASE_FIXTURE(Fixture, "local apic: the task priority holds interrupts back, also through CR8") {
  enable();
  apic.set_cr8(5);
  CHECK(read(kTpr) == 0x50);
  CHECK(fixed(0x5f));
  CHECK_FALSE(output());
  CHECK(apic.acknowledge() == -1);
  CHECK(fixed(0x60));
  CHECK(output());
  write(kTpr, 0x6f);
  CHECK(apic.cr8() == 6);
  CHECK(read(kPpr) == 0x6f);
  CHECK_FALSE(output());
  apic.set_cr8(0);
  CHECK(output());
  CHECK(apic.acknowledge() == 0x60);
}

TEST_CASE_FIXTURE(Fixture, "local apic: level-triggered vectors announce their EOI") {
  enable();
  CHECK(fixed(0x71, true));
  CHECK(read(kTmr + 0x30) == 1u << 0x11);
  CHECK(apic.acknowledge() == 0x71);
  write(kEoi, 0);
  CHECK(ended == std::vector<int>{0x71});
  CHECK(fixed(0x71, false));
  CHECK(read(kTmr + 0x30) == 0);
  CHECK(apic.acknowledge() == 0x71);
  write(kEoi, 0);
  CHECK(ended.size() == 1);
}

TEST_CASE_FIXTURE(Fixture, "local apic: software disable refuses, masks, and holds what is pending") {
  CHECK_FALSE(fixed(0x40));
  enable();
  CHECK(ready == 1);
  CHECK(fixed(0x40));
  write(kLvtError, 0x33);
  write(kSvr, 0xff);
  CHECK_FALSE(output());
  CHECK(read(kLvtError) == (kMasked | 0x33));
  write(kLvtError, 0x33);
  CHECK(read(kLvtError) == (kMasked | 0x33));
  CHECK(apic.deliver(0, DeliveryMode::kNmi, false));
  CHECK(nmis == 1);
  enable();
  CHECK(output());
  CHECK(apic.acknowledge() == 0x40);
}

TEST_CASE_FIXTURE(Fixture, "local apic: the 8259 comes through at power-on, in virtual wire mode and when disabled") {
  SUBCASE("power-on") {}
  SUBCASE("virtual wire") { apic.enable_virtual_wire(); }
  SUBCASE("globally disabled") { apic.set_base_msr(0xfee00000); }
  apic.set_irq(LocalApic::kLint0, true);
  CHECK(output());
  CHECK(apic.acknowledge() == 0x30);
  CHECK(pic_acknowledged == 1);
  apic.set_irq(LocalApic::kLint0, false);
  CHECK_FALSE(output());
  CHECK(apic.acknowledge() == -1);
  CHECK(pic_acknowledged == 1);
}

TEST_CASE_FIXTURE(Fixture, "local apic: virtual wire is masked by LVT0 and comes after fixed vectors") {
  apic.enable_virtual_wire();
  CHECK(read(kSvr) == 0x1ff);
  CHECK(read(kLvtLint0) == 0x8700);
  CHECK(read(kLvtLint1) == 0x8400);
  apic.set_irq(LocalApic::kLint0, true);
  CHECK(fixed(0x20));
  CHECK(apic.acknowledge() == 0x20);
  CHECK(apic.acknowledge() == 0x30);
  write(kLvtLint0, kMasked | 0x700);
  CHECK_FALSE(output());
  write(kLvtLint0, 0x700);
  CHECK(output());
}

TEST_CASE_FIXTURE(Fixture, "local apic: LINT pins in fixed and NMI mode") {
  enable();
  SUBCASE("NMI on LINT1, rising edges only") {
    write(kLvtLint1, 0x400);
    apic.set_irq(LocalApic::kLint1, true);
    apic.set_irq(LocalApic::kLint1, true);
    CHECK(nmis == 1);
    apic.set_irq(LocalApic::kLint1, false);
    write(kLvtLint1, kMasked | 0x400);
    apic.set_irq(LocalApic::kLint1, true);
    CHECK(nmis == 1);
  }
  SUBCASE("globally disabled, LINT1 is the NMI pin") {
    apic.set_base_msr(0xfee00000);
    apic.set_irq(LocalApic::kLint1, true);
    CHECK(nmis == 1);
  }
  SUBCASE("fixed, edge") {
    write(kLvtLint0, 0x45);
    apic.set_irq(LocalApic::kLint0, true);
    CHECK(apic.acknowledge() == 0x45);
    write(kEoi, 0);
    CHECK_FALSE(output());
  }
  SUBCASE("fixed, level: asks again while high") {
    write(kLvtLint0, 0x8045);
    apic.set_irq(LocalApic::kLint0, true);
    CHECK(read(kLvtLint0) == 0xc045);
    CHECK(apic.acknowledge() == 0x45);
    CHECK_FALSE(output());
    write(kEoi, 0);
    CHECK(apic.acknowledge() == 0x45);
    apic.set_irq(LocalApic::kLint0, false);
    write(kEoi, 0);
    CHECK_FALSE(output());
    CHECK(read(kLvtLint0) == 0x8045);
  }
}

TEST_CASE_FIXTURE(Fixture, "local apic: ExtINT over the APIC bus") {
  enable();
  write(kLvtLint0, kMasked);
  apic.set_irq(LocalApic::kLint0, true);
  CHECK_FALSE(output());
  CHECK(apic.deliver(0, DeliveryMode::kExtInt, false));
  CHECK(output());
  CHECK(apic.acknowledge() == 0x30);
  CHECK(output());  // the 8259 has more
  apic.set_irq(LocalApic::kLint0, false);
  CHECK_FALSE(output());
  apic.set_irq(LocalApic::kLint0, true);
  CHECK_FALSE(output());
}

TEST_CASE_FIXTURE(Fixture, "local apic: inter-processor interrupts reach ourselves or nobody") {
  enable();
  write(kIcrLow, 0x00040050);  // self
  CHECK(apic.acknowledge() == 0x50);
  CHECK(read(kIcrLow) == 0x00040050);
  write(kEoi, 0);
  write(kIcrLow, 0x00080051);  // all including self
  CHECK(apic.acknowledge() == 0x51);
  write(kEoi, 0);
  write(kIcrLow, 0x000c0052);  // all but self
  CHECK_FALSE(output());
  write(kIcrHigh, 0);
  write(kIcrLow, 0x00000053);  // physical 0
  CHECK(apic.acknowledge() == 0x53);
  write(kEoi, 0);
  write(kIcrHigh, 1u << 24);
  write(kIcrLow, 0x00000053);  // physical 1: nobody
  CHECK_FALSE(output());
  write(kIcrHigh, 0xffu << 24);
  write(kIcrLow, 0x00000054);  // broadcast
  CHECK(apic.acknowledge() == 0x54);
  write(kEoi, 0);
  write(kLdr, 0x02000000);
  write(kIcrHigh, 0x03000000);
  write(kIcrLow, 0x00000855);  // logical, flat
  CHECK(apic.acknowledge() == 0x55);
  write(kEoi, 0);
  write(kIcrLow, 0x00040400);  // NMI to self
  CHECK(nmis == 1);
  write(kIcrLow, 0x000c0600);  // start-up for others
  write(kIcrLow, 0x00048500);  // INIT de-assert
  CHECK(inits == 0);
  CHECK_FALSE(output());
}

TEST_CASE_FIXTURE(Fixture, "local apic: logical destinations, flat and cluster") {
  enable();
  write(kLdr, 0x12000000);
  ApicMessage message{.vector = 0x40, .logical = true, .destination = 0x02};
  CHECK(apic.receive(message));
  message.destination = 0x05;
  CHECK_FALSE(apic.receive(message));
  write(kDfr, 0x0fffffff);
  message.destination = 0x13;
  CHECK(apic.receive(message));
  message.destination = 0x23;
  CHECK_FALSE(apic.receive(message));
  message.destination = 0xf2;
  CHECK(apic.receive(message));
  message.destination = 0x1d;
  CHECK_FALSE(apic.receive(message));
  write(kDfr, 0x7fffffff);  // reserved model
  message.destination = 0xff;
  CHECK_FALSE(apic.receive(message));
}

TEST_CASE_FIXTURE(Fixture, "local apic: INIT resets the registers but not id and base") {
  enable();
  write(kId, 0x03000000);
  apic.set_base_msr(0xfed00900);
  write(kTpr, 0x20);
  CHECK(fixed(0x80));
  write(kIcrLow, 0x00044500);
  CHECK(inits == 1);
  CHECK_FALSE(output());
  CHECK(read(kTpr) == 0);
  CHECK(read(kSvr) == 0xff);
  CHECK(read(kId) == 0x03000000);
  CHECK(apic.base_address() == 0xfed00000);
  apic.reset();
  CHECK(read(kId) == 0);
  CHECK(apic.base_address() == 0xfee00000);
  CHECK(base_changes == 2);
}

TEST_CASE_FIXTURE(Fixture, "local apic: errors are gathered, shown by a write of ESR, and interrupt once") {
  enable();
  write(kLvtError, 0xfe);
  write(kIcrLow, 0x00040005);  // vector below 16
  CHECK(read(kEsr) == 0);
  CHECK(apic.acknowledge() == 0xfe);
  write(kEoi, 0);
  write(kIcrLow, 0x00040005);
  CHECK_FALSE(output());
  CHECK_FALSE(fixed(3));
  CHECK(apic.acknowledge() == 0xfe);
  write(kEoi, 0);
  (void)read(0x2f0);
  CHECK(apic.acknowledge() == 0xfe);
  write(kEsr, 0);
  CHECK(read(kEsr) == 0xe0);
  write(kEsr, 0);
  CHECK(read(kEsr) == 0);
  write(kLvtError, 0x01);  // an illegal vector of its own
  write(0x10, 0);
  write(kEsr, 0);
  CHECK(read(kEsr) == 0xc0);
}

TEST_CASE_FIXTURE(Fixture, "local apic: base register") {
  apic.set_base_msr(0xffffff'fed00d00);
  CHECK(apic.base_msr() == 0xff'fed0'0900);  // x2APIC and reserved bits dropped
  CHECK(base_changes == 1);
  apic.set_base_msr(0xff'fed0'0900);
  CHECK(base_changes == 1);
  enable();
  CHECK(fixed(0x40));
  apic.set_base_msr(0xfee00000);
  CHECK_FALSE(apic.globally_enabled());
  CHECK((apic.base_msr() & LocalApic::kBaseBsp) != 0);
  CHECK_FALSE(output());
  CHECK(apic.mmio_read(kVersion, 4) == ~0ull);
  CHECK_FALSE(apic.deliver(0, DeliveryMode::kNmi, false));
  apic.set_base_msr(0xfee00800);
  CHECK(read(kSvr) == 0xff);
  CHECK(read(kIrr + 0x20) == 0);
}

TEST_CASE_FIXTURE(Fixture, "local apic timer: one-shot counts down and fires once, exactly on time") {
  enable();
  board.advance_to(1000);
  write(kDivide, kDivideBy1);
  write(kLvtTimer, 0x40);
  write(kInitialCount, 5000);
  CHECK(read(kCurrentCount) == 5000);
  board.advance_to(1001);
  CHECK(read(kCurrentCount) == 4999);
  board.advance_to(5999);
  CHECK(read(kCurrentCount) == 1);
  CHECK_FALSE(output());
  board.advance_to(6000);
  CHECK(read(kCurrentCount) == 0);
  CHECK(apic.acknowledge() == 0x40);
  write(kEoi, 0);
  board.advance(1'000'000);
  CHECK_FALSE(output());
  CHECK(read(kInitialCount) == 5000);
  CHECK(board.events.next_due() == emu::EventQueue::kNever);
}

TEST_CASE_FIXTURE(Fixture, "local apic timer: every divisor") {
  enable();
  const std::pair<uint32_t, uint64_t> divisors[] = {{0b0000, 2},  {0b0001, 4},  {0b0010, 8},   {0b0011, 16},
                                                    {0b1000, 32}, {0b1001, 64}, {0b1010, 128}, {0b1011, 1}};
  write(kLvtTimer, 0x40);
  for (const auto& [config, divisor] : divisors) {
    CAPTURE(divisor);
    write(kDivide, config);
    write(kInitialCount, 1000);
    CHECK(board.events.next_due() == board.clock.now + 1000 * divisor);
    board.advance(10 * divisor);
    CHECK(read(kCurrentCount) == 990);
    board.advance(divisor - 1);
    CHECK(read(kCurrentCount) == 990);
  }
}

TEST_CASE_FIXTURE(Fixture, "local apic timer: periodic keeps its phase however late the interrupts are taken") {
  enable();
  write(kDivide, kDivideBy1);
  write(kLvtTimer, kPeriodic | 0x40);
  write(kInitialCount, 10'000);
  for (int i = 1; i <= 5; ++i) {
    CHECK(board.events.next_due() == static_cast<uint64_t>(i) * 10'000);
    board.advance_to(static_cast<uint64_t>(i) * 10'000 + 500);
    CHECK(read(kCurrentCount) == 9'500);
    CHECK(apic.acknowledge() == 0x40);
    write(kEoi, 0);
  }
  // A leap over many periods: one interrupt, the phase stays.
  board.clock.now = 1'000'003;
  board.events.run_due(board.clock.now);
  CHECK(apic.acknowledge() == 0x40);
  write(kEoi, 0);
  CHECK_FALSE(output());
  CHECK(board.events.next_due() == 1'010'000);
}

TEST_CASE_FIXTURE(Fixture, "local apic timer: a period too short for words cannot fill all time with events") {
  enable();
  write(kDivide, kDivideBy1);
  write(kLvtTimer, kPeriodic | 0x40);
  write(kInitialCount, 3);
  CHECK(board.events.next_due() == 3);
  board.advance_to(3);
  CHECK(board.events.next_due() == 1005);  // the first multiple of 3 that is a microsecond away
  CHECK(read(kCurrentCount) == 3);
  board.advance_to(1005);
  CHECK(board.events.next_due() == 2007);
}

TEST_CASE_FIXTURE(Fixture, "local apic timer: masking, stopping and changing it while it runs") {
  enable();
  write(kDivide, kDivideBy1);
  write(kLvtTimer, kMasked | kPeriodic | 0x40);
  write(kInitialCount, 1000);
  CHECK(board.events.next_due() == emu::EventQueue::kNever);
  board.advance_to(2300);
  CHECK(read(kCurrentCount) == 700);
  write(kLvtTimer, kPeriodic | 0x41);
  CHECK(board.events.next_due() == 3000);
  write(kDivide, 0b0000);  // half speed from here on
  CHECK(read(kCurrentCount) == 700);
  CHECK(board.events.next_due() == 2300 + 1400);
  write(kLvtTimer, 0x41);  // one-shot from here on
  board.advance_to(3700);
  CHECK(apic.acknowledge() == 0x41);
  CHECK(board.events.next_due() == emu::EventQueue::kNever);
  write(kInitialCount, 1000);
  CHECK(board.events.next_due() == 5700);
  write(kInitialCount, 0);
  CHECK(board.events.next_due() == emu::EventQueue::kNever);
  CHECK(read(kCurrentCount) == 0);
  write(kInitialCount, 1000);
  write(kSvr, 0xff);  // masks the entry
  CHECK(board.events.next_due() == emu::EventQueue::kNever);
}

TEST_CASE_FIXTURE(Fixture, "local apic: save and restore in the middle of activity") {
  enable();
  write(kLdr, 0x01000000);
  write(kDivide, kDivideBy1);
  write(kLvtTimer, kPeriodic | 0x40);
  write(kInitialCount, 10'000);
  write(kTpr, 0x10);
  write(kIcrLow, 0x00040005);
  CHECK(fixed(0x71, true));
  CHECK(apic.acknowledge() == 0x71);
  CHECK(fixed(0x90));
  apic.set_base_msr(0xfed00900);
  apic.set_irq(LocalApic::kLint0, true);
  board.advance_to(12'345);
  tests::StateDump saved, saved_events;
  apic.visit_state(saved);
  board.events.visit_state(saved_events);

  Fixture other;
  tests::StateLoad load(saved.fields), load_events(saved_events.fields);
  other.apic.visit_state(load);
  other.board.events.visit_state(load_events);
  other.board.clock.now = 12'345;
  other.apic.state_loaded();
  CHECK(other.base_changes == 1);
  tests::StateDump again;
  other.apic.visit_state(again);
  CHECK(again.fields == saved.fields);
  CHECK(other.apic.interrupt_pending());

  for (Fixture* f : {static_cast<Fixture*>(this), &other}) {
    CHECK(f->read(kCurrentCount) == 7'655);
    CHECK(f->apic.acknowledge() == 0x90);
    f->write(kEoi, 0);
    f->write(kEoi, 0);
    CHECK(f->ended == std::vector<int>{0x71});
    CHECK(f->apic.acknowledge() == 0x40);
    f->write(kEoi, 0);
    CHECK(f->apic.acknowledge() == 0x30);
    f->board.advance_to(20'000);
    CHECK(f->apic.acknowledge() == 0x40);
  }
}

}  // namespace
}  // namespace understudy::devices
