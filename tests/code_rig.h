// A real machine that runs a few bytes of machine code in protected or long mode, for tests of what the engine does
// with them. Each vector leads to a HLT of its own; code runs whole, a step at a time, or to any count, and must not
// tell them apart.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>
#include <vector>

#include "emu/machine.h"

namespace understudy::tests {

class CodeRig : public emu::PortDevice, public emu::MmioDevice {
 public:
  static constexpr uint64_t kRam = 4 << 20, kMmio = 0x800000, kRunLimit = 1 << 20;
  static constexpr uint32_t kGdt = 0x1000, kIdt = 0x2000, kTss = 0x3000, kTables = 0x4000, kHandlers = 0xa000,
                            kCode = 0x10000, kData = 0x20000, kStack = 0x30800, kRing3Stack = 0x32800;
  static constexpr uint16_t kPort = 0x10, kCode0 = 0x08, kData0 = 0x10, kCode3 = 0x1b, kData3 = 0x23,
                            kTssSelector = 0x28, kSpare = 0x38;
  enum class Mode { flat32, paged32, long64 };

  explicit CodeRig(Mode mode) : mode_(mode) {
    machine.ports().attach(kPort, kPort + 3, *this, 4);
    machine.mmio().attach(kMmio, 0x1000, *this);
    emu::Cpu::Board board;
    board.acknowledge = [this] { return interrupt_vector; };
    board.read_tsc_clock = [this] { return machine.time().now_ns() * 3; };
    machine.cpu().connect(std::move(board));
    descriptor(kCode0, 0, 0xfffff, 0x9b, mode == Mode::long64 ? 0xa : 0xc);
    descriptor(kData0, 0, 0xfffff, 0x93, 0xc);
    descriptor(kCode3, 0, 0xfffff, 0xfb, mode == Mode::long64 ? 0xa : 0xc);
    descriptor(kData3, 0, 0xfffff, 0xf3, 0xc);
    descriptor(kTssSelector, kTss, 0x2fff, 0x8b, 0);
    for (uint8_t vector = 0; vector < 64; ++vector) {
      gate(vector);
      poke(kHandlers + 16u * vector, {0xf4});
    }
    put<uint32_t>(kTss + 4, kStack);
    put<uint16_t>(kTss + 8, kData0);
    put<uint16_t>(kTss + 0x66, 0x68);
    for (uint32_t i = 0; i < 64; ++i) put<uint32_t>(kTss + 0x68 + 4 * i, 0xffffffff);
    if (mode == Mode::paged32) {
      put<uint32_t>(kTables, (kTables + 0x1000) | 7);
      for (uint32_t i = 0; i < 1024; ++i) put<uint32_t>(kTables + 0x1000 + 4 * i, i << 12 | 7);
    } else if (mode == Mode::long64) {
      put<uint64_t>(kTables, (kTables + 0x1000) | 7);
      put<uint64_t>(kTables + 0x1000, (kTables + 0x2000) | 7);
      put<uint64_t>(kTables + 0x2000, (kTables + 0x3000) | 7);
      for (uint32_t i = 0; i < 512; ++i) put<uint64_t>(kTables + 0x3000 + 8 * i, i << 12 | 7);
    }
  }

  // --- the guest's memory and registers, before it starts
  template <typename T>
  void put(uint64_t address, T value) {
    std::array<uint8_t, sizeof(T)> bytes;
    std::memcpy(bytes.data(), &value, sizeof value);
    machine.memory().store(address, bytes);
  }
  template <typename T>
  T get(uint64_t address) const {
    T value;
    std::memcpy(&value, const_cast<emu::Machine&>(machine).memory().ram() + address, sizeof value);
    return value;
  }
  void poke(uint64_t address, std::initializer_list<uint8_t> bytes) {
    machine.memory().store(address, std::vector<uint8_t>(bytes));
  }
  void descriptor(uint16_t selector, uint32_t base, uint32_t limit, uint32_t access, uint32_t nibble) {
    put<uint32_t>(kGdt + (selector & ~7u), base << 16 | (limit & 0xffff));
    put<uint32_t>(kGdt + (selector & ~7u) + 4,
                  (base & 0xff000000) | nibble << 20 | (limit & 0xf0000) | access << 8 | (base >> 16 & 0xff));
  }
  void gate(uint8_t vector, bool present = true) {
    const uint32_t to = kHandlers + 16u * vector;
    const uint64_t at = kIdt + vector * (mode_ == Mode::long64 ? 16u : 8u);
    put<uint32_t>(at, static_cast<uint32_t>(kCode0) << 16 | (to & 0xffff));
    put<uint32_t>(at + 4, (to & 0xffff0000) | (present ? 0xee00 : 0x6e00));
  }
  // The frame of 4 KiB that a page shows; flags are those of a page table entry.
  void map(uint32_t page, uint64_t frame, uint64_t flags) {
    if (mode_ == Mode::long64)
      put<uint64_t>(kTables + 0x3000 + 8 * (page >> 12), frame | flags);
    else
      put<uint32_t>(kTables + 0x1000 + 4 * (page >> 12), static_cast<uint32_t>(frame | flags));
  }

  void start(uint64_t at = kCode, bool ring3 = false, uint64_t flags = 2) {
    emu::BootPlan plan;
    plan.bypasses_firmware = true;
    auto& cpu = plan.cpu;
    const bool wide = mode_ == Mode::long64;
    cpu.rip = at;
    cpu.rflags = flags;
    cpu.general[emu::InitialCpu::rsp] = ring3 ? kRing3Stack : kStack;
    cpu.cr0 = 0x31 | (mode_ == Mode::flat32 ? 0 : 0x80000000u);
    cpu.cr3 = kTables;
    cpu.cr4 = wide ? emu::cr4::kPae : 0;
    cpu.efer = wide ? emu::efer::kLme | emu::efer::kLma | emu::efer::kNxe : 0;
    const uint32_t dpl = ring3 ? 0x6000 : 0;
    cpu.cs = {ring3 ? kCode3 : kCode0, 0, 0xffffffff, (wide ? 0xa09b00u : 0xc09b00u) | dpl};
    for (auto* s : {&cpu.ss, &cpu.ds, &cpu.es, &cpu.fs, &cpu.gs})
      *s = {ring3 ? kData3 : kData0, 0, 0xffffffff, 0xc09300 | dpl};
    cpu.tr = {kTssSelector, kTss, 0x2fff, 0x8b00};
    cpu.gdtr = {kGdt, 0xff};
    cpu.idtr = {kIdt, 0xfff};
    machine.apply(plan);
  }

  // --- running
  emu::MachineStop run(uint64_t limit = kRunLimit) { return machine.run(limit); }
  uint64_t reg(emu::RegisterIndex i) { return machine.cpu().engine().cpu().regs[i]; }
  uint64_t rip() { return machine.cpu().engine().cpu().eip; }
  uint32_t flags() { return machine.cpu().engine().flags(); }
  uint64_t icount() { return machine.icount(); }
  uint32_t stack(unsigned word) { return get<uint32_t>(reg(emu::kRsp) + 4 * word); }
  // The vector whose handler halted the machine; -1 for none.
  int vector() {
    const uint64_t at = rip() - 1 - kHandlers;
    return machine.cpu().halted() && at < 64 * 16 && at % 16 == 0 ? static_cast<int>(at / 16) : -1;
  }

  // --- the device: a register that can be anything
  std::function<void(uint64_t)> on_access;  // with the value written, or 0 for a read
  unsigned reads = 0, writes = 0;
  uint64_t last_written = 0;
  uint8_t interrupt_vector = 0x20;
  uint32_t port_read(uint16_t, unsigned) override { return static_cast<uint32_t>(read()); }
  void port_write(uint16_t, unsigned, uint32_t value) override { write(value); }
  uint64_t mmio_read(uint64_t, unsigned) override { return read(); }
  void mmio_write(uint64_t, unsigned, uint64_t value) override { write(value); }

  emu::Machine machine{kRam, {}};

 private:
  uint64_t read() {
    ++reads;
    if (on_access) on_access(0);
    return reads;
  }
  void write(uint64_t value) {
    ++writes;
    last_written = value;
    if (on_access) on_access(value);
  }
  Mode mode_;
};

}  // namespace understudy::tests
