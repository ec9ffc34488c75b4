// Interrupt delivery in long mode, against SDM Vol. 3A 6.14 and Vol. 2A "INT n".
#include <doctest/doctest.h>

#include <functional>
#include <string>

#include "emu/interrupts.h"
#include "tests/cpu_bench.h"

namespace {

using namespace understudy::emu;
using understudy::tests::CpuBench;

constexpr uint8_t kVector = 0x80;
constexpr uint64_t kHandler = 0xffffffff81234567;

TEST_CASE("long mode: ring 3 to ring 0, null SS, five quadwords") {
  CpuBench b;
  b.enter_long_mode(3);
  b.set_long_gate(kVector, CpuBench::kInterrupt32, CpuBench::kCode0, kHandler);
  b.cpu.hflags |= hflags::kInhibitIrq;
  CHECK(b.deliver(EventKind::software_int, kVector) == Delivery::done);
  CHECK(b.cpu.eip == kHandler);
  CHECK(b.cs() == CpuBench::kCode0);
  CHECK(b.ss() == 0);
  CHECK(current_privilege(b.cpu) == 0);
  CHECK(b.cpu.regs[kRsp] == (CpuBench::kLongStack0 & ~15ull) - 40);
  CHECK(b.stack64(0) == 0x7fff00001002);
  CHECK(b.stack64(1) == CpuBench::kCode3);
  CHECK(b.stack64(2) == CpuBench::kFlags);
  CHECK(b.stack64(3) == CpuBench::kLongUserStack);
  CHECK(b.stack64(4) == CpuBench::kData3);
  CHECK(b.flags() == (CpuBench::kFlags & ~eflags::kIf));
  CHECK((b.cpu.hflags & (hflags::kCs64 | hflags::kCs32 | hflags::kInhibitIrq)) == (hflags::kCs64 | hflags::kCs32));
}

TEST_CASE("long mode: same privilege aligns the stack and keeps SS; trap gate keeps IF") {
  CpuBench b;
  b.enter_long_mode(0);
  b.set_long_gate(14, CpuBench::kTrap32, CpuBench::kCode0, kHandler);
  CHECK(b.deliver(EventKind::exception, 14, 0x15) == Delivery::done);
  CHECK(b.cpu.regs[kRsp] == (CpuBench::kLongUserStack & ~15ull) - 48);
  CHECK(b.stack64(0) == 0x15);
  CHECK(b.stack64(1) == 0x7fff00001000);
  CHECK(b.stack64(3) == (CpuBench::kFlags | eflags::kRf));
  CHECK(b.stack64(4) == CpuBench::kLongUserStack);
  CHECK(b.ss() == CpuBench::kData0);
  CHECK(b.flags() == CpuBench::kFlags);
}

TEST_CASE("long mode: every IST entry, with and without a change of privilege") {
  for (unsigned ist = 1; ist <= 7; ++ist) {
    for (const unsigned privilege : {0u, 3u}) {
      CAPTURE(ist);
      CAPTURE(privilege);
      CpuBench b;
      b.enter_long_mode(privilege);
      b.set_long_gate(kVector, CpuBench::kInterrupt32, CpuBench::kCode0, kHandler, ist);
      CHECK(b.deliver(EventKind::hardware, kVector) == Delivery::done);
      CHECK(b.cpu.regs[kRsp] == CpuBench::kIstStack + 0x1000 * ist - 40);
      CHECK(b.stack64(3) == CpuBench::kLongUserStack);
      CHECK(b.ss() == (privilege ? 0 : CpuBench::kData0));
    }
  }
}

TEST_CASE("long mode: out of compatibility mode") {
  CpuBench b;
  b.enter_long_mode(3);
  b.set_descriptor(CpuBench::kSpare, 0, 0xffffffff, CpuBench::kCode | CpuBench::kUser, CpuBench::kDefault32);
  b.load(kCs, CpuBench::kSpare | 3);
  CHECK_FALSE(in_64bit_code(b.cpu));
  b.cpu.eip = 0x8048000;
  b.cpu.regs[kRsp] = 0xbffff000;
  b.set_long_gate(4, CpuBench::kInterrupt32, CpuBench::kCode0, kHandler);
  CHECK(b.deliver(EventKind::into, 4) == Delivery::done);
  CHECK(b.stack64(0) == 0x8048000);
  CHECK(b.stack64(1) == (CpuBench::kSpare | 3));
  CHECK(b.stack64(3) == 0xbffff000);
  CHECK((b.cpu.hflags & hflags::kCs64) != 0);
}

struct Refusal {
  const char* name;
  std::function<void(CpuBench&)> arrange;
  uint8_t vector;
  uint32_t code;  // EXT not counted
};

constexpr uint32_t kGateCode = kVector * 8 + 2;

const Refusal kRefusals[] = {
    {"beyond the IDT", [](CpuBench& b) { b.cpu.idt.limit = kVector * 16 + 14; }, 13, kGateCode},
    {"286 gate", [](CpuBench& b) { b.set_long_gate(kVector, 6, CpuBench::kCode0, kHandler); }, 13, kGateCode},
    {"task gate", [](CpuBench& b) { b.set_long_gate(kVector, 5, CpuBench::kTssSelector, kHandler); }, 13, kGateCode},
    {"gate not present", [](CpuBench& b) { b.set_long_gate(kVector, 14, CpuBench::kCode0, kHandler, 0, 3, false); }, 11,
     kGateCode},
    {"null code selector", [](CpuBench& b) { b.set_long_gate(kVector, 14, 0, kHandler); }, 13, 0},
    {"code beyond the GDT", [](CpuBench& b) { b.set_long_gate(kVector, 14, 0x80, kHandler); }, 13, 0x80},
    {"data segment", [](CpuBench& b) { b.set_long_gate(kVector, 14, CpuBench::kData0, kHandler); }, 13,
     CpuBench::kData0},
    {"32-bit code segment",
     [](CpuBench& b) {
       b.set_descriptor(CpuBench::kSpare, 0, 0xffffffff, CpuBench::kCode, CpuBench::kDefault32);
       b.set_long_gate(kVector, 14, CpuBench::kSpare, kHandler);
     },
     13, CpuBench::kSpare},
    {"code segment with both L and D",
     [](CpuBench& b) {
       b.set_descriptor(CpuBench::kSpare, 0, 0, CpuBench::kCode, CpuBench::kDefault32 | CpuBench::kLongCode);
       b.set_long_gate(kVector, 14, CpuBench::kSpare, kHandler);
     },
     13, CpuBench::kSpare},
    {"code segment not present",
     [](CpuBench& b) {
       b.set_descriptor(CpuBench::kSpare, 0, 0, 0x1b, CpuBench::kLongCode);
       b.set_long_gate(kVector, 14, CpuBench::kSpare, kHandler);
     },
     11, CpuBench::kSpare},
    {"handler not canonical", [](CpuBench& b) { b.set_long_gate(kVector, 14, CpuBench::kCode0, 0x0000800000000000); },
     13, 0},
    {"stack not canonical", [](CpuBench& b) { b.memory.put<uint64_t>(CpuBench::kTss + 4, 0x0001000000000000); }, 12, 0},
    {"stack reaches out of the canonical half",
     [](CpuBench& b) { b.memory.put<uint64_t>(CpuBench::kTss + 4, 0xffff800000000010); }, 12, 0},
    {"TSS too short for RSP0", [](CpuBench& b) { b.cpu.tr.limit = 10; }, 10, CpuBench::kTssSelector},
    {"TSS too short for the IST",
     [](CpuBench& b) {
       b.set_long_gate(kVector, 14, CpuBench::kCode0, kHandler, 7);
       b.cpu.tr.limit = 28 + 56 + 6;
     },
     10, CpuBench::kTssSelector},
    {"no TSS",
     [](CpuBench& b) {
       b.cpu.tr = {0, 0, 0, 0, 0};
     },
     10, 0},
    {"stack not in memory", [](CpuBench& b) { b.memory.absent.insert((CpuBench::kLongStack0 - 9) >> 12); }, 14, 2},
};

TEST_CASE("long mode: what stops a delivery, with EXT by the event") {
  for (const Refusal& refusal : kRefusals) {
    for (const EventKind kind : {EventKind::hardware, EventKind::software_int}) {
      CpuBench b;
      CAPTURE(std::string(refusal.name));
      CAPTURE(static_cast<int>(kind));
      b.enter_long_mode(3);
      b.set_long_gate(kVector, CpuBench::kInterrupt32, CpuBench::kCode0, kHandler);
      b.set_fault_gates_in_ring3();
      refusal.arrange(b);
      CHECK(b.deliver(kind, kVector) == Delivery::done);
      CHECK(b.cpu.eip == CpuBench::long_handler(refusal.vector));
      const bool external = kind == EventKind::hardware && refusal.vector != 14;
      CHECK(b.stack64(0) == (refusal.code | (external ? 1 : 0)));
      CHECK(b.stack64(1) == 0x7fff00001000);
      CHECK(b.stack64(2) == CpuBench::kCode3);
      CHECK(b.stack64(4) == CpuBench::kLongUserStack);
    }
  }
}

TEST_CASE("long mode: INT n and the gate's DPL, INTO in 64-bit code") {
  CpuBench b;
  b.enter_long_mode(3);
  b.set_fault_gates_in_ring3();
  b.set_long_gate(kVector, CpuBench::kInterrupt32, CpuBench::kCode0, kHandler, 0, 0);
  CHECK(b.deliver(EventKind::software_int, kVector) == Delivery::done);
  CHECK(b.cpu.eip == CpuBench::long_handler(13));
  CHECK(b.stack64(0) == kGateCode);

  CpuBench c;
  c.enter_long_mode(3);
  c.set_fault_gates_in_ring3();
  c.set_long_gate(4, CpuBench::kInterrupt32, CpuBench::kCode0, kHandler);
  CHECK(c.deliver(EventKind::into, 4) == Delivery::done);
  CHECK(c.cpu.eip == CpuBench::long_handler(6));
}

TEST_CASE("long mode: a broken kernel stack becomes #DF on its IST stack; without that a triple fault") {
  for (const bool with_ist : {true, false}) {
    CpuBench b;
    b.enter_long_mode(3);
    b.set_long_gate(14, CpuBench::kInterrupt32, CpuBench::kCode0, kHandler);
    b.set_long_gate(8, CpuBench::kInterrupt32, CpuBench::kCode0, CpuBench::long_handler(8), with_ist ? 1 : 0);
    b.memory.absent.insert(CpuBench::kLongStack0 >> 12);
    b.memory.put<uint64_t>(CpuBench::kTss + 4, CpuBench::kLongStack0 + 0x100);
    const Delivery delivery = b.deliver(EventKind::exception, 14, 6);
    CHECK(b.cpu.cr[2] == (CpuBench::kLongStack0 & ~15ull) + 0x100 - 8);
    if (with_ist) {
      CHECK(delivery == Delivery::done);
      CHECK(b.cpu.eip == CpuBench::long_handler(8));
      CHECK(b.cpu.regs[kRsp] == CpuBench::kIstStack + 0x1000 - 48);
      CHECK(b.stack64(0) == 0);
      CHECK(b.stack64(1) == 0x7fff00001000);
    } else {
      CHECK(delivery == Delivery::triple_fault);
      CHECK(b.cpu.eip == 0x7fff00001000);
      CHECK(b.cpu.regs[kRsp] == CpuBench::kLongUserStack);
      CHECK(current_privilege(b.cpu) == 3);
    }
  }
}

}  // namespace
