// Hidden flags, EFLAGS and descriptors: the engine's own rules (its cpu_x86_load_seg_cache), and SDM Vol. 3A 3.4.
#include <doctest/doctest.h>

#include "emu/segment_load.h"
#include "tests/cpu_bench.h"

namespace {

using namespace understudy::emu;
using understudy::tests::CpuBench;

constexpr uint32_t kSegmentBits = hflags::kCpl | hflags::kCs32 | hflags::kCs64 | hflags::kSs32 | hflags::kAddSeg;

uint32_t bits(const CpuBench& b) { return b.cpu.hflags & kSegmentBits; }

TEST_CASE("hidden flags follow CS and SS") {
  CpuBench b;
  CHECK(bits(b) == (3 | hflags::kCs32 | hflags::kSs32));
  b.load(kSs, CpuBench::kData0);
  CHECK(bits(b) == (hflags::kCs32 | hflags::kSs32));
  b.load(kSs, CpuBench::kData16);  // a base other than 0
  CHECK(bits(b) == (hflags::kCs32 | hflags::kAddSeg));
  b.load(kSs, CpuBench::kData0);
  b.load(kFs, CpuBench::kData16);  // FS and GS always add theirs
  CHECK(bits(b) == (hflags::kCs32 | hflags::kSs32));
  b.load(kDs, CpuBench::kData16);
  CHECK(bits(b) == (hflags::kCs32 | hflags::kSs32 | hflags::kAddSeg));
  b.load(kDs, CpuBench::kData0);
  b.load(kEs, CpuBench::kData16);
  CHECK(bits(b) == (hflags::kCs32 | hflags::kSs32 | hflags::kAddSeg));
  b.load(kEs, CpuBench::kData0);
  b.load(kCs, CpuBench::kCode16);  // 16-bit code always adds
  CHECK(bits(b) == (hflags::kSs32 | hflags::kAddSeg));
}

TEST_CASE("hidden flags of long mode: L counts only there") {
  CpuBench b;
  b.set_descriptor(CpuBench::kSpare, 0, 0, CpuBench::kCode, CpuBench::kLongCode);
  b.load(kCs, CpuBench::kSpare);
  CHECK((b.cpu.hflags & (hflags::kCs32 | hflags::kCs64)) == 0);
  b.enter_long_mode(3);
  CHECK((bits(b) & ~hflags::kSs32) == (3 | hflags::kCs32 | hflags::kCs64));
  b.load(kDs, CpuBench::kData16);
  CHECK((b.cpu.hflags & hflags::kAddSeg) == 0);
  load_null_segment(b.cpu, kSs, 1, 1);
  CHECK(current_privilege(b.cpu) == 1);
  CHECK(b.cpu.segs[kSs].selector == 1);
  b.load(kCs, CpuBench::kCode16);  // 16-bit compatibility
  CHECK((b.cpu.hflags & (hflags::kCs32 | hflags::kCs64)) == 0);
  CHECK((b.cpu.hflags & hflags::kAddSeg) != 0);
}

TEST_CASE("hidden flags of real mode and V86") {
  CpuBench b;
  b.enter_real_mode();
  CHECK(bits(b) == hflags::kAddSeg);
  CHECK(in_real_mode(b.cpu));
  CHECK(current_privilege(b.cpu) == 0);

  CpuBench c;
  c.enter_v86(0);
  CHECK(bits(c) == (3 | hflags::kAddSeg));
  CHECK(in_v86(c.cpu));
  CHECK(current_privilege(c.cpu) == 3);
  CHECK(c.cpu.segs[kDs].base == 0x44440);
  CHECK(c.cpu.segs[kDs].flags == 0xf300);
  CHECK_FALSE(in_long_mode(c.cpu));
}

TEST_CASE("EFLAGS in and out of the record") {
  CpuBench b;
  struct Source : FlagsSource {
    uint32_t arithmetic_flags() override { return 0xffffffff; }
  } all_set;
  set_eflags(b.cpu, 0xffffffff);
  CHECK(b.cpu.cc_op == kCcOpEflags);
  CHECK(b.cpu.cc_src == eflags::kArithmetic);
  CHECK(b.cpu.df == -1);
  CHECK(b.cpu.eflags == 0x00277302);  // no VIF, VIP, reserved bits
  CHECK(get_eflags(b.cpu, all_set) == 0x00277fd7);
  set_eflags(b.cpu, 0);
  CHECK(b.cpu.cc_src == 0);
  CHECK(b.cpu.df == 1);
  CHECK(b.cpu.eflags == 2);
  CHECK(get_eflags(b.cpu, all_set) == (eflags::kArithmetic | 2));
}

TEST_CASE("descriptors: fields, limits of both tables, accessed bit") {
  CpuBench b;
  b.set_descriptor(CpuBench::kSpare, 0x89abcdef, 0x12345, 0x92, 0);
  const auto found = fetch_descriptor(b.cpu, b.memory, CpuBench::kSpare | 3);
  REQUIRE(found.has_value());
  CHECK(found->base() == 0x89abcdef);
  CHECK(found->limit() == 0x12345);
  CHECK(found->dpl() == 0);
  CHECK(found->is_writable_data());
  b.set_descriptor(CpuBench::kSpare2, 0, 0xfffff000, 0xfe, 0);
  CHECK(b.descriptor(CpuBench::kSpare2).limit() == 0xffffffff);
  CHECK(b.descriptor(CpuBench::kSpare2).is_conforming_code());
  CHECK(b.descriptor(CpuBench::kSpare2).dpl() == 3);

  b.cpu.gdt.limit = CpuBench::kSpare + 6;
  CHECK_FALSE(fetch_descriptor(b.cpu, b.memory, CpuBench::kSpare).has_value());
  CHECK_FALSE(fetch_descriptor(b.cpu, b.memory, CpuBench::kSpare | 4).has_value());
  b.cpu.ldt = {CpuBench::kLdtSelector, 0, CpuBench::kLdt, 7, 0x8200};
  b.memory.put<uint64_t>(CpuBench::kLdt, 0x1122334455667788);
  const auto local = fetch_descriptor(b.cpu, b.memory, 4);
  REQUIRE(local.has_value());
  CHECK(local->low == 0x55667788);
  CHECK(local->high == 0x11223344);

  Descriptor in_hand = *found;
  mark_accessed(b.cpu, b.memory, CpuBench::kSpare, in_hand);
  CHECK((in_hand.high & descriptor::kAccessed) != 0);
  CHECK(b.descriptor(CpuBench::kSpare).high == in_hand.high);
  b.memory.read_only.insert(CpuBench::kGdt >> 12);
  CHECK_NOTHROW(mark_accessed(b.cpu, b.memory, CpuBench::kSpare, in_hand));
}

TEST_CASE("canonical addresses and wrapping") {
  CHECK(is_canonical(0x00007fffffffffff));
  CHECK(is_canonical(0xffff800000000000));
  CHECK_FALSE(is_canonical(0x0000800000000000));
  CHECK_FALSE(is_canonical(0xffff7fffffffffff));
  CpuBench b;
  CHECK(wrap_linear(b.cpu, 0x100000010) == 0x10);
  b.enter_long_mode(0);
  CHECK(wrap_linear(b.cpu, 0x100000010) == 0x100000010);
}

}  // namespace
