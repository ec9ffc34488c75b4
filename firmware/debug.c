// Shows debug exceptions: single stepping with TF (plain code, REP, behind MOV SS and POP SS, INT n, POPF), execute
// breakpoints through DR0-DR2 with DR6, DR7 and RF, the DR5 alias. SDM vol. 3B, 17.3.
//
// Not tested: data and I/O breakpoints (our engine has none), general detect and the T bit of a TSS (not in
// TCG), ICEBP (#UD in QEMU 7.2).
#include "runtime.h"

static volatile uint32_t steps, places, hits[3], last_dr6;
static volatile word trail[64];
extern uint8_t plain[], plain_end[], bp_one[], bp_two[], bp_three[], behind_ss[], behind_pop_ss[];

ASM_FUNCTION(stepped_plain,
             "pushf; orl $0x100, (%esp); popf; .globl plain; plain: nop; inc %eax; xor %ecx, %ecx; jmp 1f; nop; 1: "
             "call 2f; pushf; andl $~0x100, (%esp); popf; .globl plain_end; plain_end: nop; ret; 2: ret")
ASM_FUNCTION(stepped_rep,
             "push %edi; mov $buffer, %edi; mov $5, %ecx; cld; pushf; orl $0x100, (%esp); popf; rep stosb;"
             "pushf; andl $~0x100, (%esp); popf; pop %edi; ret")
ASM_FUNCTION(stepped_ss,
             "mov %ss, %ecx; pushf; orl $0x100, (%esp); popf; mov %ecx, %ss; .globl behind_ss; behind_ss: nop; push "
             "%ss; pop %ss;"
             ".globl behind_pop_ss; behind_pop_ss: nop; pushf; andl $~0x100, (%esp); popf; ret")
ASM_FUNCTION(stepped_int, "pushf; orl $0x100, (%esp); popf; int $0x81; nop; pushf; andl $~0x100, (%esp); popf; ret")
ASM_FUNCTION(with_breakpoints,
             "xor %eax, %eax; .globl bp_one; bp_one: inc %eax; mov $5, %ecx; .globl bp_two; bp_two: add %ecx, %eax;"
             "dec %ecx; jnz bp_two; .globl bp_three; bp_three: ret")
uint8_t buffer[16];

static void on_step(struct Frame* f) {
  if (steps < 64) trail[steps] = f->ip;
  ++steps;
  last_dr6 = (uint32_t)read_dr6();
  write_dr6(0xffff0ff0);
}

static volatile uint32_t flags_in_int;
static void on_81(struct Frame* f) {
  word flags;
  __asm__ volatile("pushf; pop %0" : "=r"(flags));
  flags_in_int = (uint32_t)flags;
  ++places;
}

static void on_breakpoint(struct Frame* f) {
  const uint32_t dr6 = (uint32_t)read_dr6();
  last_dr6 = dr6;
  for (int i = 0; i < 3; ++i) hits[i] += dr6 >> i & 1;
  write_dr6(0xffff0ff0);
  f->flags |= kFlagRf;  // the breakpoint is a fault: go on with the instruction
  ++steps;
}

static bool visited(const void* place) {
  for (uint32_t i = 0; i < steps && i < 64; ++i)
    if (trail[i] == (word)place) return true;
  return false;
}

static uint32_t call(const void* code) { return ((uint32_t(*)(void))code)(); }

static void single_steps(void) {
  trap_handlers[1] = on_step;
  write_dr6(0xffff0ff0);
  stepped_plain();
  check_value(steps, 9, "single steps");  // nop inc xor jmp call ret pushf andl popf
  check(trail[0] == (word)plain + 1, "the first trap comes behind the instruction after POPF");
  check(trail[steps - 1] == (word)plain_end, "the last one behind the POPF that clears TF");
  check_value(last_dr6 & 0xe00f, 0x4000, "DR6.BS");
  steps = 0;
  memset(buffer, 0, sizeof buffer);
  call((const void*)(word)stepped_rep);
  check_value(steps, 8, "steps with rep stosb of 5: one for each iteration");
  steps = 0;
  stepped_ss();
  check(!visited(behind_ss) && visited(behind_ss + 1), "no trap between MOV SS and the next instruction");
  check(!visited(behind_pop_ss) && visited(behind_pop_ss + 1), "nor behind POP SS");
  steps = places = 0;
  trap_handlers[0x81] = on_81;
  stepped_int();
  check(places == 1 && !(flags_in_int & kFlagTf), "TF is clear in the handler of INT n");
  check_value(steps, 4, "its instructions are not stepped");  // nop pushf andl popf
  trap_handlers[1] = 0;
  steps = 0;
}

static void breakpoints(void) {
  trap_handlers[1] = on_breakpoint;
  write_dr0((word)bp_one);
  write_dr1((word)bp_two);
  write_dr2((word)bp_three);
  write_dr7(0x400 | 1 << 1 | 1 << 3 | 1 << 5);
  check_value(call((const void*)(word)with_breakpoints), 16, "result of the code");
  say("hits: %u %u %u\n", hits[0], hits[1], hits[2]);
  check(hits[0] == 1 && hits[1] == 5 && hits[2] == 1, "each place when it is reached");
  check_value(steps, 7, "exceptions");
  write_dr7(0x400);
  steps = 0;
  call((const void*)(word)with_breakpoints);
  check_value(steps, 0, "exceptions with DR7 off");
  write_dr7(0x400 | 1 << 0);
  call((const void*)(word)with_breakpoints);
  check_value(steps, 1, "exceptions with a local enable");
  write_dr7(0x400);
  check_value(read_dr7(), 0x400, "DR7");
  check(read_dr1() == (word)bp_two, "DR1 reads back");
  trap_handlers[1] = 0;
}

static void odds(void) {
  write_dr6(0);
  check_value(read_dr6() & 0xffff1ff0, 0xffff0ff0, "fixed bits of DR6");
  write_dr6(0xffff0ff0);
  word v;
  write_dr7(0x400);
  __asm__ volatile("mov %%db5, %0" : "=r"(v));
  check_value(v, 0x400, "DR5 is DR7 with CR4.DE clear");
}

int main(void) {
  single_steps();
  breakpoints();
  odds();
  return 0;
}
