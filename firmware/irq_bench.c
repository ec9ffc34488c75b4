// An interrupt-bound benchmark: timer interrupts at about 20 kHz in the background of system calls from ring 3,
// software interrupts at ring 0, page faults that map and unmap, I/O ports and sleeping in HLT. About 200 M
// instructions. What it prints does not depend on how many timer interrupts there were.
#include "runtime.h"

enum { kPageFaults = 200000, kSoftwareInterrupts = 1000000, kSleeps = 1000, kPorts = 600000 };

static volatile uint32_t ticks, calls, faults, software;
static uint32_t directory[1024] __attribute__((aligned(4096))), leaf[1024] __attribute__((aligned(4096)));

static void on_tick(struct Frame* f) {
  ++ticks;
  pic_eoi(0);
}

// EAX counts down in ring 3; the call mixes it into EBX.
static void on_call(struct Frame* f) {
  ++calls;
  f->bx = f->bx * 33 + f->cx;
}

static void on_software(struct Frame* f) { software = software * 5 + 1; }

static void on_page_fault(struct Frame* f) {
  const uint32_t page = (read_cr2() - 0x40000000u) >> 12;
  if (page >= 1024) leave(0x13);
  ++faults;
  leaf[page] = (0x1000000 + page % 64 * 4096) | 7;
  invlpg((void*)read_cr2());
}

ASM_FUNCTION(user_loop, "mov $1000000, %ecx; mov $7, %ebx; 1: int $0x81; dec %ecx; jnz 1b; int $0x80")

int main(void) {
  for (uint32_t i = 0; i < 1024; ++i) directory[i] = i << 22 | 0x87;
  directory[0x40000000u >> 22] = (uint32_t)leaf | 7;
  write_cr4(kCr4Pse);
  write_cr3((uint32_t)directory);
  write_cr0(read_cr0() | CR0_PG);
  trap_handlers[0x20] = on_tick;
  trap_handlers[0x81] = on_call;
  trap_handlers[0x82] = on_software;
  trap_handlers[14] = on_page_fault;
  idt[0x81].low |= 3ull << 45;
  pit_set(0, 2, 60);
  pic_unmask(0);

  user_flags = 2 | kFlagIf;
  run_user(user_loop);
  expect_trap(0x80, 0, "system calls end");
  say("system calls: %u, sum %08x\n", calls, trap.bx);

  sti();
  for (uint32_t i = 0; i < kSoftwareInterrupts; ++i) __asm__ volatile("int $0x82" ::: "memory");
  say("software interrupts: sum %08x\n", software);

  uint32_t sum = 0;
  for (uint32_t i = 0; i < kPageFaults; ++i) {
    const uint32_t page = i * 7 % 1024;
    volatile uint32_t* at = (volatile uint32_t*)(0x40000000u + page * 4096 + i % 1024 * 4);
    *at += i;
    sum = sum * 31 + *at;
    leaf[page] = 0;
    invlpg((const void*)at);
  }
  say("page faults: %u, sum %08x\n", faults, sum);

  for (uint32_t i = 0; i < kPorts; ++i) outb(0x80, (uint8_t)i);
  const uint32_t before = ticks;
  for (uint32_t i = 0; i < kSleeps; ++i) sleep_for_interrupt();
  check(ticks - before >= kSleeps, "an interrupt ends every sleep");
  check(ticks > kSleeps, "timer interrupts in the background");
  return 0;
}
