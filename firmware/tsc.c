// Shows the instructions that could tell one host from another: RDTSC (grows, at ring 3 subject to CR4.TSD), RDPMC and
// RDTSCP
// (#GP, #UD), CPUID (the same answer every time, and consistent with what the CPU does), RDRAND and RDSEED (absent,
// #UD). Prints no value that a model or a clock decides.
#include "runtime.h"

ASM_FUNCTION(do_rdtsc, "rdtsc; int $0x80")
ASM_FUNCTION(do_rdtscp, "rdtscp; int $0x80")
ASM_FUNCTION(do_rdpmc, "xor %ecx, %ecx; rdpmc; int $0x80")
ASM_FUNCTION(do_rdrand, ".byte 0x0f, 0xc7, 0xf0; int $0x80")
ASM_FUNCTION(do_rdseed, ".byte 0x0f, 0xc7, 0xf8; int $0x80")
ASM_FUNCTION(do_xgetbv, "xor %ecx, %ecx; xgetbv; int $0x80")

static volatile uint32_t ticks;
static void on_tick(struct Frame* f) {
  ++ticks;
  pic_eoi(0);
}

static uint32_t cpuid_sum(void) {
  uint32_t out[4], sum = 0, highest;
  cpuid(0, 0, out);
  highest = out[0] < 0x20 ? out[0] : 0x20;
  for (uint32_t leaf = 0; leaf <= highest; ++leaf)
    for (uint32_t sub = 0; sub < 4; ++sub) {
      cpuid(leaf, sub, out);
      sum = crc32(sum, out, sizeof out);
    }
  for (uint32_t leaf = 0x80000000; leaf <= 0x80000008; ++leaf) {
    cpuid(leaf, 0, out);
    sum = crc32(sum, out, sizeof out);
  }
  return sum;
}

int main(void) {
  uint64_t last = rdtsc();
  bool grows = true;
  for (int i = 0; i < 100000; ++i) {
    const uint64_t now = rdtsc();
    grows &= now >= last;
    last = now;
  }
  check(grows, "100000 readings never go back");

  trap_handlers[0x20] = on_tick;
  pit_set(0, 2, 11932);
  pic_unmask(0);
  sleep_for_interrupt();
  uint64_t first = rdtsc(), lowest = ~0ull, highest = 0;
  for (int i = 0; i < 8; ++i) {
    const uint32_t until = ticks + 5;
    while (ticks < until) sleep_for_interrupt();
    const uint64_t now = rdtsc(), passed = now - first;
    first = now;
    if (passed < lowest) lowest = passed;
    if (passed > highest) highest = passed;
  }
  pic_mask_all();
  check(highest < lowest * 4, "it runs evenly while the CPU sleeps");

  run_user(do_rdtsc);
  expect_trap(0x80, 0, "rdtsc at ring 3");
  write_cr4(read_cr4() | kCr4Tsd);
  run_user(do_rdtsc);
  expect_trap(13, 0, "rdtsc at ring 3 with TSD");
  traps(do_rdtsc);
  expect_trap(0x80, 0, "rdtsc at ring 0 with TSD");
  write_cr4(read_cr4() & ~(word)kCr4Tsd);
  run_user(do_rdpmc);
  expect_trap(13, 0, "rdpmc at ring 3");

  const uint32_t sum = cpuid_sum();
  bool same = true;
  for (int i = 0; i < 50; ++i) same &= cpuid_sum() == sum;
  check(same, "CPUID does not vary");
  uint32_t out[4];
  cpuid(1, 0, out);
  check(out[3] & 1 << 4, "TSC");
  check((out[3] & 0x07808111) == 0x07808111, "FPU, TSC, CX8, CMOV, MMX, FXSR, SSE, SSE2");
  check(!(out[2] & 1 << 30), "no RDRAND");
  check(!(out[2] & (1 << 26 | 1 << 28)), "no XSAVE, no AVX");
  traps(do_rdrand);
  expect_trap(6, 0, "rdrand");
  traps(do_rdseed);
  expect_trap(6, 0, "rdseed");
  traps(do_xgetbv);
  expect_trap(6, 0, "xgetbv");
  cpuid(0x80000001, 0, out);
  check(!(out[3] & 1 << 27), "no RDTSCP");
  traps(do_rdtscp);
  expect_trap(6, 0, "rdtscp");
  check(out[3] & 1 << 29, "long mode");
  check(out[3] & 1 << 20, "NX");
  return 0;
}
