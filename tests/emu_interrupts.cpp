// Interrupt delivery outside long mode, against SDM Vol. 2A "INT n" and Vol. 3A 6.12, 6.13, 6.15, table 6-5, 20.3.
#include <doctest/doctest.h>

#include <functional>
#include <string>

#include "emu/interrupts.h"
#include "tests/cpu_bench.h"

namespace {

using namespace understudy::emu;
using understudy::tests::CpuBench;
using understudy::tests::same;

constexpr uint8_t kVector = 0x40;

TEST_CASE("real mode: IVT entry, three words, flags cleared, upper ESP kept") {
  CpuBench b;
  b.enter_real_mode();
  b.memory.put<uint32_t>(kVector * 4, 0x12345678);
  set_eflags(b.cpu, CpuBench::kFlags | eflags::kTf | eflags::kAc | eflags::kCf | eflags::kDf);
  b.cpu.eip = 0x9abc;
  b.cpu.hflags |= hflags::kInhibitIrq;
  CHECK(b.deliver(EventKind::hardware, kVector) == Delivery::done);
  CHECK(b.cpu.eip == 0x5678);
  CHECK(b.cs() == 0x1234);
  CHECK(b.cpu.segs[kCs].base == 0x12340);
  CHECK(b.cpu.regs[kRsp] == 0xabcd00fa);
  CHECK(b.stack16(0) == 0x9abc);
  CHECK(b.stack16(1) == 0x2000);
  CHECK(b.stack16(2) == (0x0247 | eflags::kTf | eflags::kDf));
  CHECK(b.flags() == (0x0047 | eflags::kDf));
  CHECK_FALSE((b.cpu.hflags & hflags::kInhibitIrq));
  CHECK(b.cpu.old_exception == -1);
  CHECK(b.cpu.cc_op == kCcOpEflags);
}

TEST_CASE("real mode: stack wraps at 64 KiB, a relocated IVT, no error code") {
  CpuBench b;
  b.enter_real_mode();
  b.cpu.idt.base = 0x70000;
  b.memory.put<uint32_t>(0x70000 + 13 * 4, 0x00010002);
  b.cpu.regs[kRsp] = 2;
  CHECK(b.deliver(EventKind::exception, 13, 0x1234) == Delivery::done);
  CHECK(b.cpu.regs[kRsp] == 0xfffc);
  CHECK(b.memory.get<uint16_t>(0x20000) == 0x0246);
  CHECK(b.memory.get<uint16_t>(0x2fffc) == 0x1000);
  CHECK(b.cpu.eip == 2);
}

TEST_CASE("real mode: a vector beyond the limit is #GP, then #DF, then a triple fault") {
  CpuBench b;
  b.enter_real_mode();
  b.memory.put<uint32_t>(13 * 4, 0x00001313);
  b.cpu.idt.limit = kVector * 4 + 2;
  CHECK(b.deliver(EventKind::software_int, kVector) == Delivery::done);
  CHECK(b.cpu.eip == 0x1313);
  CHECK(b.stack16(0) == 0x1000);

  b.cpu.idt.limit = 13 * 4 + 2;
  b.memory.put<uint32_t>(8 * 4, 0x00000808);
  CHECK(b.deliver(EventKind::software_int, kVector) == Delivery::done);
  CHECK(b.cpu.eip == 0x0808);

  b.cpu.idt.limit = 0;
  const EngineCpu before = b.cpu;
  CHECK(b.deliver(EventKind::hardware, kVector) == Delivery::triple_fault);
  CHECK(same(before, b.cpu));

  b.cpu.idt.limit = 0x3ff;
  b.cpu.regs[kRsp] = 1;  // no room for a word: #SS, and no room for its frame either
  CHECK(b.deliver(EventKind::hardware, kVector) == Delivery::triple_fault);
}

TEST_CASE("32-bit gate to ring 0: stack from the TSS") {
  CpuBench b;
  b.set_gate(kVector, CpuBench::kInterrupt32, CpuBench::kCode0, 0xc0001234);
  set_eflags(b.cpu, CpuBench::kFlags | eflags::kNt | eflags::kTf | eflags::kRf | eflags::kAc | eflags::kCf);
  const uint32_t flags = b.flags();
  CHECK(b.deliver(EventKind::hardware, kVector) == Delivery::done);
  CHECK(b.cs() == CpuBench::kCode0);
  CHECK(b.cpu.eip == 0xc0001234);
  CHECK(b.ss() == CpuBench::kData0);
  CHECK(b.cpu.regs[kRsp] == CpuBench::kKernelStack - 20);
  CHECK(b.stack32(0) == 0x1000);
  CHECK(b.stack32(1) == CpuBench::kCode3);
  CHECK(b.stack32(2) == flags);
  CHECK(b.stack32(3) == CpuBench::kUserStack);
  CHECK(b.stack32(4) == CpuBench::kData3);
  CHECK(b.flags() == (0x0047 | eflags::kAc));
  CHECK(current_privilege(b.cpu) == 0);
  CHECK(b.cpu.segs[kDs].selector == CpuBench::kData3);
}

TEST_CASE("32-bit trap gate at the same privilege: same stack, IF kept, error code on top") {
  CpuBench b;
  b.enter(CpuBench::kCode0, CpuBench::kData0, 0x9000);
  b.set_gate(13, CpuBench::kTrap32, CpuBench::kCode0, 0x1313);
  CHECK(b.deliver(EventKind::exception, 13, 0xdead) == Delivery::done);
  CHECK(b.cpu.regs[kRsp] == 0x9000 - 16);
  CHECK(b.stack32(0) == 0xdead);
  CHECK(b.stack32(1) == 0x1000);
  CHECK(b.stack32(2) == CpuBench::kCode0);
  CHECK(b.stack32(3) == (CpuBench::kFlags | eflags::kRf));
  CHECK(b.flags() == CpuBench::kFlags);
}

TEST_CASE("16-bit gate: words, and the offset's upper half ignored") {
  CpuBench b;
  b.set_gate(kVector, CpuBench::kTrap16, CpuBench::kCode0, 0xffff1234);
  b.cpu.eip = 0x12345678;
  CHECK(b.deliver(EventKind::software_int, kVector) == Delivery::done);
  CHECK(b.cpu.eip == 0x1234);
  CHECK(b.cpu.regs[kRsp] == CpuBench::kKernelStack - 10);
  const uint64_t top = CpuBench::kKernelStack - 10;
  CHECK(b.memory.get<uint16_t>(top) == 0x567a);
  CHECK(b.memory.get<uint16_t>(top + 2) == CpuBench::kCode3);
  CHECK(b.memory.get<uint16_t>(top + 4) == CpuBench::kFlags);
  CHECK(b.memory.get<uint16_t>(top + 6) == (CpuBench::kUserStack & 0xffff));
  CHECK(b.memory.get<uint16_t>(top + 8) == CpuBench::kData3);
}

TEST_CASE("16-bit TSS, 16-bit stack: SP wraps inside the segment") {
  CpuBench b;
  b.cpu.tr.flags = 0x8100;
  b.cpu.tr.limit = 0x2b;
  b.memory.put<uint16_t>(CpuBench::kTss + 2, 4);
  b.memory.put<uint16_t>(CpuBench::kTss + 4, CpuBench::kData16);
  b.set_gate(kVector, CpuBench::kInterrupt16, CpuBench::kCode16, 0x40);
  CHECK(b.deliver(EventKind::hardware, kVector) == Delivery::done);
  CHECK(b.cpu.regs[kRsp] == 0xfffa);
  CHECK(b.memory.get<uint16_t>(0x50002) == CpuBench::kData3);
  CHECK(b.memory.get<uint16_t>(0x50000) == (CpuBench::kUserStack & 0xffff));
  CHECK(b.memory.get<uint16_t>(0x5fffa) == 0x1000);
  CHECK(b.cpu.segs[kCs].base == 0x40000);
  CHECK_FALSE((b.cpu.hflags & (hflags::kCs32 | hflags::kSs32)));
}

TEST_CASE("16-bit stack of a 32-bit gate keeps ESP's upper half") {
  CpuBench b;
  b.enter(CpuBench::kCode0, CpuBench::kData16, 0xabcd0010);
  b.set_gate(kVector, CpuBench::kInterrupt32, CpuBench::kCode0, 0x4444);
  CHECK(b.deliver(EventKind::hardware, kVector) == Delivery::done);
  CHECK(b.cpu.regs[kRsp] == 0xabcd0004);
  CHECK(b.memory.get<uint32_t>(0x50004) == 0x1000);
}

TEST_CASE("conforming code keeps the caller's privilege and stack") {
  CpuBench b;
  b.set_gate(kVector, CpuBench::kInterrupt32, CpuBench::kConforming, 0x7777);
  CHECK(b.deliver(EventKind::hardware, kVector) == Delivery::done);
  CHECK(b.cs() == (CpuBench::kConforming | 3));
  CHECK(current_privilege(b.cpu) == 3);
  CHECK(b.cpu.regs[kRsp] == CpuBench::kUserStack - 12);
}

TEST_CASE("descriptors taken up are marked accessed") {
  CpuBench b;
  b.set_descriptor(CpuBench::kCode0, 0, 0xffffffff, 0x9a, CpuBench::kDefault32);
  b.set_descriptor(CpuBench::kData0, 0, 0xffffffff, 0x92, CpuBench::kDefault32);
  b.set_gate(kVector, CpuBench::kInterrupt32, CpuBench::kCode0, 0x4444);
  CHECK(b.deliver(EventKind::hardware, kVector) == Delivery::done);
  CHECK((b.descriptor(CpuBench::kCode0).high & descriptor::kAccessed));
  CHECK((b.descriptor(CpuBench::kData0).high & descriptor::kAccessed));
  CHECK((b.cpu.segs[kCs].flags & descriptor::kAccessed));
}

TEST_CASE("RF and error code in the frame, by vector") {  // SDM Vol. 3A table 6-1, Vol. 3B 17.3.1.1
  for (unsigned vector = 0; vector < 20; ++vector) {
    if (vector == 9 || vector == 15) continue;
    CAPTURE(vector);
    CpuBench b;
    b.set_gate(static_cast<uint8_t>(vector), CpuBench::kInterrupt32, CpuBench::kCode0, 0x4444);
    CHECK(b.deliver(EventKind::exception, static_cast<uint8_t>(vector), 0x55) == Delivery::done);
    const bool code =
        vector == 8 || vector == 10 || vector == 11 || vector == 12 || vector == 13 || vector == 14 || vector == 17;
    const bool fault = vector != 1 && vector != 2 && vector != 3 && vector != 4 && vector != 8 && vector != 18;
    CHECK(b.cpu.regs[kRsp] == CpuBench::kKernelStack - (code ? 24 : 20));
    if (code) CHECK(b.stack32(0) == 0x55);
    CHECK(b.stack32(code ? 3 : 2) == (CpuBench::kFlags | (fault ? eflags::kRf : 0)));
  }
}

TEST_CASE("a vector that comes from outside has no error code, whatever its number") {
  for (const EventKind kind : {EventKind::hardware, EventKind::software_int, EventKind::debug_trap, EventKind::icebp}) {
    CpuBench b;
    b.set_gate(13, CpuBench::kInterrupt32, CpuBench::kCode0, 0x4444);
    CHECK(b.deliver(kind, 13, 0x55) == Delivery::done);
    CHECK(b.cpu.regs[kRsp] == CpuBench::kKernelStack - 20);
  }
}

TEST_CASE("instructions that raise events push RF clear, events from outside push it as it is") {
  const auto pushed = [](EventKind kind) {
    CpuBench b;
    set_eflags(b.cpu, CpuBench::kFlags | eflags::kRf);
    b.set_gate(kVector, CpuBench::kInterrupt32, CpuBench::kCode0, 0x4444);
    CHECK(b.deliver(kind, kVector) == Delivery::done);
    return (b.stack32(2) & eflags::kRf) != 0;
  };
  CHECK_FALSE(pushed(EventKind::software_int));
  CHECK_FALSE(pushed(EventKind::int3));
  CHECK_FALSE(pushed(EventKind::into));
  CHECK_FALSE(pushed(EventKind::icebp));
  CHECK(pushed(EventKind::hardware));
  CHECK(pushed(EventKind::debug_trap));
}

TEST_CASE("the gate's DPL counts for INT n, INT3 and INTO only") {
  for (const EventKind kind : {EventKind::software_int, EventKind::int3, EventKind::into, EventKind::hardware,
                               EventKind::exception, EventKind::debug_trap, EventKind::icebp}) {
    CAPTURE(static_cast<int>(kind));
    CpuBench b;
    b.set_gate(kVector, CpuBench::kInterrupt32, CpuBench::kCode0, CpuBench::handler(kVector), 2);
    b.set_gate(13, CpuBench::kInterrupt32, CpuBench::kCode0, CpuBench::handler(13), 0);
    CHECK(b.deliver(kind, kVector) == Delivery::done);
    const bool software = kind == EventKind::software_int || kind == EventKind::int3 || kind == EventKind::into;
    CHECK(b.cpu.eip == CpuBench::handler(software ? 13 : kVector));
    if (software) {
      CHECK(b.stack32(0) == (kVector * 8 + 2));
      CHECK(b.stack32(1) == 0x1000);  // the instruction's own address, not the next one
      CHECK(b.stack32(3) == (CpuBench::kFlags | eflags::kRf));
    }
  }
}

// What goes wrong on the way from ring 3 to ring 0, and the exception that results.
struct Refusal {
  const char* name;
  std::function<void(CpuBench&)> arrange;
  uint8_t vector;
  uint32_t code;  // EXT not counted
};

const Refusal kRefusals[] = {
    {"beyond the IDT", [](CpuBench& b) { b.cpu.idt.limit = kVector * 8 + 6; }, 13, kVector * 8 + 2},
    {"call gate in the IDT", [](CpuBench& b) { b.set_gate(kVector, 12, CpuBench::kCode0, 0); }, 13, kVector * 8 + 2},
    {"code segment in the IDT", [](CpuBench& b) { b.set_gate(kVector, 0x1e, CpuBench::kCode0, 0); }, 13,
     kVector * 8 + 2},
    {"gate not present", [](CpuBench& b) { b.set_gate(kVector, 14, CpuBench::kCode0, 0, 3, false); }, 11,
     kVector * 8 + 2},
    {"IDT not in memory",
     [](CpuBench& b) {
       b.cpu.idt.base = CpuBench::kIdt + 0x1000 - kVector * 8;  // this gate and later ones on the next page
       for (unsigned i = 0; i < 0x100; ++i)
         b.memory.put<uint64_t>(b.cpu.idt.base + 8 * i, b.memory.get<uint64_t>(CpuBench::kIdt + 8 * i));
       b.memory.absent.insert((CpuBench::kIdt >> 12) + 1);
     },
     14, 0},
    {"null code selector", [](CpuBench& b) { b.set_gate(kVector, 14, 3, 0); }, 13, 0},
    {"code beyond the GDT", [](CpuBench& b) { b.set_gate(kVector, 14, 0x83, 0); }, 13, 0x80},
    {"code beyond the LDT", [](CpuBench& b) { b.set_gate(kVector, 14, 0x0c, 0); }, 13, 0x0c},
    {"code selector names data", [](CpuBench& b) { b.set_gate(kVector, 14, CpuBench::kData0, 0); }, 13,
     CpuBench::kData0},
    {"code selector names a TSS", [](CpuBench& b) { b.set_gate(kVector, 14, CpuBench::kTssSelector, 0); }, 13,
     CpuBench::kTssSelector},
    {"code not present",
     [](CpuBench& b) {
       b.set_descriptor(CpuBench::kSpare, 0, 0xffffffff, 0x1a, CpuBench::kDefault32);
       b.set_gate(kVector, 14, CpuBench::kSpare, 0);
     },
     11, CpuBench::kSpare},
    {"TSS too short for the stack", [](CpuBench& b) { b.cpu.tr.limit = 8; }, 10, CpuBench::kTssSelector},
    {"16-bit TSS too short for the stack",
     [](CpuBench& b) {
       b.cpu.tr.flags = 0x8100;
       b.cpu.tr.limit = 4;
     },
     10, CpuBench::kTssSelector},
    {"no TSS",
     [](CpuBench& b) {
       b.cpu.tr = {0, 0, 0, 0, 0};
     },
     10, 0},
    {"null stack selector", [](CpuBench& b) { b.memory.put<uint16_t>(CpuBench::kTss + 8, 0); }, 10, 0},
    {"stack beyond the GDT", [](CpuBench& b) { b.memory.put<uint16_t>(CpuBench::kTss + 8, 0x80); }, 10, 0x80},
    {"stack selector with the wrong RPL",
     [](CpuBench& b) { b.memory.put<uint16_t>(CpuBench::kTss + 8, CpuBench::kData0 | 1); }, 10, CpuBench::kData0},
    {"stack segment with the wrong DPL",
     [](CpuBench& b) { b.memory.put<uint16_t>(CpuBench::kTss + 8, CpuBench::kData3 & ~3); }, 10, CpuBench::kData3 & ~3},
    {"stack segment is code", [](CpuBench& b) { b.memory.put<uint16_t>(CpuBench::kTss + 8, CpuBench::kCode0); }, 10,
     CpuBench::kCode0},
    {"stack segment read-only",
     [](CpuBench& b) { b.set_descriptor(CpuBench::kData0, 0, 0xffffffff, 0x91, CpuBench::kDefault32); }, 10,
     CpuBench::kData0},
    {"stack segment not present",
     [](CpuBench& b) { b.set_descriptor(CpuBench::kData0, 0, 0xffffffff, 0x13, CpuBench::kDefault32); }, 12,
     CpuBench::kData0},
    {"new stack too small", [](CpuBench& b) { b.memory.put<uint32_t>(CpuBench::kTss + 4, 14); }, 12, CpuBench::kData0},
    {"new stack beyond its limit",
     [](CpuBench& b) {
       b.set_descriptor(CpuBench::kData0, 0, CpuBench::kKernelStack - 2, CpuBench::kData, CpuBench::kDefault32);
     },
     12, CpuBench::kData0},
    {"new stack below an expand-down segment",
     [](CpuBench& b) {
       b.set_descriptor(CpuBench::kData0, 0, CpuBench::kKernelStack - 20, 0x97, CpuBench::kDefault32);
     },
     12, CpuBench::kData0},
    {"handler beyond the code's limit",
     [](CpuBench& b) {
       b.set_descriptor(CpuBench::kSpare, 0, 0xfff, CpuBench::kCode, CpuBench::kDefault32);
       b.set_gate(kVector, 14, CpuBench::kSpare, 0x1000);
     },
     13, 0},
    {"new stack not in memory", [](CpuBench& b) { b.memory.absent.insert(CpuBench::kKernelStack >> 12); }, 14, 2},
    {"new stack read-only in the page tables",
     [](CpuBench& b) { b.memory.read_only.insert(CpuBench::kKernelStack >> 12); }, 14, 3},
    {"TSS not in memory", [](CpuBench& b) { b.memory.absent.insert(CpuBench::kTss >> 12); }, 14, 0},
};

TEST_CASE("what stops a delivery from ring 3 to ring 0, with EXT by the event") {
  for (const Refusal& refusal : kRefusals) {
    for (const EventKind kind : {EventKind::hardware, EventKind::software_int}) {
      CpuBench b;
      CAPTURE(std::string(refusal.name));
      CAPTURE(static_cast<int>(kind));
      b.set_gate(kVector, CpuBench::kInterrupt32, CpuBench::kCode0, CpuBench::handler(kVector));
      b.set_fault_gates_in_ring3();
      refusal.arrange(b);
      CHECK(b.deliver(kind, kVector) == Delivery::done);
      CHECK(b.cpu.eip == CpuBench::handler(refusal.vector));
      const bool external = kind == EventKind::hardware && refusal.vector != 14;
      CHECK(b.cpu.regs[kRsp] == CpuBench::kUserStack - 16);
      CHECK(b.stack32(0) == (refusal.code | (external ? 1 : 0)));
      CHECK(b.stack32(1) == 0x1000);
      CHECK(b.stack32(2) == CpuBench::kCode3);
      CHECK(b.stack32(3) == (CpuBench::kFlags | eflags::kRf));
      CHECK(b.ss() == CpuBench::kData3);
    }
  }
}

TEST_CASE("an expand-down stack has room above its limit") {
  CpuBench b;
  b.set_gate(kVector, CpuBench::kInterrupt32, CpuBench::kCode0, CpuBench::handler(kVector));
  b.set_descriptor(CpuBench::kData0, 0, CpuBench::kKernelStack - 21, 0x97, CpuBench::kDefault32);
  CHECK(b.deliver(EventKind::hardware, kVector) == Delivery::done);
  CHECK(b.cpu.eip == CpuBench::handler(kVector));
}

TEST_CASE("a 16-bit expand-down stack ends at 64 KiB") {
  for (const uint32_t sp : {1u, 0u}) {
    CpuBench b;
    b.set_descriptor(CpuBench::kData16, 0x50000, 0xff, 0x97, 0);
    b.enter(CpuBench::kCode0, CpuBench::kData16, sp);
    b.set_gate(kVector, CpuBench::kInterrupt16, CpuBench::kCode0, 0);
    CHECK(b.deliver(EventKind::hardware, kVector) == (sp ? Delivery::triple_fault : Delivery::done));
  }
}

TEST_CASE("code less privileged than the interrupted code") {
  CpuBench b;
  b.enter(CpuBench::kCode0, CpuBench::kData0, 0x9000);
  b.set_gate(kVector, CpuBench::kInterrupt32, CpuBench::kCode3, 0);
  b.set_gate(13, CpuBench::kInterrupt32, CpuBench::kCode0, CpuBench::handler(13));
  CHECK(b.deliver(EventKind::hardware, kVector) == Delivery::done);
  CHECK(b.cpu.eip == CpuBench::handler(13));
  CHECK(b.stack32(0) == ((CpuBench::kCode3 & ~3) | 1));
}

TEST_CASE("same stack too small: #SS(EXT), and the page fault of a push has the address of the first that fails") {
  CpuBench b;
  b.enter(CpuBench::kCode0, CpuBench::kData16, 6);
  b.set_gate(kVector, CpuBench::kInterrupt32, CpuBench::kCode0, 0);
  b.set_gate(12, CpuBench::kInterrupt16, CpuBench::kCode0, CpuBench::handler(12));
  b.cpu.regs[kRsp] = 10;  // the third doubleword would wrap from 2 to 0xfffe..1
  CHECK(b.deliver(EventKind::hardware, kVector) == Delivery::done);
  CHECK(b.cpu.eip == CpuBench::handler(12));
  CHECK(b.stack16(0) == 1);

  CpuBench c;
  c.enter(CpuBench::kCode0, CpuBench::kData0, 0x9008);
  c.set_gate(kVector, CpuBench::kInterrupt32, CpuBench::kCode0, 0);
  c.memory.absent.insert(8);
  CHECK(c.deliver(EventKind::hardware, kVector) == Delivery::triple_fault);
  CHECK(c.cpu.cr[2] == 0x8ffc);
}

TEST_CASE("V86: ring 0 gets the data segments, which become null") {
  for (const bool wide : {true, false}) {
    CpuBench b;
    b.enter_v86(3);
    b.cpu.eip = 0x77;
    b.set_gate(kVector, wide ? 14 : 6, CpuBench::kCode0, 0x1234);
    const uint32_t flags = b.flags();
    CHECK(b.deliver(EventKind::software_int, kVector) == Delivery::done);
    CHECK(b.cpu.regs[kRsp] == CpuBench::kKernelStack - (wide ? 36 : 18));
    const uint64_t top = b.cpu.regs[kRsp];
    const uint32_t expected[] = {0x79, 0x2222, flags, 0xfff0, 0x2333, 0x1111, 0x4444, 0x5555, 0x6666};
    for (unsigned i = 0; i < 9; ++i) {
      if (wide)
        CHECK(b.memory.get<uint32_t>(top + 4 * i) == expected[i]);
      else
        CHECK(b.memory.get<uint16_t>(top + 2 * i) == (expected[i] & 0xffff));
    }
    CHECK_FALSE(in_v86(b.cpu));
    CHECK(current_privilege(b.cpu) == 0);
    for (const auto i : {kDs, kEs, kFs, kGs}) {
      CHECK(b.cpu.segs[i].selector == 0);
      CHECK(b.cpu.segs[i].flags == 0);
    }
    CHECK((b.cpu.hflags & hflags::kCs32));
    CHECK_FALSE((b.cpu.hflags & hflags::kAddSeg));
  }
}

TEST_CASE("V86: INT n needs IOPL 3; INT3, INTO and the outside do not") {
  const auto vector_reached = [](EventKind kind, uint32_t& code) {
    CpuBench b;
    b.enter_v86(2);
    b.set_gate(kVector, CpuBench::kInterrupt32, CpuBench::kCode0, CpuBench::handler(kVector));
    b.set_gate(13, CpuBench::kInterrupt32, CpuBench::kCode0, CpuBench::handler(13), 0);
    CHECK(b.deliver(kind, kVector) == Delivery::done);
    code = b.stack32(0);
    return (static_cast<uint32_t>(b.cpu.eip) - CpuBench::handler(0)) / 16;
  };
  uint32_t code = 1;
  CHECK(vector_reached(EventKind::software_int, code) == 13);
  CHECK(code == 0);
  CHECK(vector_reached(EventKind::int3, code) == kVector);
  CHECK(vector_reached(EventKind::into, code) == kVector);
  CHECK(vector_reached(EventKind::hardware, code) == kVector);
}

TEST_CASE("V86: only nonconforming ring 0 code will do") {
  for (const uint16_t selector : {CpuBench::kConforming, CpuBench::kCode3, CpuBench::kSpare}) {
    CAPTURE(selector);
    CpuBench b;
    b.enter_v86(3);
    b.set_descriptor(CpuBench::kSpare, 0, 0xffffffff, CpuBench::kCode | 0x20, CpuBench::kDefault32);
    b.set_gate(kVector, CpuBench::kInterrupt32, selector, 0);
    b.set_gate(13, CpuBench::kInterrupt32, CpuBench::kCode0, CpuBench::handler(13));
    CHECK(b.deliver(EventKind::hardware, kVector) == Delivery::done);
    CHECK(b.cpu.eip == CpuBench::handler(13));
    CHECK(b.stack32(0) == ((selector & ~3u) | 1));
  }
}

// SDM Vol. 3A table 6-5: what a fault during the delivery of another becomes.
TEST_CASE("nested faults") {
  const auto result = [](uint8_t first, uint8_t second) {
    CpuBench b;
    b.set_fault_gates_in_ring3();
    b.set_gate(first, CpuBench::kInterrupt32, CpuBench::kCode0, 0);
    switch (second) {  // break the way to ring 0 in the one way or the other; the later gates do not need it
      case 10:
        b.cpu.tr.limit = 0;
        break;
      case 11:
        b.set_gate(first, CpuBench::kInterrupt32, CpuBench::kCode0, 0, 3, false);
        break;
      case 12:
        b.memory.put<uint32_t>(CpuBench::kTss + 4, 14);  // a word would wrap around 4 GiB
        break;
      case 13:
        b.set_gate(first, 12, CpuBench::kCode0, 0);
        break;
      case 14:
        b.memory.absent.insert(CpuBench::kKernelStack >> 12);
        break;
    }
    const Delivery delivery = b.deliver(EventKind::exception, first, 0);
    if (delivery == Delivery::triple_fault) return 0u;
    return (static_cast<uint32_t>(b.cpu.eip) - CpuBench::handler(0)) / 16;
  };
  for (const uint8_t second : {10, 11, 12, 13, 14}) {
    CAPTURE(second);
    for (const uint8_t benign : {1, 3, 4, 5, 6, 7, 16, 17, 18, 19}) CHECK(result(benign, second) == second);
    for (const uint8_t contributory : {0, 10, 11, 12, 13}) {
      CAPTURE(contributory);
      CHECK(result(contributory, second) == (second == 14 ? 14 : 8));
    }
    CHECK(result(14, second) == 8);
    CHECK(result(8, second) == 0);
  }
}

TEST_CASE("#DF has error code 0; CR2 follows every page fault") {
  CpuBench b;
  b.set_fault_gates_in_ring3();
  b.set_gate(14, CpuBench::kInterrupt32, CpuBench::kCode0, 0);
  b.memory.absent.insert(CpuBench::kKernelStack >> 12);
  InterruptDelivery delivery(b.cpu, b.memory);
  CHECK(delivery.deliver_fault({14, true, 7, 0x1234}, 0x2000, b.flags()) == Delivery::done);
  CHECK(b.cpu.eip == CpuBench::handler(8));
  CHECK(b.stack32(0) == 0);
  CHECK(b.stack32(1) == 0x2000);
  CHECK(b.cpu.cr[2] == CpuBench::kKernelStack - 4);
}

TEST_CASE("our own page fault sets CR2 and pushes its code") {
  CpuBench b;
  b.set_gate(14, CpuBench::kInterrupt32, CpuBench::kCode0, CpuBench::handler(14));
  InterruptDelivery delivery(b.cpu, b.memory);
  CHECK(delivery.deliver_fault({14, true, 7, 0xcafe000}, 0x2000, b.flags()) == Delivery::done);
  CHECK(b.cpu.cr[2] == 0xcafe000);
  CHECK(b.stack32(0) == 7);
  CHECK(b.stack32(1) == 0x2000);
}

TEST_CASE("a triple fault leaves the record as it was") {
  CpuBench b;
  b.cpu.idt.limit = 0;
  const EngineCpu before = [&] {
    EngineCpu copy = b.cpu;
    copy.old_exception = -1;
    return copy;
  }();
  CHECK(b.deliver(EventKind::exception, 6) == Delivery::triple_fault);
  CHECK(same(before, b.cpu));
}

TEST_CASE("a software interrupt that fails, a fault that fails: nothing of the first attempt remains") {
  CpuBench b;
  b.set_gate(kVector, CpuBench::kInterrupt32, CpuBench::kCode0, 0);
  b.memory.absent.insert(CpuBench::kKernelStack >> 12);
  b.cpu.regs[kRsp] = 0x18;
  b.set_gate(14, CpuBench::kInterrupt32, CpuBench::kCode3, CpuBench::handler(14));
  b.cpu.hflags |= hflags::kInhibitIrq;
  EngineCpu before = b.cpu;
  CHECK(b.deliver(EventKind::software_int, kVector) == Delivery::done);
  // Only what the #PF itself changed differs.
  b.cpu.eip = before.eip;
  b.cpu.regs[kRsp] = before.regs[kRsp];
  b.cpu.cr[2] = before.cr[2];
  b.cpu.eflags = before.eflags;
  before.old_exception = -1;
  before.hflags &= ~hflags::kInhibitIrq;
  CHECK(same(before, b.cpu));
}

}  // namespace
