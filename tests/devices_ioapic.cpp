#include <doctest/doctest.h>

#include "devices/ioapic.h"
#include "devices/local_apic.h"
#include "tests/fake_board.h"

namespace understudy::devices {
namespace {

constexpr uint32_t kMasked = 1u << 16;
constexpr uint32_t kLevel = 1u << 15;
constexpr uint32_t kRemoteIrr = 1u << 14;

struct Fixture {
  std::vector<ApicMessage> sent;
  bool accepts = true;
  IoApic ioapic{[this](const ApicMessage& message) {
    sent.push_back(message);
    return accepts;
  }};
  uint32_t read(uint8_t index) {
    ioapic.mmio_write(0x00, 4, index);
    return static_cast<uint32_t>(ioapic.mmio_read(0x10, 4));
  }
  void write(uint8_t index, uint32_t value) {
    ioapic.mmio_write(0x00, 4, index);
    ioapic.mmio_write(0x10, 4, value);
  }
  uint32_t low(unsigned pin) { return read(static_cast<uint8_t>(0x10 + 2 * pin)); }
  void set_low(unsigned pin, uint32_t value) { write(static_cast<uint8_t>(0x10 + 2 * pin), value); }
  void set_high(unsigned pin, uint32_t value) { write(static_cast<uint8_t>(0x11 + 2 * pin), value); }
};

TEST_CASE_FIXTURE(Fixture, "ioapic: registers after reset and what they keep") {
  CHECK(read(0) == 0);
  CHECK(read(1) == 0x00170011);
  CHECK(read(2) == 0);
  for (unsigned pin = 0; pin < IoApic::kPins; ++pin) {
    CHECK(low(pin) == kMasked);
    CHECK(read(static_cast<uint8_t>(0x11 + 2 * pin)) == 0);
  }
  write(0, ~0u);
  CHECK(read(0) == 0x0f000000);
  CHECK(read(2) == 0x0f000000);
  write(1, 0);
  CHECK(read(1) == 0x00170011);
  set_low(23, ~0u);
  set_high(23, ~0u);
  CHECK(low(23) == 0x0001afff);
  CHECK(read(0x3f) == 0xff000000);
  CHECK(read(0x40) == 0);
  CHECK(read(0xff) == 0);
  CHECK(ioapic.mmio_read(0x00, 1) == 0xff);
  ioapic.reset();
  CHECK(low(23) == kMasked);
}

TEST_CASE_FIXTURE(Fixture, "ioapic: odd accesses are harmless") {
  write(0x10, kMasked | 0x77);
  ioapic.mmio_write(0x10, 1, 0x11);
  ioapic.mmio_write(0x10, 8, 0x11);
  ioapic.mmio_write(0x14, 4, 0x11);
  CHECK(low(0) == (kMasked | 0x77));
  CHECK(ioapic.mmio_read(0x10, 1) == 0);
  CHECK(ioapic.mmio_read(0x20, 4) == 0);
  ioapic.mmio_write(0x00, 2, 0x1234);
  CHECK(ioapic.mmio_read(0x00, 4) == 0x34);
  for (uint64_t offset = 0; offset < 0x1000; ++offset)
    for (unsigned size : {1u, 2u, 4u, 8u}) ioapic.mmio_write(offset, size, ~0ull);
  for (unsigned index = 0; index < 256; ++index) write(static_cast<uint8_t>(index), 0xdeadbeef);
  ioapic.set_irq(24, true);
  ioapic.set_irq(1000, true);
}

TEST_CASE_FIXTURE(Fixture, "ioapic: an edge makes one message, and none while masked") {
  ioapic.set_irq(4, true);
  ioapic.set_irq(4, false);
  set_high(4, 0x03000000);
  set_low(4, 0x00000834 | 0x100);  // logical, lowest priority, vector 34
  CHECK(sent.empty());
  ioapic.set_irq(4, true);
  ioapic.set_irq(4, true);
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].vector == 0x34);
  CHECK(sent[0].mode == DeliveryMode::kLowestPriority);
  CHECK(sent[0].logical);
  CHECK(sent[0].destination == 3);
  CHECK_FALSE(sent[0].level_triggered);
  CHECK((low(4) & kRemoteIrr) == 0);
  ioapic.set_irq(4, false);
  ioapic.set_irq(4, true);
  CHECK(sent.size() == 2);
}

TEST_CASE_FIXTURE(Fixture, "ioapic: a level waits for its EOI and comes again while it lasts") {
  ioapic.set_irq(10, true);
  set_low(10, kLevel | 0x51);  // unmasking finds the line high
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].level_triggered);
  CHECK(low(10) == (kLevel | kRemoteIrr | 0x51));
  ioapic.set_irq(10, false);
  ioapic.set_irq(10, true);
  CHECK(sent.size() == 1);
  ioapic.end_of_interrupt(0x52);
  CHECK(sent.size() == 1);
  ioapic.end_of_interrupt(0x51);
  CHECK(sent.size() == 2);
  SUBCASE("the line drops") {
    ioapic.set_irq(10, false);
    ioapic.end_of_interrupt(0x51);
    CHECK(sent.size() == 2);
    CHECK(low(10) == (kLevel | 0x51));
  }
  SUBCASE("masked: the EOI clears remote IRR, unmasking sends again") {
    set_low(10, kMasked | kLevel | 0x51);
    CHECK((low(10) & kRemoteIrr) != 0);
    ioapic.end_of_interrupt(0x51);
    CHECK(sent.size() == 2);
    CHECK((low(10) & kRemoteIrr) == 0);
    set_low(10, kLevel | 0x51);
    CHECK(sent.size() == 3);
  }
  SUBCASE("there is no EOI register") {
    ioapic.mmio_write(0x40, 4, 0x51);
    CHECK(sent.size() == 2);
  }
  SUBCASE("switching to edge and back") {
    ioapic.set_irq(10, false);
    set_low(10, kMasked | 0x51);
    CHECK((low(10) & kRemoteIrr) == 0);
    set_low(10, kLevel | 0x51);
    ioapic.set_irq(10, true);
    CHECK(sent.size() == 3);
  }
}

TEST_CASE_FIXTURE(Fixture, "ioapic: a refused level is tried again, a refused edge is gone") {
  accepts = false;
  set_low(5, kLevel | 0x40);
  set_low(6, 0x41);
  ioapic.set_irq(5, true);
  ioapic.set_irq(6, true);
  CHECK(sent.size() == 2);
  CHECK((low(5) & kRemoteIrr) == 0);
  accepts = true;
  ioapic.retry();
  REQUIRE(sent.size() == 3);
  CHECK(sent[2].vector == 0x40);
  CHECK((low(5) & kRemoteIrr) != 0);
}

TEST_CASE_FIXTURE(Fixture, "ioapic: NMI entries act on the edge whatever their trigger bit") {
  set_low(0, kLevel | 0x400);
  ioapic.set_irq(0, true);
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].mode == DeliveryMode::kNmi);
  CHECK_FALSE(sent[0].level_triggered);
  CHECK((low(0) & kRemoteIrr) == 0);
  set_low(0, kLevel | 0x400);
  CHECK(sent.size() == 1);
}

TEST_CASE_FIXTURE(Fixture, "ioapic: save and restore with a level in service") {
  write(0, 0x01000000);
  set_high(9, 0x0f000000);
  set_low(9, kLevel | 0x61);
  ioapic.set_irq(9, true);
  ioapic.mmio_write(0, 4, 0x22);
  tests::StateDump saved;
  ioapic.visit_state(saved);
  Fixture other;
  tests::StateLoad load(saved.fields);
  other.ioapic.visit_state(load);
  tests::StateDump again;
  other.ioapic.visit_state(again);
  CHECK(again.fields == saved.fields);
  CHECK(other.ioapic.mmio_read(0x10, 4) == (kLevel | kRemoteIrr | 0x61));
  other.ioapic.end_of_interrupt(0x61);
  REQUIRE(other.sent.size() == 1);
  CHECK(other.sent[0].destination == 0x0f);
}

TEST_CASE("ioapic: together with the local apic") {
  tests::FakeBoard board;
  LocalApic apic(board.clock, board.events);
  IoApic ioapic([&](const ApicMessage& message) { return apic.receive(message); });
  LocalApic::Wiring wiring;
  wiring.interrupt = {&board.irqs, 0};
  wiring.end_of_interrupt = [&](uint8_t vector) { ioapic.end_of_interrupt(vector); };
  wiring.accepting = [&] { ioapic.retry(); };
  apic.connect(wiring);
  ioapic.attach(board.mmio);
  board.mmio.attach(apic.base_address(), LocalApic::kWindowBytes, apic);
  const auto apic_write = [&](uint64_t offset, uint32_t value) { board.mmio.write(0xfee00000 + offset, 4, value); };

  board.mmio.write(0xfec00000, 4, 0x10 + 2 * 11);
  board.mmio.write(0xfec00010, 4, kLevel | 0x800 | 0x62);
  board.mmio.write(0xfec00000, 4, 0x11 + 2 * 11);
  board.mmio.write(0xfec00010, 4, 0x01000000);
  ioapic.set_irq(11, true);
  CHECK_FALSE(board.irqs.levels[0]);  // software-disabled
  apic_write(0xf0, 0x1ff);
  CHECK_FALSE(board.irqs.levels[0]);  // no logical address yet
  apic_write(0xd0, 0x01000000);
  CHECK(board.irqs.levels[0]);
  CHECK(apic.acknowledge() == 0x62);
  CHECK_FALSE(board.irqs.levels[0]);
  apic_write(0xb0, 0);
  CHECK(board.irqs.levels[0]);
  CHECK(apic.acknowledge() == 0x62);
  ioapic.set_irq(11, false);
  apic_write(0xb0, 0);
  CHECK_FALSE(board.irqs.levels[0]);
}

}  // namespace
}  // namespace understudy::devices
