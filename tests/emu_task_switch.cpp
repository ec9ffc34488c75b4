// Task switches, against SDM Vol. 3A 7.3 and tables 7-1 and 7-2.
#include <doctest/doctest.h>

#include <functional>
#include <string>

#include "emu/task_switch.h"
#include "tests/cpu_bench.h"

namespace {

using namespace understudy::emu;
using understudy::tests::CpuBench;
using understudy::tests::same;

constexpr uint64_t kNewTss = 0x18000;
constexpr uint16_t kNew = CpuBench::kSpare;
constexpr uint32_t kNewStack = 0x60800;
constexpr uint64_t kBusyBit = 1 << 9;

bool busy(CpuBench& b, uint16_t selector) { return b.descriptor(selector).high & kBusyBit; }

// A second task at kNewTss, in ring 0 unless a test changes it.
struct TaskBench : CpuBench {
  explicit TaskBench(bool wide = true) : wide_(wide) {
    cpu.cr[3] = 0x111000;
    cpu.dr[7] = 0x4ff;
    set_descriptor(kLdtSelector, kLdt, 0x3f, 0x82, 0);
    set_descriptor(0x04, 0, 0xffffffff, kData, kDefault32);
    set_descriptor(0x0c, 0, 0xffffffff, 0x90, kDefault32);  // the accessed bit is clear
    set_new_tss(false);
    if (wide) {
      memory.put<uint32_t>(kNewTss + 0x1c, 0x222000);
      memory.put<uint32_t>(kNewTss + 0x20, 0x7000);
      memory.put<uint32_t>(kNewTss + 0x24, 0x00000003);
      for (unsigned i = 0; i < 8; ++i) memory.put<uint32_t>(kNewTss + 0x28 + 4 * i, 0xa0000000 + i);
      memory.put<uint32_t>(kNewTss + 0x38, kNewStack);
      const uint16_t segments[] = {0x0c, kCode0, kData0, 0x04, 0, kConforming};
      for (unsigned i = 0; i < 6; ++i) set_segment(static_cast<SegmentIndex>(i), segments[i]);
      memory.put<uint16_t>(kNewTss + 0x60, kLdtSelector);
    } else {
      memory.put<uint16_t>(kNewTss + 0x0e, 0x7000);
      memory.put<uint16_t>(kNewTss + 0x10, 0x0003);
      for (unsigned i = 0; i < 8; ++i) memory.put<uint16_t>(kNewTss + 0x12 + 2 * i, static_cast<uint16_t>(0xa0 + i));
      memory.put<uint16_t>(kNewTss + 0x1a, 0x800);
      const uint16_t segments[] = {0x0c, kCode16, kData16, 0x04};
      for (unsigned i = 0; i < 4; ++i) set_segment(static_cast<SegmentIndex>(i), segments[i]);
      memory.put<uint16_t>(kNewTss + 0x2a, kLdtSelector);
    }
  }
  void set_new_tss(bool is_busy) {
    set_descriptor(kNew, kNewTss, wide_ ? 0x67 : 0x2b, (wide_ ? 0x89 : 0x81) | (is_busy ? 2 : 0), 0);
  }
  void set_segment(SegmentIndex index, uint16_t selector) {
    memory.put<uint16_t>(kNewTss + (wide_ ? 0x48 + 4 * index : 0x22 + 2 * index), selector);
  }
  bool run(TaskSwitchReason reason, uint16_t selector = kNew) {
    return task_switch(cpu, memory, {selector, reason, flags(), 0x1234, std::nullopt, false});
  }

 private:
  bool wide_;
};

TEST_CASE("32-bit task: everything is loaded") {
  TaskBench b;
  CHECK_FALSE(b.run(TaskSwitchReason::jump));
  CHECK(b.cpu.tr.selector == kNew);
  CHECK(b.cpu.tr.base == kNewTss);
  CHECK(b.cpu.tr.limit == 0x67);
  CHECK(b.cpu.cr[3] == 0x222000);
  CHECK(b.memory.flushes == 1);
  CHECK((b.cpu.cr[0] & cr0::kTs) != 0);
  CHECK((b.cpu.hflags & hflags::kTs) != 0);
  CHECK(b.cpu.eip == 0x7000);
  CHECK(b.flags() == 0x00000003);
  CHECK(b.cpu.regs[kRax] == 0xa0000000);
  CHECK(b.cpu.regs[kRdi] == 0xa0000007);
  CHECK(b.cpu.regs[kRsp] == kNewStack);
  CHECK(b.cpu.ldt.selector == CpuBench::kLdtSelector);
  CHECK(b.cpu.ldt.base == CpuBench::kLdt);
  CHECK(b.cpu.ldt.limit == 0x3f);
  CHECK(b.cs() == CpuBench::kCode0);
  CHECK(b.ss() == CpuBench::kData0);
  CHECK(b.cpu.segs[kDs].selector == 0x04);
  CHECK(b.cpu.segs[kDs].limit == 0xffffffff);
  CHECK(b.cpu.segs[kFs].selector == 0);
  CHECK(b.cpu.segs[kFs].flags == 0);
  CHECK(b.cpu.segs[kGs].selector == CpuBench::kConforming);
  CHECK((b.descriptor(0x0c).high & descriptor::kAccessed) != 0);
  CHECK(current_privilege(b.cpu) == 0);
  CHECK(b.cpu.dr[7] == (0x4ff & ~0x55));
}

TEST_CASE("32-bit task: what is saved, and only that") {
  TaskBench b;
  const uint32_t flags = b.flags();
  for (uint64_t at = 0; at < 0x68; at += 2) b.memory.put<uint16_t>(CpuBench::kTss + at, 0xeeee);
  CHECK_FALSE(b.run(TaskSwitchReason::jump));
  const auto word = [&](unsigned at) { return b.memory.get<uint32_t>(CpuBench::kTss + at); };
  CHECK(word(0x20) == 0x1234);
  CHECK(word(0x24) == flags);
  CHECK(word(0x28) == 0);
  CHECK(word(0x2c) == 0x1001);
  CHECK(word(0x38) == CpuBench::kUserStack);
  CHECK(word(0x44) == 0);
  CHECK(word(0x48) == (0xeeee0000 | CpuBench::kData3));
  CHECK(word(0x4c) == (0xeeee0000 | CpuBench::kCode3));
  CHECK(word(0x5c) == (0xeeee0000 | CpuBench::kData3));
  CHECK(word(0x1c) == 0xeeeeeeee);  // CR3
  CHECK(word(0x60) == 0xeeeeeeee);  // LDT
  CHECK(word(0x00) == 0xeeeeeeee);
}

TEST_CASE("16-bit task: words, upper halves, four segments, no CR3") {
  TaskBench b(false);
  set_eflags(b.cpu, CpuBench::kFlags | eflags::kAc);
  CHECK_FALSE(b.run(TaskSwitchReason::jump));
  CHECK(b.cpu.cr[3] == 0x111000);
  CHECK(b.memory.flushes == 0);
  CHECK(b.cpu.eip == 0x7000);
  CHECK(b.flags() == 3);
  CHECK(b.cpu.regs[kRax] == 0xffff00a0);
  CHECK(b.cpu.regs[kRsp] == 0xffff0800);
  CHECK(b.cs() == CpuBench::kCode16);
  CHECK(b.cpu.segs[kCs].base == 0x40000);
  CHECK(b.cpu.segs[kDs].selector == 0x04);
  CHECK(b.cpu.segs[kFs].selector == 0);
  CHECK(b.cpu.segs[kGs].selector == 0);
  CHECK(b.cpu.ldt.selector == CpuBench::kLdtSelector);
}

TEST_CASE("out of a 16-bit task: its form decides what is saved") {
  TaskBench b;
  b.cpu.tr.flags = 0x8100;
  b.cpu.tr.limit = 0x2b;
  CHECK_FALSE(b.run(TaskSwitchReason::jump));
  const auto word = [&](unsigned at) { return b.memory.get<uint16_t>(CpuBench::kTss + at); };
  CHECK(word(0x0e) == 0x1234);
  CHECK(word(0x10) == CpuBench::kFlags);
  CHECK(word(0x14) == 0x1001);
  CHECK(word(0x22) == CpuBench::kData3);
  CHECK(word(0x24) == CpuBench::kCode3);
  CHECK(word(0x28) == CpuBench::kData3);
  CHECK(word(0x2a) == 0);
  CHECK(b.cpu.eip == 0x7000);
}

TEST_CASE("busy bits, NT and link by the reason") {  // table 7-2
  for (const auto reason :
       {TaskSwitchReason::jump, TaskSwitchReason::call, TaskSwitchReason::gate, TaskSwitchReason::iret}) {
    CAPTURE(static_cast<int>(reason));
    TaskBench b;
    const bool links = reason == TaskSwitchReason::call || reason == TaskSwitchReason::gate;
    const bool returns = reason == TaskSwitchReason::iret;
    b.set_new_tss(returns);
    b.memory.put<uint16_t>(kNewTss, 0x7777);
    set_eflags(b.cpu, CpuBench::kFlags | eflags::kNt);
    CHECK_FALSE(b.run(reason));
    CHECK(busy(b, CpuBench::kTssSelector) == links);
    CHECK(busy(b, kNew));
    CHECK(b.memory.get<uint16_t>(kNewTss) == (links ? CpuBench::kTssSelector : 0x7777));
    CHECK(((b.flags() & eflags::kNt) != 0) == links);
    CHECK(((b.memory.get<uint32_t>(CpuBench::kTss + 0x24) & eflags::kNt) != 0) == !returns);
  }
}

TEST_CASE("an IRET whose link leads to its own TSS goes on with what it just saved") {
  TaskBench b;
  b.enter(CpuBench::kCode0, CpuBench::kData0, 0x9000);
  CHECK_FALSE(b.run(TaskSwitchReason::iret, CpuBench::kTssSelector));
  CHECK(b.cpu.eip == 0x1234);
  CHECK(b.cpu.regs[kRsp] == 0x9000);
}

TEST_CASE("into V86") {
  TaskBench b;
  b.memory.put<uint32_t>(kNewTss + 0x24, eflags::kVm | 2);
  b.set_segment(kCs, 0x1234);
  b.set_segment(kSs, 0x2000);
  CHECK_FALSE(b.run(TaskSwitchReason::jump));
  CHECK(in_v86(b.cpu));
  CHECK(current_privilege(b.cpu) == 3);
  CHECK((b.cpu.hflags & hflags::kCpl) == 3);
  CHECK(b.cpu.segs[kCs].base == 0x12340);
  CHECK(b.cpu.segs[kCs].limit == 0xffff);
}

TEST_CASE("the T flag asks for a debug trap and sets DR6.BT") {
  TaskBench b;
  b.memory.put<uint16_t>(kNewTss + 0x64, 1);
  CHECK(b.run(TaskSwitchReason::jump));
  CHECK(b.cpu.dr[6] == 1u << 15);
}

struct Refusal {
  const char* name;
  std::function<void(TaskBench&)> arrange;
  uint8_t vector;
  uint32_t code;
};

void expect_fault(const Refusal& refusal, TaskSwitchReason reason, bool in_new_task) {
  CAPTURE(std::string(refusal.name));
  CAPTURE(static_cast<int>(reason));
  TaskBench b;
  b.set_new_tss(reason == TaskSwitchReason::iret);
  refusal.arrange(b);
  const EngineCpu before = b.cpu;
  bool thrown = false;
  try {
    (void)b.run(reason);
  } catch (const NewTaskFault& fault) {
    thrown = true;
    CHECK(in_new_task);
    CHECK(fault.vector == refusal.vector);
    CHECK(fault.error_code == refusal.code);
    CHECK(b.cpu.eip == b.memory.get<uint32_t>(kNewTss + 0x20));
    CHECK(b.cpu.tr.selector == kNew);
  } catch (const GuestFault& fault) {
    thrown = true;
    CHECK_FALSE(in_new_task);
    CHECK(fault.vector == refusal.vector);
    CHECK(fault.error_code == refusal.code);
    CHECK(same(before, b.cpu));
    CHECK(busy(b, CpuBench::kTssSelector));
    CHECK(b.memory.get<uint32_t>(CpuBench::kTss + 0x20) == 0);
  }
  CHECK(thrown);
}

TEST_CASE("faults before the commit point leave the old task alone") {
  const auto put_tss = [](uint32_t limit, uint32_t access) {
    return [=](TaskBench& b) { b.set_descriptor(kNew, kNewTss, limit, access, 0); };
  };
  for (const auto reason : {TaskSwitchReason::jump, TaskSwitchReason::call, TaskSwitchReason::gate}) {
    const Refusal refusals[] = {
        {"beyond the GDT", [](TaskBench& b) { b.cpu.gdt.limit = kNew + 6; }, 13, kNew},
        {"busy", put_tss(0x67, 0x8b), 13, kNew},
        {"not a TSS", put_tss(0x67, 0x82), 13, kNew},
        {"a code segment", put_tss(0x67, 0x99), 13, kNew},
        {"not present", put_tss(0x67, 0x09), 11, kNew},
        {"too short", put_tss(0x66, 0x89), 10, kNew},
        {"16-bit, too short", put_tss(0x2a, 0x81), 10, kNew},
        {"no place to save the old task", [](TaskBench& b) { b.cpu.tr.limit = 0x5e; }, 10, CpuBench::kTssSelector},
        {"new TSS not in memory", [](TaskBench& b) { b.memory.absent.insert(kNewTss >> 12); }, 14, 0},
        {"old TSS read-only", [](TaskBench& b) { b.memory.read_only.insert(CpuBench::kTss >> 12); }, 14, 3},
        {"GDT read-only", [](TaskBench& b) { b.memory.read_only.insert(CpuBench::kGdt >> 12); }, 14, 3},
    };
    for (const Refusal& refusal : refusals) expect_fault(refusal, reason, false);
    if (reason != TaskSwitchReason::jump)  // the link is written there
      expect_fault({"new TSS read-only", [](TaskBench& b) { b.memory.read_only.insert(kNewTss >> 12); }, 14, 3}, reason,
                   false);
  }
  const Refusal on_return[] = {
      {"beyond the GDT", [](TaskBench& b) { b.cpu.gdt.limit = kNew + 6; }, 10, kNew},
      {"not busy", put_tss(0x67, 0x89), 10, kNew},
      {"not a TSS", put_tss(0x67, 0x82), 10, kNew},
      {"not present", put_tss(0x67, 0x0b), 11, kNew},
      {"too short", put_tss(0x66, 0x8b), 10, kNew},
      {"GDT read-only", [](TaskBench& b) { b.memory.read_only.insert(CpuBench::kGdt >> 12); }, 14, 3},
  };
  for (const Refusal& refusal : on_return) expect_fault(refusal, TaskSwitchReason::iret, false);
  TaskBench b;
  CHECK_THROWS_AS(b.run(TaskSwitchReason::jump, 0x4c), GuestFault);
  CHECK_THROWS_AS(b.run(TaskSwitchReason::jump, 0), GuestFault);
}

TEST_CASE("faults after the commit point belong to the new task") {
  const auto segment = [](SegmentIndex index, uint16_t selector) {
    return [=](TaskBench& b) { b.set_segment(index, selector); };
  };
  const auto describe = [](SegmentIndex index, uint32_t access, unsigned rpl) {
    return [=](TaskBench& b) {
      b.set_descriptor(CpuBench::kSpare2, 0, 0xffffffff, access, CpuBench::kDefault32);
      b.set_segment(index, static_cast<uint16_t>(CpuBench::kSpare2 | rpl));
    };
  };
  const auto ldt = [](uint16_t selector) {
    return [=](TaskBench& b) { b.memory.put<uint16_t>(kNewTss + 0x60, selector); };
  };
  const uint16_t spare = CpuBench::kSpare2;
  const Refusal refusals[] = {
      {"LDT in the LDT", ldt(CpuBench::kLdtSelector | 4), 10, CpuBench::kLdtSelector | 4},
      {"LDT beyond the GDT", ldt(0x80), 10, 0x80},
      {"LDT is a TSS", ldt(CpuBench::kTssSelector), 10, CpuBench::kTssSelector},
      {"LDT not present", [](TaskBench& b) { b.set_descriptor(CpuBench::kLdtSelector, CpuBench::kLdt, 0x3f, 0x02, 0); },
       10, CpuBench::kLdtSelector},
      {"CS null", segment(kCs, 0), 10, 0},
      {"CS beyond the GDT", segment(kCs, 0x80), 10, 0x80},
      {"CS beyond the LDT", segment(kCs, 0x44), 10, 0x44},
      {"CS is data", segment(kCs, CpuBench::kData0), 10, CpuBench::kData0},
      {"CS with DPL other than RPL", describe(kCs, 0x9b, 3), 10, spare},
      {"CS conforming with DPL above RPL", describe(kCs, 0xff, 0), 10, spare},
      {"CS not present", describe(kCs, 0x1b, 0), 11, spare},
      {"SS null", segment(kSs, 0), 10, 0},
      {"SS beyond the GDT", segment(kSs, 0x80), 10, 0x80},
      {"SS is code", segment(kSs, CpuBench::kCode0), 10, CpuBench::kCode0},
      {"SS read-only", describe(kSs, 0x91, 0), 10, spare},
      {"SS with the wrong DPL", describe(kSs, 0xf3, 0), 10, spare},
      {"SS with the wrong RPL", describe(kSs, 0x93, 1), 10, spare},
      {"SS not present", describe(kSs, 0x13, 0), 12, spare},
      {"DS beyond the GDT", segment(kDs, 0x80), 10, 0x80},
      {"ES is a TSS", segment(kEs, CpuBench::kTssSelector), 10, CpuBench::kTssSelector},
      {"FS is execute-only", describe(kFs, 0x99, 0), 10, spare},
      {"GS with DPL below RPL", describe(kGs, 0x93, 3), 10, spare},
      {"DS not present", describe(kDs, 0x13, 0), 11, spare},
      {"DS of ring 0 in a task of ring 3",
       [](TaskBench& b) {
         b.set_segment(kCs, CpuBench::kCode3);
         b.set_segment(kSs, CpuBench::kData3);
         b.set_segment(kEs, 0);
         b.set_segment(kDs, CpuBench::kData0);
       },
       10, CpuBench::kData0},
      {"EIP beyond the code's limit",
       [](TaskBench& b) { b.set_descriptor(CpuBench::kCode0, 0, 0x6fff, 0x9b, CpuBench::kDefault32); }, 13, 0},
      {"LDT's table not in memory", [](TaskBench& b) { b.memory.absent.insert(CpuBench::kLdt >> 12); }, 14, 0},
  };
  for (const auto reason : {TaskSwitchReason::jump, TaskSwitchReason::call, TaskSwitchReason::iret})
    for (const Refusal& refusal : refusals) expect_fault(refusal, reason, true);
}

TEST_CASE("a fault before SS is loaded has the new task's privilege") {
  TaskBench b;
  b.set_segment(kCs, CpuBench::kCode3);
  b.set_segment(kSs, 0);
  CHECK_THROWS_AS((void)b.run(TaskSwitchReason::jump), NewTaskFault);
  CHECK(current_privilege(b.cpu) == 3);
}

TEST_CASE("a task gate in the IDT, both forms: error code on the new stack") {
  for (const bool wide : {true, false}) {
    TaskBench b(wide);
    b.set_gate(13, CpuBench::kTaskGateType, kNew, 0, 0);
    CHECK(b.deliver(EventKind::exception, 13, 0xbeef) == Delivery::done);
    CHECK(b.cpu.tr.selector == kNew);
    CHECK(b.cpu.eip == 0x7000);
    CHECK((b.flags() & eflags::kNt) != 0);
    CHECK(b.memory.get<uint16_t>(kNewTss) == CpuBench::kTssSelector);
    CHECK(busy(b, kNew));
    CHECK(busy(b, CpuBench::kTssSelector));
    CHECK(b.memory.get<uint32_t>(CpuBench::kTss + 0x20) == 0x1000);
    CHECK(b.memory.get<uint32_t>(CpuBench::kTss + 0x24) == (CpuBench::kFlags | eflags::kRf));
    if (wide) {
      CHECK(b.cpu.regs[kRsp] == kNewStack - 4);
      CHECK(b.stack32(0) == 0xbeef);
    } else {
      CHECK(b.cpu.regs[kRsp] == 0xffff07fe);
      CHECK(b.stack16(0) == 0xbeef);
    }
  }
}

TEST_CASE("a task gate for an event from outside has no error code, and saves the next instruction for INT n") {
  for (const EventKind kind : {EventKind::hardware, EventKind::software_int}) {
    TaskBench b;
    b.set_gate(0x40, CpuBench::kTaskGateType, kNew, 0, 3);
    CHECK(b.deliver(kind, 0x40) == Delivery::done);
    CHECK(b.cpu.regs[kRsp] == kNewStack);
    CHECK(b.memory.get<uint32_t>(CpuBench::kTss + 0x20) == (kind == EventKind::software_int ? 0x1002 : 0x1000));
  }
}

TEST_CASE("task gates out of V86, and their refusals") {
  TaskBench b;
  b.enter_v86(0);
  b.set_gate(0x40, CpuBench::kTaskGateType, kNew, 0, 3);
  const uint32_t flags = b.flags();
  CHECK(b.deliver(EventKind::hardware, 0x40) == Delivery::done);
  CHECK_FALSE(in_v86(b.cpu));
  CHECK(b.memory.get<uint32_t>(CpuBench::kTss + 0x24) == flags);

  const auto refused = [](auto arrange, EventKind kind, uint8_t vector) {
    TaskBench c;
    c.set_fault_gates_in_ring3();
    c.set_gate(0x40, CpuBench::kTaskGateType, kNew, 0, 3);
    arrange(c);
    CHECK(c.deliver(kind, 0x40) == Delivery::done);
    CHECK(c.cpu.eip == CpuBench::handler(vector));
    return c.stack32(0);
  };
  const auto gate = [](uint16_t selector, unsigned dpl, bool present) {
    return [=](TaskBench& c) { c.set_gate(0x40, CpuBench::kTaskGateType, selector, 0, dpl, present); };
  };
  CHECK(refused(gate(kNew, 0, true), EventKind::software_int, 13) == 0x202);
  CHECK(refused(gate(kNew, 3, false), EventKind::hardware, 11) == 0x203);
  CHECK(refused(gate(0x4c, 3, true), EventKind::hardware, 13) == 0x4d);
  CHECK(refused([](TaskBench& c) { c.set_new_tss(true); }, EventKind::hardware, 13) == (kNew | 1));
  CHECK(refused([](TaskBench& c) { c.set_new_tss(true); }, EventKind::software_int, 13) == kNew);
}

TEST_CASE("a fault in the new task is delivered there") {
  TaskBench b;
  b.set_gate(0x40, CpuBench::kTaskGateType, kNew, 0, 3);
  b.set_segment(kDs, 0x80);
  b.set_gate(10, CpuBench::kInterrupt32, CpuBench::kCode0, CpuBench::handler(10));
  CHECK(b.deliver(EventKind::software_int, 0x40) == Delivery::done);
  CHECK(b.cpu.tr.selector == kNew);
  CHECK(b.cpu.eip == CpuBench::handler(10));
  CHECK(b.cpu.regs[kRsp] == kNewStack - 16);
  CHECK(b.stack32(0) == 0x80);
  CHECK(b.stack32(1) == 0x7000);
  CHECK((b.stack32(3) & eflags::kNt) != 0);
}

TEST_CASE("#DF through a task gate rescues a broken kernel stack") {
  TaskBench b;
  b.set_gate(14, CpuBench::kInterrupt32, CpuBench::kCode0, 0);
  b.set_gate(8, CpuBench::kTaskGateType, kNew, 0, 0);
  b.memory.absent.insert(CpuBench::kKernelStack >> 12);
  CHECK(b.deliver(EventKind::exception, 14, 2) == Delivery::done);
  CHECK(b.cpu.eip == 0x7000);
  CHECK(b.stack32(0) == 0);
}

TEST_CASE("the error code has no room on the new stack: #SS in the new task") {
  TaskBench b;
  b.set_gate(6, CpuBench::kTaskGateType, kNew, 0, 0);
  b.set_gate(13, CpuBench::kTaskGateType, kNew, 0, 0);
  b.memory.put<uint32_t>(kNewTss + 0x38, 2);
  CHECK(b.deliver(EventKind::exception, 6) == Delivery::done);
  CHECK(b.cpu.regs[kRsp] == 2);
  TaskBench c;
  c.set_gate(13, CpuBench::kTaskGateType, kNew, 0, 0);
  c.memory.put<uint32_t>(kNewTss + 0x38, 2);
  CHECK(c.deliver(EventKind::exception, 13) == Delivery::triple_fault);  // #SS on #GP is #DF, without a gate
  CHECK(c.cpu.tr.selector == kNew);
}

TEST_CASE("the T flag through a task gate: #DB in the new task; a chain of them ends") {
  TaskBench b;
  b.set_gate(0x40, CpuBench::kTaskGateType, kNew, 0, 3);
  b.set_gate(1, CpuBench::kInterrupt32, CpuBench::kCode0, CpuBench::handler(1));
  b.memory.put<uint16_t>(kNewTss + 0x64, 1);
  CHECK(b.deliver(EventKind::hardware, 0x40) == Delivery::done);
  CHECK(b.cpu.eip == CpuBench::handler(1));
  CHECK(b.stack32(0) == 0x7000);
  CHECK(b.stack32(2) == (b.memory.get<uint32_t>(kNewTss + 0x24) | eflags::kNt));
  CHECK((b.cpu.dr[6] & 1u << 15) != 0);

  // #DB's own task asks again, and is busy by then: #GP.
  TaskBench c;
  c.set_gate(1, CpuBench::kTaskGateType, kNew, 0, 3);
  c.set_gate(13, CpuBench::kInterrupt32, CpuBench::kCode0, CpuBench::handler(13));
  c.memory.put<uint16_t>(kNewTss + 0x64, 1);
  CHECK(c.deliver(EventKind::debug_trap, 1) == Delivery::done);
  CHECK(c.cpu.eip == CpuBench::handler(13));
  CHECK(c.stack32(0) == (kNew | 1));

  // With its descriptor in ROM it is never busy, and would ask for ever.
  TaskBench d;
  d.set_gate(1, CpuBench::kTaskGateType, kNew, 0, 3);
  d.memory.put<uint16_t>(kNewTss + 0x64, 1);
  d.memory.rom.insert(CpuBench::kGdt >> 12);
  CHECK(d.deliver(EventKind::debug_trap, 1) == Delivery::done);
  CHECK(d.cpu.tr.selector == kNew);
}

}  // namespace
