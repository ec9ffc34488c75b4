// SYSCALL and SYSENTER against SDM Vol. 2B, IN and OUT permission against Vol. 1 19.5.
#include <doctest/doctest.h>

#include "emu/io_permission.h"
#include "emu/system_calls.h"
#include "tests/cpu_bench.h"

namespace {

using namespace understudy::emu;
using understudy::tests::CpuBench;

uint8_t vector_of(auto&& action) {
  try {
    action();
  } catch (const GuestFault& fault) {
    if (fault.has_error_code) CHECK(fault.error_code == 0);
    return fault.vector;
  }
  return 0xff;
}

void prepare_syscall(CpuBench& b) {
  b.enter_long_mode(3);
  b.cpu.efer |= efer::kSce;
  b.cpu.star = 0x0023001300000000;  // RPL bits of the ring 0 half do not count
  b.cpu.lstar = 0xffffffff81000000;
  b.cpu.fmask = eflags::kTf | eflags::kIf | eflags::kDf | eflags::kZf;
}

TEST_CASE("SYSCALL") {
  CpuBench b;
  prepare_syscall(b);
  const uint32_t flags = CpuBench::kFlags | eflags::kRf | eflags::kDf | eflags::kCf;
  for (const unsigned adds : {0u, 2u}) {
    CpuBench c = b;
    enter_by_syscall(c.cpu, flags, 0x1002, adds);
    CHECK(c.cpu.eip + adds == 0xffffffff81000000);
    CHECK(c.cpu.regs[kRcx] == 0x1002);
    CHECK(c.cpu.regs[11] == (flags & ~eflags::kRf));
    CHECK(c.flags() == (eflags::kCf | eflags::kPf | 2));
    CHECK(c.cs() == 0x10);
    CHECK(c.ss() == 0x18);
    CHECK(current_privilege(c.cpu) == 0);
    CHECK(c.cpu.segs[kCs].flags == 0x00a09b00);
    CHECK(c.cpu.segs[kSs].flags == 0x00c09300);
    CHECK(c.cpu.segs[kSs].limit == 0xffffffff);
    CHECK((c.cpu.hflags & hflags::kCs64) != 0);
    CHECK(c.cpu.regs[kRsp] == CpuBench::kLongUserStack);
  }
}

TEST_CASE("SYSCALL is undefined outside 64-bit code and without EFER.SCE") {
  CpuBench b;
  prepare_syscall(b);
  b.cpu.efer &= ~efer::kSce;
  CHECK(vector_of([&] { enter_by_syscall(b.cpu, CpuBench::kFlags, 2, 2); }) == 6);
  b.cpu.efer |= efer::kSce;
  b.load(kCs, CpuBench::kCode16);
  CHECK(vector_of([&] { enter_by_syscall(b.cpu, CpuBench::kFlags, 2, 2); }) == 6);
  CHECK(b.cs() == CpuBench::kCode16);
  CpuBench c;
  c.cpu.efer = efer::kSce;
  CHECK(vector_of([&] { enter_by_syscall(c.cpu, CpuBench::kFlags, 2, 2); }) == 6);
}

TEST_CASE("SYSENTER in 32-bit and in long mode") {
  for (const bool is_long : {false, true}) {
    CpuBench b;
    if (is_long) b.enter_long_mode(3);
    b.cpu.sysenter_cs = 0x63;
    b.cpu.sysenter_esp = 0xffff888000001000;
    b.cpu.sysenter_eip = 0xffffffff00000001;
    set_eflags(b.cpu, CpuBench::kFlags | eflags::kRf | eflags::kTf);
    b.cpu.cc_op = 17;  // lazy flags that the engine still has in hand
    b.cpu.cc_src = 0x1234;
    enter_by_sysenter(b.cpu, 2);
    CHECK(b.cpu.eip == (is_long ? 0xfffffffeffffffff : 0xffffffff));
    CHECK(b.cpu.regs[kRsp] == (is_long ? 0xffff888000001000 : 0x1000));
    CHECK(b.cs() == 0x60);
    CHECK(b.ss() == 0x68);
    CHECK(b.cpu.segs[kCs].flags == (is_long ? 0x00a09b00 : 0x00c09b00));
    CHECK(current_privilege(b.cpu) == 0);
    CHECK(b.cpu.eflags == (2 | eflags::kTf));
    CHECK(b.cpu.cc_op == 17);
    CHECK(b.cpu.cc_src == 0x1234);
  }
}

TEST_CASE("SYSENTER out of V86, and where it is refused") {
  CpuBench b;
  b.enter_v86(0);
  b.cpu.sysenter_cs = 0x60;
  enter_by_sysenter(b.cpu, 0);
  CHECK_FALSE(in_v86(b.cpu));
  CHECK((b.cpu.hflags & (hflags::kCs32 | hflags::kSs32)) == (hflags::kCs32 | hflags::kSs32));

  CpuBench c;
  c.cpu.sysenter_cs = 3;  // null, whatever its RPL
  CHECK(vector_of([&] { enter_by_sysenter(c.cpu, 0); }) == 13);
  CHECK(c.cs() == CpuBench::kCode3);
  c.cpu.sysenter_cs = 0x60;
  c.enter_real_mode();
  CHECK(vector_of([&] { enter_by_sysenter(c.cpu, 0); }) == 13);
}

// A TSS with its bitmap at 0x68, all ports refused, up to and including the byte at `limit`.
struct IoBench : CpuBench {
  explicit IoBench(uint32_t limit = 0x68 + 0x2000) {
    cpu.tr.limit = limit;
    memory.put<uint16_t>(kTss + 0x66, 0x68);
    for (unsigned i = 0; i <= 0x2000; ++i) memory.put<uint8_t>(kTss + 0x68 + i, 0xff);
  }
  void allow(uint16_t port) {
    const uint64_t at = kTss + 0x68 + port / 8;
    memory.put<uint8_t>(at, static_cast<uint8_t>(memory.get<uint8_t>(at) & ~(1u << port % 8)));
  }
  bool ask(uint16_t port, unsigned size) { return io_allowed(cpu, memory, port, size, flags()); }
};

TEST_CASE("I/O by privilege") {
  for (unsigned privilege = 0; privilege < 4; ++privilege) {
    for (unsigned iopl = 0; iopl < 4; ++iopl) {
      IoBench b;
      set_eflags(b.cpu, CpuBench::kFlags | iopl << 12);
      load_null_segment(b.cpu, kSs, 0, privilege);
      CHECK(b.ask(0x60, 1) == (privilege <= iopl));
    }
  }
  IoBench b;
  b.enter_real_mode();
  CHECK(b.ask(0x60, 1));
}

TEST_CASE("I/O by bitmap: every bit of the access counts, across bytes") {
  IoBench b;
  b.allow(0x3f8);
  CHECK(b.ask(0x3f8, 1));
  CHECK_FALSE(b.ask(0x3f9, 1));
  CHECK_FALSE(b.ask(0x3f7, 1));
  CHECK_FALSE(b.ask(0x3f8, 2));
  b.allow(0x3f9);
  CHECK(b.ask(0x3f8, 2));
  CHECK_FALSE(b.ask(0x3f8, 4));
  for (const uint16_t port : {0x3f5, 0x3f6, 0x3f7}) b.allow(port);
  CHECK(b.ask(0x3f6, 4));
  CHECK(b.ask(0x3f5, 4));
  CHECK_FALSE(b.ask(0x3f7, 4));
  b.allow(0xffff);
  CHECK(b.ask(0xffff, 1));
}

TEST_CASE("I/O in V86 is by bitmap even with IOPL 3") {
  IoBench b;
  b.enter_v86(3);
  b.allow(0x60);
  CHECK(b.ask(0x60, 1));
  CHECK_FALSE(b.ask(0x61, 1));
}

TEST_CASE("I/O bitmap: two bytes inside the limit, and only in a 32-bit TSS") {
  IoBench b(0x68 + 0x60 / 8 + 1);
  b.allow(0x60);
  CHECK(b.ask(0x60, 1));
  --b.cpu.tr.limit;
  CHECK_FALSE(b.ask(0x60, 1));
  b.cpu.tr.limit = 0x2000;
  b.cpu.tr.flags = 0x8100;
  CHECK_FALSE(b.ask(0x60, 1));
  b.cpu.tr.flags = 0x8b00;
  CHECK(b.ask(0x60, 1));
  b.memory.put<uint16_t>(CpuBench::kTss + 0x66, 0);  // the bitmap's base is taken as it is
  b.memory.put<uint16_t>(CpuBench::kTss + 0x60 / 8, 0);
  b.cpu.tr.limit = 0x67;
  CHECK(b.ask(0x60, 1));
  b.cpu.tr.limit = 0x66;
  CHECK_FALSE(b.ask(0x60, 1));
  b.cpu.tr = {0, 0, 0, 0, 0};
  CHECK_FALSE(b.ask(0x60, 1));

  IoBench c;
  c.memory.absent.insert(CpuBench::kTss >> 12);
  CHECK_THROWS_AS(c.ask(0x60, 1), GuestFault);
}

}  // namespace
