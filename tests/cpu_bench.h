// A CPU record made by hand over fake memory, with a GDT, an IDT and a TSS to put descriptors into: what the tests of
// interrupt delivery, task switches and system calls run on. Starts in 32-bit protected mode, ring 3.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "emu/engine_cpu.h"
#include "emu/interrupts.h"
#include "emu/segment_load.h"
#include "tests/fake_linear_memory.h"

namespace understudy::tests {

// Byte for byte, without the padding behind the last field.
inline bool same(const emu::EngineCpu& a, const emu::EngineCpu& b) {
  const auto* first = reinterpret_cast<const uint8_t*>(&a);
  const size_t size = offsetof(emu::EngineCpu, old_exception) + sizeof a.old_exception;
  return std::equal(first, first + size, reinterpret_cast<const uint8_t*>(&b));
}

struct CpuBench {
  static constexpr uint64_t kGdt = 0x10000, kIdt = 0x12000, kLdt = 0x14000, kTss = 0x16000;
  static constexpr uint32_t kUserStack = 0x20800, kKernelStack = 0x30800;
  // Access bytes (descriptor bits 15..8), and the upper nibble (G, D, L).
  static constexpr uint32_t kCode = 0x9b, kData = 0x93, kUser = 0x60, kDefault32 = 0x40, kLongCode = 0x20;
  static constexpr uint16_t kCode0 = 0x08, kData0 = 0x10, kCode3 = 0x1b, kData3 = 0x23, kTssSelector = 0x28,
                            kCode16 = 0x30, kData16 = 0x38, kConforming = 0x40, kSpare = 0x48, kLdtSelector = 0x50,
                            kSpare2 = 0x58;
  static constexpr uint32_t kFlags = 0x00000246;  // IF, ZF, PF, the one that is always set

  emu::EngineCpu cpu{};
  FakeLinearMemory memory;

  CpuBench() {
    cpu.cr[0] = emu::cr0::kPe | emu::cr0::kPg;
    cpu.hflags = emu::hflags::kPe;
    cpu.gdt = {0, 0, kGdt, 0x7f, 0};
    cpu.idt = {0, 0, kIdt, 0x7ff, 0};
    cpu.tr = {kTssSelector, 0, kTss, 0x67, 0x8900};
    set_descriptor(kCode0, 0, 0xffffffff, kCode, kDefault32);
    set_descriptor(kData0, 0, 0xffffffff, kData, kDefault32);
    set_descriptor(kCode3, 0, 0xffffffff, kCode | kUser, kDefault32);
    set_descriptor(kData3, 0, 0xffffffff, kData | kUser, kDefault32);
    set_descriptor(kTssSelector, kTss, 0x67, 0x8b, 0);
    set_descriptor(kCode16, 0x40000, 0xffff, kCode, 0);
    set_descriptor(kData16, 0x50000, 0xffff, kData, 0);
    set_descriptor(kConforming, 0, 0xffffffff, 0x9f, kDefault32);
    memory.put<uint32_t>(kTss + 4, kKernelStack);
    memory.put<uint16_t>(kTss + 8, kData0);
    for (unsigned i = 1; i < 7; ++i) cpu.regs[i] = 0x1000 * i + 1;
    cpu.old_exception = 14;
    enter(kCode3, kData3, kUserStack);
    cpu.eip = 0x1000;
    emu::set_eflags(cpu, kFlags);
  }

  // The flags that a lazy engine would report; the record's own are what it was told last.
  uint32_t flags() const {
    return static_cast<uint32_t>(cpu.eflags) | static_cast<uint32_t>(cpu.cc_src) | (cpu.df < 0 ? emu::eflags::kDf : 0);
  }

  void set_descriptor(uint16_t selector, uint32_t base, uint32_t limit, uint32_t access, uint32_t nibble) {
    if (limit > 0xfffff) {
      limit >>= 12;
      nibble |= 0x80;
    }
    const uint64_t table = selector & 4 ? kLdt : kGdt;
    memory.put<uint32_t>(table + (selector & ~7u), base << 16 | (limit & 0xffff));
    memory.put<uint32_t>(table + (selector & ~7u) + 4,
                         (base & 0xff000000) | nibble << 16 | (limit & 0xf0000) | access << 8 | (base >> 16 & 0xff));
  }
  emu::Descriptor descriptor(uint16_t selector) {
    return memory.get<emu::Descriptor>((selector & 4 ? kLdt : kGdt) + (selector & ~7u));
  }

  // Segment registers from the GDT, unchecked.
  void load(emu::SegmentIndex index, uint16_t selector) {
    emu::load_segment(cpu, index, descriptor(selector).as_segment(selector));
  }
  void enter(uint16_t code, uint16_t data, uint64_t stack_pointer) {
    load(emu::kCs, code);
    for (const auto i : {emu::kSs, emu::kDs, emu::kEs, emu::kFs, emu::kGs}) load(i, data);
    cpu.regs[emu::kRsp] = stack_pointer;
  }
  void enter_real_mode() {
    cpu.cr[0] = 0;
    cpu.hflags = 0;
    for (unsigned i = 0; i < emu::kSegmentCount; ++i)
      emu::load_segment(cpu, static_cast<emu::SegmentIndex>(i), {0x2000, 0, 0x20000, 0xffff, 0x9300});
    cpu.idt = {0, 0, 0, 0x3ff, 0};
    cpu.regs[emu::kRsp] = 0xabcd0100;
  }
  void enter_v86(unsigned iopl) {
    emu::set_eflags(cpu, kFlags | emu::eflags::kVm | iopl << 12);
    const uint16_t selectors[] = {0x1111, 0x2222, 0x2333, 0x4444, 0x5555, 0x6666};
    for (unsigned i = 0; i < emu::kSegmentCount; ++i)
      emu::load_v86_segment(cpu, static_cast<emu::SegmentIndex>(i), selectors[i]);
    cpu.regs[emu::kRsp] = 0xfff0;
  }
  void enter_long_mode(unsigned privilege) {
    using namespace emu;
    cpu.efer = efer::kLme | efer::kLma;
    cpu.cr[4] = cr4::kPae;
    cpu.hflags |= hflags::kLma;
    cpu.idt.limit = 0xfff;
    set_descriptor(kCode0, 0, 0, kCode, kLongCode);
    set_descriptor(kCode3, 0, 0, kCode | kUser, kLongCode);
    set_descriptor(kConforming, 0, 0, 0x9f, kLongCode);
    memory.put<uint64_t>(kTss + 4, kLongStack0);
    for (unsigned i = 1; i <= 7; ++i) memory.put<uint64_t>(kTss + 28 + 8 * i, kIstStack + 0x1000 * i);
    enter(privilege ? kCode3 : kCode0, privilege ? kData3 : kData0, kLongUserStack);
    cpu.eip = 0x7fff00001000;
  }
  static constexpr uint64_t kLongStack0 = 0xffff888000002008, kIstStack = 0xffffc90000000000,
                            kLongUserStack = 0x7ffffffff123;

  static constexpr uint32_t kInterrupt16 = 6, kTrap16 = 7, kInterrupt32 = 14, kTrap32 = 15, kTaskGateType = 5;
  void set_gate(uint8_t vector, uint32_t type, uint16_t selector, uint32_t offset, unsigned dpl = 3,
                bool present = true) {
    memory.put<uint32_t>(kIdt + vector * 8u, static_cast<uint32_t>(selector) << 16 | (offset & 0xffff));
    memory.put<uint32_t>(kIdt + vector * 8u + 4,
                         (offset & 0xffff0000) | (present ? 0x8000u : 0) | dpl << 13 | type << 8);
  }
  void set_long_gate(uint8_t vector, uint32_t type, uint16_t selector, uint64_t offset, unsigned ist = 0,
                     unsigned dpl = 3, bool present = true) {
    memory.put<uint32_t>(kIdt + vector * 16u, static_cast<uint32_t>(selector) << 16 | (offset & 0xffff));
    memory.put<uint32_t>(kIdt + vector * 16u + 4, (static_cast<uint32_t>(offset) & 0xffff0000) |
                                                      (present ? 0x8000u : 0) | dpl << 13 | type << 8 | ist);
    memory.put<uint64_t>(kIdt + vector * 16u + 8, offset >> 32);
  }
  static uint32_t handler(uint8_t vector) { return 0x5000u + vector * 16u; }
  static uint64_t long_handler(uint8_t vector) { return 0xffffffff81000000u + vector * 16u; }
  // Handlers for what can go wrong, in ring 3 on the current stack: they need no TSS.
  void set_fault_gates_in_ring3() {
    for (const uint8_t vector : {6, 8, 10, 11, 12, 13, 14}) {
      if (emu::in_long_mode(cpu))
        set_long_gate(vector, kInterrupt32, kCode3, long_handler(vector));
      else
        set_gate(vector, kInterrupt32, kCode3, handler(vector));
    }
  }

  emu::Delivery deliver(emu::EventKind kind, uint8_t vector, uint32_t error_code = 0) {
    return emu::InterruptDelivery(cpu, memory)
        .deliver({kind, vector, error_code, cpu.eip + (kind == emu::EventKind::software_int ? 2 : 0), cpu.eip},
                 flags());
  }
  uint32_t stack32(unsigned word) {
    return memory.get<uint32_t>(cpu.segs[emu::kSs].base + cpu.regs[emu::kRsp] + 4 * word);
  }
  uint16_t stack16(unsigned word) {
    return memory.get<uint16_t>(cpu.segs[emu::kSs].base + (cpu.regs[emu::kRsp] & 0xffff) + 2 * word);
  }
  uint64_t stack64(unsigned word) { return memory.get<uint64_t>(cpu.regs[emu::kRsp] + 8 * word); }
  uint32_t cs() const { return cpu.segs[emu::kCs].selector; }
  uint32_t ss() const { return cpu.segs[emu::kSs].selector; }
};

}  // namespace understudy::tests
