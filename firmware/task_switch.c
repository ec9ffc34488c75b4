// Shows hardware task switching: far JMP and CALL to a TSS and through a task gate, IRET with NT, nesting three deep,
// busy bits and back links, what is saved and loaded (registers, EFLAGS, CR3, LDT, CR0.TS), task gates in the IDT with
// and without error code, a double fault out of a broken stack into a task of its own, and the faults of bad TSSes.
// SDM vol. 3A, chapter 7.
//
// Not tested: the T bit of the TSS and limits of data segments (not in TCG), 16-bit TSSes. QEMU 7.2 saves stale flags
// at a far JMP in the middle of a block: it passes with one instruction a block (-singlestep) only.
#include "runtime.h"

enum {
  kTaskA = kFreeSelector,
  kTaskB = kFreeSelector + 8,
  kTaskC = kFreeSelector + 16,
  kGateB = kFreeSelector + 24,
  kShort = kFreeSelector + 32,
  kAbsent = kFreeSelector + 40,
  kLdt = kFreeSelector + 48,
  kTaskFault = kFreeSelector + 56,
};
static struct Tss a, b, c, fault_task;
static uint8_t stacks[4][4096] __attribute__((aligned(16)));
static uint64_t ldt[4];
static uint32_t directory[2][1024] __attribute__((aligned(4096)));

static void set_up(struct Tss* t, int selector, void (*code)(void), int stack) {
  memset(t, 0, offsetof(struct Tss, io_map));
  t->eip = (word)code;
  t->eflags = 2;
  t->esp = (word)stacks[stack] + 4096;
  t->cs = kCode0;
  t->ds = t->es = t->ss = kData0;
  t->ss0 = kData0;
  t->esp0 = (word)trap_stack + sizeof trap_stack;
  t->cr3 = (word)directory[0];
  t->io_map_base = sizeof *t;
  gdt[selector / 8] = descriptor((uint32_t)t, sizeof *t - 1, 0x89);
}

static bool busy(int selector) { return gdt[selector / 8] >> 41 & 1; }
static uint16_t task_register(void) {
  uint16_t v;
  __asm__ volatile("str %0" : "=r"(v));
  return v;
}

static volatile uint32_t trace[16], traced;
void note(uint32_t what) { trace[traced++ % 16] = what; }

static void say_trace(const char* what) {
  say("%s:", what);
  for (uint32_t i = 0; i < traced && i < 16; ++i) say(" %x", trace[i]);
  say("\n");
  traced = 0;
}

// ---- jump and call ----
// Task A, entered by a jump: notes what it got and jumps back to the main task.
static volatile uint32_t seen_flags, seen_cr0, seen_tr, seen_ldt, seen_cr3;
static void note_state(void) {
  __asm__ volatile("pushf; pop %0" : "=r"(seen_flags));
  seen_cr0 = read_cr0();
  seen_cr3 = read_cr3();
  seen_tr = task_register();
  uint16_t l;
  __asm__ volatile("sldt %0" : "=r"(l));
  seen_ldt = l;
  __asm__ volatile("clts");
}
#define TO(instruction, selector) __asm__ volatile(instruction " %0, $0" ::"i"(selector) : "memory", "cc")

static void task_jumps(void) {
  for (;;) {
    note_state();
    note(0xa);
    TO("ljmp", kTssSelector);
  }
}

static void task_returns(void) {
  for (;;) {
    note_state();
    note(0xb0 | (seen_flags & kFlagNt ? 1 : 0) | (busy(kTssSelector) ? 2 : 0) | (busy(kTaskB) ? 4 : 0));
    note(b.back_link);
    __asm__ volatile("iret" ::: "memory");
    note(0xb8);  // resumed behind the IRET
    __asm__ volatile("iret" ::: "memory");
  }
}

static void jumps(void) {
  set_up(&a, kTaskA, task_jumps, 0);
  a.eflags = 2 | kFlagOf | kFlagCf;
  a.ldt = kLdt;
  a.cr3 = (word)directory[1];
  word ebx = 0x1234, flags;
  __asm__ volatile("stc; ljmp %2, $0; pushf; pop %1" : "+b"(ebx), "=r"(flags) : "i"(kTaskA) : "memory", "cc");
  say_trace("jump to A and back");
  check(ebx == 0x1234 && (flags & kFlagCf) && !(flags & kFlagNt), "registers and flags come back");
  check((seen_flags & (kFlagOf | kFlagNt)) == kFlagOf, "A starts with its flags, NT clear");
  check(seen_cr0 & kCr0Ts, "TS is set");
  check_value(seen_tr, kTaskA, "TR");
  check_value(seen_ldt, kLdt, "LDTR");
  check(seen_cr3 == (word)directory[1] && read_cr3() == (word)directory[0], "CR3 is switched and back");
  check(!busy(kTaskA) && busy(kTssSelector), "a jump moves the busy bit");
  check(tss.ebx == 0x1234 && (tss.eflags & kFlagCf), "the TSS of the old task was written");
  check(tss.cr3 == (word)directory[0] && a.cr3 == (word)directory[1], "CR3 in the TSS is not");
  __asm__ volatile("clts");
  TO("ljmp", kTaskA);
  say_trace("again, where it left off");
}

static void calls(void) {
  set_up(&b, kTaskB, task_returns, 1);
  TO("lcall", kTaskB);
  say_trace("call B");
  check(!busy(kTaskB) && busy(kTssSelector), "IRET clears busy of the task that returns");
  check(!(b.eflags & kFlagNt) && (seen_flags & kFlagNt), "NT was set inside, and is clear in its TSS");
  TO("lcall", kTaskB);
  say_trace("call B again");
  set_up(&b, kTaskB, task_returns, 1);
  gdt[kGateB / 8] = (uint64_t)kTaskB << 16 | 0x85ull << 40;
  TO("lcall", kGateB);
  say_trace("call through a task gate");
}

// ---- nesting ----
static void task_c(void) {
  for (;;) {
    note(0xc0 | (busy(kTaskA) ? 1 : 0) | (busy(kTaskB) ? 2 : 0) | (busy(kTssSelector) ? 4 : 0) |
         (busy(kTaskC) ? 8 : 0));
    note(c.back_link);
    __asm__ volatile("iret" ::: "memory");
  }
}
static void task_b_nested(void) {
  for (;;) {
    note(0xb0);
    TO("lcall", kTaskC);
    note(0xb1);
    __asm__ volatile("iret" ::: "memory");
  }
}
static void task_a_nested(void) {
  for (;;) {
    note(0xa0);
    TO("lcall", kTaskB);
    note(0xa1);
    __asm__ volatile("int $0x60" ::: "memory");  // task gate to C
    note(0xa2);
    __asm__ volatile("iret" ::: "memory");
  }
}

static void nested(void) {
  set_up(&a, kTaskA, task_a_nested, 0);
  set_up(&b, kTaskB, task_b_nested, 1);
  set_up(&c, kTaskC, task_c, 2);
  idt[0x60].low = (uint64_t)kTaskC << 16 | 0xe5ull << 40;
  for (int i = 0; i < 3; ++i) {
    TO("lcall", kTaskA);
    say_trace("main, A, B, C");
  }
  check(!busy(kTaskA) && !busy(kTaskB) && !busy(kTaskC) && busy(kTssSelector), "busy bits");
}

// ---- faults that a task serves ----
ASM_FUNCTION(gp_task, "1: pop %eax; mov %eax, task_error; addl $2, tss + 32; iret; jmp 1b")  // skips MOV DS, AX
ASM_FUNCTION(ud_task, "1: movl $0x0dd, task_error; addl $2, tss + 32; iret; jmp 1b")
volatile uint32_t task_error;
ASM_FUNCTION(df_task,
             "1: pop %eax; mov %eax, task_error; mov saved_esp, %eax; mov %eax, tss + 56; movl $after_df, tss + 32; "
             "iret; jmp 1b")
volatile uint32_t saved_esp;

static void faults(void) {
  struct Gate gp = idt[13], ud = idt[6], df = idt[8], pf = idt[14];
  set_up(&fault_task, kTaskFault, gp_task, 3);
  idt[13].low = (uint64_t)kTaskFault << 16 | 0x85ull << 40;
  uint32_t ebx = 5;
  for (int i = 0; i < 3; ++i) __asm__ volatile("mov %1, %%ds; inc %0" : "+b"(ebx) : "a"(0x400) : "memory");
  check(ebx == 8, "#GP three times into a task, which skips the instruction");
  check_value(task_error, 0x400, "error code on the task's stack");
  idt[13] = gp;
  set_up(&fault_task, kTaskFault, ud_task, 3);
  idt[6].low = (uint64_t)kTaskFault << 16 | 0x85ull << 40;
  __asm__ volatile("ud2; ud2" ::: "memory");
  check_value(task_error, 0x0dd, "#UD twice into a task");
  idt[6] = ud;
  // The stack is absent: #PF cannot be delivered, so #DF, whose task has a stack.
  set_up(&fault_task, kTaskFault, df_task, 3);
  idt[8].low = (uint64_t)kTaskFault << 16 | 0x85ull << 40;
  task_error = 0x77;
  directory[0][0x50000000u >> 22] = 0;
  write_cr3(read_cr3());
  __asm__ volatile(
      "push %%ebp; push %%ebx; push %%esi; push %%edi; mov %%esp, saved_esp; mov $0x50001000, %%esp; push %%eax;"
      ".globl after_df; after_df: pop %%edi; pop %%esi; pop %%ebx; pop %%ebp" ::
          : "eax", "ecx", "edx", "memory", "cc");
  check_value(task_error, 0, "#DF on an absent stack into a task: error code");
  check_value(read_cr2(), 0x50000ffc, "CR2");
  idt[8] = df;
  idt[14] = pf;
  check(busy(kTssSelector) && !busy(kTaskFault), "busy bits");
}

// ---- bad tasks ----
ASM_FUNCTION(to_self, "lcall $0x48, $0; int $0x80")
ASM_FUNCTION(to_short, "ljmp $0x78, $0; int $0x80")
ASM_FUNCTION(to_absent, "ljmp $0x80, $0; int $0x80")
ASM_FUNCTION(to_a, "ljmp $0x58, $0; int $0x80")
ASM_FUNCTION(iret_nt, "pushf; orl $0x4000, (%esp); popf; iret")
ASM_FUNCTION(user_to_a, "ljmp $0x58, $0; int $0x80")
ASM_FUNCTION(user_to_gate, "lcall $0x70, $0; int $0x80")
ASM_FUNCTION(task_returns_at_once, "1: iret; jmp 1b")

static void bad_tasks(void) {
  traps(to_self);
  expect_trap(13, kTssSelector, "call of the running task");
  gdt[kShort / 8] = descriptor((uint32_t)&a, 102, 0x89);
  traps(to_short);
  expect_trap(10, kShort, "limit below 103");
  gdt[kAbsent / 8] = descriptor((uint32_t)&a, sizeof a - 1, 0x09);
  traps(to_absent);
  expect_trap(11, kAbsent, "absent TSS");
  run_user(user_to_a);
  expect_trap(13, kTaskA, "TSS of DPL 0 from ring 3");
  gdt[kGateB / 8] = (uint64_t)kTaskB << 16 | 0x85ull << 40;
  run_user(user_to_gate);
  expect_trap(13, kGateB, "task gate of DPL 0 from ring 3");
  set_up(&b, kTaskB, task_returns_at_once, 1);
  gdt[kGateB / 8] = (uint64_t)kTaskB << 16 | 0xe5ull << 40;
  run_user(user_to_gate);
  expect_trap(0x80, 0, "task gate of DPL 3 from ring 3");
  check(trap.cs == kCode3 && (trap.flags & kFlagNt) == 0, "back at ring 3");
  tss.back_link = kTaskA;  // not busy: IRET may not return to it
  gdt[kTaskA / 8] = descriptor((uint32_t)&a, sizeof a - 1, 0x89);
  traps(iret_nt);
  expect_trap(10, kTaskA, "IRET with NT to a task that is not busy");
  tss.back_link = 0;
}

int main(void) {
  for (uint32_t i = 0; i < 1024; ++i) directory[0][i] = directory[1][i] = i << 22 | 0x87;
  write_cr4(kCr4Pse);
  write_cr3((word)directory[0]);
  write_cr0(read_cr0() | CR0_PG);
  tss.cr3 = (word)directory[0];
  gdt[kLdt / 8] = descriptor((uint32_t)ldt, sizeof ldt - 1, 0x82);
  jumps();
  calls();
  nested();
  faults();
  bad_tasks();
  return 0;
}
