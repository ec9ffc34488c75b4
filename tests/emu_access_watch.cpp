// Breakpoints and watched memory: each is told of at its count, and the guest does not notice.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <string>

#include "tests/code_rig.h"

namespace {

using namespace understudy::emu;
using understudy::tests::CodeRig;
using Mode = CodeRig::Mode;
using Who = AccessWatch::Who;

struct Seen {
  uint64_t icount;
  bool write;
  Who who;
  uint64_t linear, physical, length;
  bool operator==(const Seen&) const = default;
};

std::string text(const std::vector<Seen>& all) {
  std::string lines;
  for (const Seen& seen : all)
    lines += fmt::format("{} {} {} {:x} {:x} {}\n", seen.icount, seen.write ? "write" : "read",
                         static_cast<int>(seen.who), seen.linear, seen.physical, seen.length);
  return lines;
}

// What a run with this watch sees, and what becomes of the machine.
struct Watched {
  std::vector<Seen> seen;
  Digest digest;
};

constexpr uint32_t kWord = CodeRig::kData + 0x100;

// Stores of many kinds around kWord, in blocks that do other things too; ends in HLT.
void make_program(CodeRig& rig, Mode mode) {
  const bool wide = mode == Mode::long64;
  std::vector<uint8_t> code;
  auto add = [&code](std::initializer_list<uint8_t> bytes) { code.insert(code.end(), bytes); };
  auto absolute = [&](std::initializer_list<uint8_t> opcode, uint8_t reg, uint32_t address) {
    add(opcode);
    // [disp32]: in 64-bit code by way of a SIB byte.
    code.push_back(static_cast<uint8_t>(reg << 3 | (wide ? 4 : 5)));
    if (wide) code.push_back(0x25);
    for (unsigned i = 0; i < 4; ++i) code.push_back(static_cast<uint8_t>(address >> 8 * i));
  };
  add({0xb8, 0x44, 0x33, 0x22, 0x11});     // 0: mov eax, 11223344h
  absolute({0x89}, 0, kWord);              // 1: mov [kWord], eax
  absolute({0x89}, 0, kWord + 0x40);       // 2: mov [elsewhere in the page], eax
  absolute({0xff}, 0, kWord);              // 3: inc dword [kWord]
  absolute({0x89}, 0, kWord - 3);          // 4: one byte of it
  absolute({0x89}, 0, kWord - 4);          // 5: right in front of it
  absolute({0x8b}, 1, kWord);              // 6: mov ecx, [kWord]
  absolute({0x89}, 1, kWord);              // 7: silent
  absolute({0xf0, 0x0f, 0xb1}, 2, kWord);  // 8: lock cmpxchg [kWord], edx: not equal
  add({0xbc, 0x04, 0x01, 0x02, 0x00});     // 9: mov esp, kWord + 4
  if (wide)
    add({0x48, 0x83, 0xc4, 0x04});  // 10: esp to kWord + 8
  else
    add({0x90, 0x90, 0x90, 0x90});      // 10..13
  add({0x50});                          // push
  add({0xbf, 0xfe, 0x00, 0x02, 0x00});  // mov edi, kWord - 2
  add({0xb9, 0x04, 0x00, 0x00, 0x00});  // mov ecx, 4
  add({0xf3, 0xaa});                    // rep stosb
  add({0xe6, 0x10});                    // out 10h, al: the device stores
  add({0xf4});
  rig.machine.memory().store(CodeRig::kCode, code);
  rig.on_access = [&rig](uint64_t) {
    const std::vector<uint8_t> bytes{1, 2, 3, 4, 5, 6, 7, 8};
    rig.machine.memory().dma_write(kWord - 4, bytes);
    std::vector<uint8_t> back(2);
    rig.machine.memory().dma_read(kWord + 3, back);
  };
  rig.start();
}

Watched watch(Mode mode, const std::vector<AccessWatch::Range>& ranges, bool alone, uint64_t step = ~0ull) {
  CodeRig rig(mode);
  make_program(rig, mode);
  Watched watched;
  Cpu& cpu = rig.machine.cpu();
  if (!ranges.empty())
    cpu.watch_accesses(
        ranges,
        [&](const AccessWatch::Touch& touch) {
          const Cpu::Executing executing = cpu.executing();
          CHECK(executing.inside);
          if (alone) CHECK(executing.first == executing.last);
          const Seen seen{
              alone ? executing.first : 0, touch.write, touch.who, touch.linear, touch.physical, touch.length};
          watched.seen.push_back(seen);
        },
        alone);
  while (rig.run(std::min(rig.icount() + step, CodeRig::kRunLimit)) == MachineStop::limit)
    ;
  watched.digest = rig.machine.digest();
  return watched;
}

TEST_CASE("Every access to watched bytes is told of, with its count, and nothing else") {
  for (const Mode mode : {Mode::flat32, Mode::paged32, Mode::long64}) {
    CAPTURE(static_cast<int>(mode));
    const Watched plain = watch(mode, {}, false);
    const uint64_t wide = mode == Mode::long64;
    const uint64_t push = wide ? 11 : 14;
    auto cpu_access = [](uint64_t icount, bool write, uint64_t address, uint64_t length) {
      return Seen{icount, write, Who::instruction, address, address, length};
    };
    const std::vector<Seen> writes{
        cpu_access(1, true, kWord, 4),
        cpu_access(3, true, kWord, 4),
        cpu_access(4, true, kWord, 1),  // unaligned: byte by byte
        cpu_access(7, true, kWord, 4),
        cpu_access(8, true, kWord, 4),
        cpu_access(push, true, kWord, 4),  // of eight bytes, the half that matters
        cpu_access(push + 5, true, kWord, 1),
        cpu_access(push + 6, true, kWord + 1, 1),
        Seen{push + 8, true, Who::device, AccessWatch::kUnknown, kWord - 4, 8},
    };
    for (const bool alone : {true, false}) {
      CAPTURE(alone);
      for (const uint64_t step : {~uint64_t{0}, uint64_t{1}}) {
        CAPTURE(step);
        Watched both = watch(mode, {{kWord, kWord + 3, true, true, true}}, alone, step);
        CHECK(both.digest == plain.digest);
        Watched watched = watch(mode, {{kWord, kWord + 3, false, true, true}}, alone, step);
        CHECK(watched.digest == plain.digest);
        std::vector<Seen> expected = writes;
        if (!alone)
          for (Seen& seen : expected) seen.icount = 0;
        CHECK(text(watched.seen) == text(expected));
        std::erase_if(both.seen, [](const Seen& seen) { return seen.write; });
        REQUIRE(both.seen.size() == 4);
        if (alone) {
          CHECK(both.seen[0].icount == 3);
          CHECK(both.seen[1].icount == 6);
          CHECK(both.seen[2].icount == 8);
        }
        CHECK(both.seen[3].who == Who::device);
        // By linear address: no device names one.
        Watched linear = watch(mode, {{kWord, kWord + 3, false, true, false}}, alone, step);
        CHECK(linear.digest == plain.digest);
        expected.pop_back();
        CHECK(text(linear.seen) == text(expected));
      }
    }
  }
}

TEST_CASE("A device that has a name is told by it") {
  CodeRig rig(Mode::flat32);
  PhysicalMemory& memory = rig.machine.memory();
  DmaMemory& card = memory.dma_for("card");
  DmaMemory& disk = memory.dma_for("disk");
  std::string told;
  rig.machine.cpu().watch_accesses(
      {{kWord, kWord + 3, true, true, true}},
      [&](const AccessWatch::Touch& touch) {
        CHECK(touch.who == Who::device);
        told += fmt::format("{} {} {:x} {}\n", touch.device, touch.write ? "writes" : "reads", touch.physical,
                            touch.length);
      },
      false);
  std::vector<uint8_t> bytes{1, 2, 3, 4, 5};
  card.dma_write(kWord - 1, bytes);
  disk.dma_read(kWord + 1, std::span(bytes).first(2));
  std::vector<uint8_t> beyond(5);
  card.dma_read(kWord + 4, beyond);
  memory.dma_write(kWord, bytes);
  CHECK(told == fmt::format("card writes {:x} 5\ndisk reads {:x} 2\n writes {:x} 5\n", kWord - 1, kWord + 1, kWord));
  CHECK(bytes == std::vector<uint8_t>{3, 4, 3, 4, 5});
  CHECK(rig.get<uint32_t>(kWord + 1) == 0x05040304);
}

TEST_CASE("Frames that the CPU pushes and accessed bits that it sets are seen") {
  CodeRig rig(Mode::paged32);
  // int 30h pushes a frame of 12 bytes below kStack - 4; then a store through a page that was not touched yet.
  rig.poke(CodeRig::kCode, {0x90, 0xcd, 0x30});
  rig.poke(CodeRig::kHandlers + 16 * 0x30, {0xa3, 0x00, 0x00, 0x05, 0x00, 0xf4});
  rig.start();
  const uint32_t entry = CodeRig::kTables + 0x1000 + 4 * 0x50;
  struct Told {
    size_t range;
    uint64_t icount, linear;
  };
  std::vector<Told> told;
  Cpu& cpu = rig.machine.cpu();
  cpu.watch_accesses(
      {{CodeRig::kStack - 4, CodeRig::kStack - 1, false, true, false}, {entry, entry, false, true, true}},
      [&](const AccessWatch::Touch& touch) {
        CHECK(touch.who == Who::cpu);
        told.push_back({touch.range, cpu.executing().first, touch.linear});
      },
      true);
  CHECK(rig.run() == MachineStop::halted);
  REQUIRE(told.size() == 2);
  CHECK(told[0].range == 0);
  CHECK(told[0].linear == CodeRig::kStack - 12);  // the frame is written in one piece
  CHECK(told[0].icount <= 1);
  CHECK(told[1].range == 1);
  CHECK(told[1].icount == 2);
}

TEST_CASE("A store to the running page is watched, and the code it changes runs") {
  for (const bool alone : {true, false}) {
    CodeRig rig(Mode::flat32);
    // mov eax, 1; inc dword [kCode + 1]; jmp kCode
    rig.poke(CodeRig::kCode, {0xb8, 1, 0, 0, 0, 0xff, 0x05, 0x01, 0x00, 0x01, 0x00, 0xeb, 0xf3});
    rig.start();
    uint64_t writes = 0;
    rig.machine.cpu().watch_accesses(
        {{CodeRig::kCode + 1, CodeRig::kCode + 1, false, true, true}},
        [&](const AccessWatch::Touch& touch) { writes += touch.write; }, alone);
    for (unsigned i = 1; i < 60; ++i) {
      REQUIRE(rig.run(uint64_t{3} * i) == MachineStop::limit);
      REQUIRE(rig.reg(kRax) == i);
      REQUIRE(writes == i);
    }
  }
}

TEST_CASE("A breakpoint is told of each time, in front of its instruction, and changes nothing") {
  for (const Mode mode : {Mode::flat32, Mode::paged32, Mode::long64}) {
    // mov ecx, 100; inc eax; inc edx; loop to the first inc; hlt
    const std::vector<uint8_t> code{0xb9, 100, 0, 0, 0, 0xff, 0xc0, 0xff, 0xc2, 0xe2, 0xfa, 0xf4};
    CodeRig plain(mode);
    plain.machine.memory().store(CodeRig::kCode, code);
    plain.start();
    CHECK(plain.run() == MachineStop::halted);
    for (const uint64_t offset : {0u, 5u, 7u, 9u, 11u}) {
      CodeRig rig(mode);
      rig.machine.memory().store(CodeRig::kCode, code);
      rig.start();
      std::vector<uint64_t> at;
      bool stop = false;
      Cpu& cpu = rig.machine.cpu();
      cpu.on_breakpoint([&](uint64_t pc) {
        CHECK(pc == CodeRig::kCode + offset);
        if (at.empty() || at.back() != rig.icount()) {
          at.push_back(rig.icount());
          if (stop) rig.machine.ask_to_stop();
        }
      });
      cpu.set_breakpoints({CodeRig::kCode + offset});
      SUBCASE("passing by") { CHECK(rig.run() == MachineStop::halted); }
      SUBCASE("stopping at each") {
        stop = true;
        MachineStop why;
        while ((why = rig.run()) == MachineStop::asked) {
          CHECK(rig.rip() == CodeRig::kCode + offset);
          CHECK(rig.icount() == at.back());
        }
        CHECK(why == MachineStop::halted);
      }
      CHECK(at.size() == (offset == 0 || offset == 11 ? 1 : 100));
      CHECK(at.front() == (offset == 0 ? 0 : offset == 11 ? 301 : (offset - 3) / 2));
      CHECK(rig.machine.digest() == plain.machine.digest());
    }
  }
}

}  // namespace
