// Shows faults and the ways between rings in long mode: exceptions from ring 3, DPL checks, the stack from the TSS and
// its 16-byte alignment, IST stacks, SYSCALL/SYSRET and SYSENTER/SYSEXIT in their 64-bit forms, SWAPGS and the FS and
// GS bases, compatibility mode, a double fault into a handler on its own stack (SDM vol. 3A, chapters 5.8 and 6.14).
//
// Not tested: #SS for non-canonical stack addresses (QEMU 7.2 raises #GP), SYSRET to a non-canonical address (Intel and
// AMD differ), SYSCALL in compatibility mode (#UD on Intel, works in QEMU), error codes that name an IDT entry (vector
// * 8
// + 2 by the manual, QEMU 7.2 says vector * 16 + 2), arithmetic flags right after SYSCALL (QEMU loses them).
#include "runtime.h"

enum { kMsrSysenterCs = 0x174, kMsrSysenterEsp = 0x175, kMsrSysenterEip = 0x176 };
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_FMASK 0xc0000084u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u

ASM_FUNCTION(divide_by_zero, "xor %ecx, %ecx; mov $1, %eax; xor %edx, %edx; div %rcx; int $0x80")
ASM_FUNCTION(undefined, "ud2")
ASM_FUNCTION(removed_into, ".byte 0xce; int $0x80")
ASM_FUNCTION(removed_aaa, ".byte 0x37; int $0x80")
ASM_FUNCTION(removed_push_ds, ".byte 0x1e; int $0x80")
ASM_FUNCTION(removed_far_call, ".byte 0x9a, 0, 0, 0, 0, 8, 0; int $0x80")
ASM_FUNCTION(breakpoint, "int3; nop")
ASM_FUNCTION(do_cli, "cli; int $0x80")
ASM_FUNCTION(do_hlt, "hlt; int $0x80")
ASM_FUNCTION(do_in, "in $0x21, %al; int $0x80")
ASM_FUNCTION(do_swapgs, "swapgs; int $0x80")
ASM_FUNCTION(do_sysret, "sysretq; int $0x80")
ASM_FUNCTION(do_mov_cr8, "mov %cr8, %rax; int $0x80")
ASM_FUNCTION(do_int_13, "int $13; nop")
ASM_FUNCTION(do_int_50, "int $0x50; nop")
ASM_FUNCTION(do_load_kernel_ds, "mov $0x10, %eax; mov %eax, %ds; int $0x80")
ASM_FUNCTION(do_null_ds, "xor %eax, %eax; mov %eax, %ds; mov (%rsp), %rbx; int $0x80")
ASM_FUNCTION(do_odd_stack, "sub $5, %rsp; int $0x80")
ASM_FUNCTION(do_x87, "fld1; int $0x80")

ASM_FUNCTION(
    user_syscall,
    "mov $0x1122334455667788, %rbx; mov $0x77, %eax; stc; syscall; .globl after_syscall; after_syscall: int $0x80")
ASM_FUNCTION(syscall_code,
             "mov %rcx, %r8; mov %r11, %r9; mov %cs, %r12d; mov %ss, %r13d; pushf; pop %r14; mov %rsp, %r15; "
             "mov $0x88, %eax; sysretq")
ASM_FUNCTION(syscall_code_32, "mov $compat_code, %ecx; sysretl")
ASM_FUNCTION(user_sysenter, "mov %rsp, %rcx; lea back(%rip), %rdx; sysenter; ud2; back: int $0x80")
ASM_FUNCTION(sysenter_code, "mov %cs, %r12d; mov %ss, %r13d; mov %rsp, %r14; mov $0x99, %eax; rex.w sysexit")
ASM_FUNCTION(user_bases, "mov %fs:0, %rax; mov %gs:8, %rbx; int $0x80")
ASM_FUNCTION(user_load_gs, "mov $0x23, %eax; mov %eax, %gs; mov %gs:(%rsp), %rbx; mov (%rsp), %rcx; int $0x80")
ASM_FUNCTION(kernel_swapgs, "swapgs; mov %gs:0, %rax; swapgs; mov %gs:0, %rbx; int $0x80")
// AAA, INTO and 0x40-0x4f as INC exist again, addresses wrap at 4 GiB, and INT pushes a 64-bit frame.
ASM_FUNCTION(compat_code,
             ".code32; mov $0x0f, %eax; aaa; inc %ebx; mov %cs, %ecx; mov %esp, %ebp; push $-1; pop %edi; "
             "int $0x80; .code64")
ASM_FUNCTION(compat_into, ".code32; mov $0x7f, %al; add $1, %al; into; nop; .code64")
ASM_FUNCTION(to_compat_and_back,
             "pushq $0x1b; push $in_compat; rex.w lret; .code32; in_compat: mov $0x37, %esi; aas; ljmp $0x2b, $in_long;"
             ".code64; in_long: mov $0x123456789, %rdi; int $0x80")

extern uint8_t after_syscall[];
static uint8_t ist_stack[2][4096] __attribute__((aligned(16)));
static uint64_t areas[3][2] = {{0xf5f5, 0xf5f6}, {0x6565, 0x6566}, {0x9999, 0x999a}};
static volatile word handler_sp;

static void note_stack(struct Frame* f) {
  handler_sp = (word)__builtin_frame_address(0);
  f->ip += 2;  // over the UD2
}

static bool on_ist(int i) { return handler_sp >= (word)ist_stack[i] && handler_sp < (word)ist_stack[i] + 4096; }

ASM_FUNCTION(undefined_then_call, "ud2; int $0x80")
ASM_FUNCTION(kernel_odd_stack, "mov %rsp, %rbx; sub $3, %rsp; ud2; mov %rbx, %rsp; ret")

static word aligned_at;
static void note_alignment(struct Frame* f) {
  aligned_at = (word)(&f->ss + 1) & 15;
  f->ip += 2;
}

static void exceptions(void) {
  run_user(divide_by_zero);
  expect_trap(0, 0, "div by 0");
  check(trap.cs == kCode3Long && trap.ss == kData3, "CS and SS of ring 3");
  check(trap.sp == (word)user_stack + sizeof user_stack, "RSP of ring 3");
  run_user(undefined);
  expect_trap(6, 0, "ud2");
  run_user(removed_into);
  expect_trap(6, 0, "into does not exist");
  run_user(removed_aaa);
  expect_trap(6, 0, "aaa does not exist");
  run_user(removed_push_ds);
  expect_trap(6, 0, "push ds does not exist");
  run_user(removed_far_call);
  expect_trap(6, 0, "direct far call does not exist");
  run_user(breakpoint);
  expect_trap(3, 0, "int3");
  check(trap.ip == (word)breakpoint + 1, "#BP is a trap");
  run_user(do_cli);
  expect_trap(13, 0, "cli");
  run_user(do_hlt);
  expect_trap(13, 0, "hlt");
  run_user(do_in);
  expect_trap(13, 0, "in");
  run_user(do_swapgs);
  expect_trap(13, 0, "swapgs");
  run_user(do_sysret);
  expect_trap(13, 0, "sysret");
  run_user(do_mov_cr8);
  expect_trap(13, 0, "mov cr8");
  run_user(do_int_13);
  check(trap.vector == 13 && (trap.error & 7) == 2, "int 13 through a DPL 0 gate is #GP");
  idt[0x50].low = idt[0x50].high = 0;
  run_user(do_int_50);
  check(trap.vector == 13 && (trap.error & 7) == 2, "empty gate is #GP");
  set_gate(0x50, (void*)0x1234, kCode0, 0x6e);
  run_user(do_int_50);
  check(trap.vector == 11 && (trap.error & 7) == 2, "absent gate is #NP");
  set_gate(0x50, (void*)0x1234, 0x38, 0xee);
  run_user(do_int_50);
  expect_trap(13, 0x38, "gate to 32-bit code");
  run_user(do_load_kernel_ds);
  expect_trap(13, kData0, "ring 0 data segment");
  run_user(do_null_ds);
  expect_trap(0x80, 0, "null in ds is usable");
  run_user(do_odd_stack);
  check(trap.vector == 0x80 && trap.sp == (word)user_stack + sizeof user_stack - 5, "odd user stack is kept");
  write_cr0(read_cr0() | kCr0Ts);
  run_user(do_x87);
  expect_trap(7, 0, "x87 with TS");
  write_cr0(read_cr0() & ~(word)kCr0Ts);
  trap_handlers[6] = note_alignment;
  kernel_odd_stack();
  trap_handlers[6] = 0;
  check_value(aligned_at, 0, "frame on an odd ring 0 stack is aligned to 16 bytes, remainder");
}

static void ist(void) {
  tss.ist[0] = (word)ist_stack[0] + 4096;
  tss.ist[1] = (word)ist_stack[1] + 4096;
  trap_handlers[6] = note_stack;
  set_gate_ist(6, 1);
  run_user(undefined_then_call);
  check(trap.vector == 0x80 && on_ist(0), "#UD from ring 3 on IST 1");
  traps(undefined_then_call);
  check(trap.vector == 0x80 && on_ist(0), "#UD from ring 0 on IST 1");
  set_gate_ist(6, 2);
  traps(undefined_then_call);
  check(on_ist(1), "#UD on IST 2");
  set_gate_ist(6, 0);
  traps(undefined_then_call);
  check(!on_ist(0) && !on_ist(1), "#UD on the current stack");
  trap_handlers[6] = 0;
}

static void double_fault(void) {
  set_gate_ist(8, 1);
  idt[13].low &= ~(1ull << 47);
  run_user(do_hlt);
  expect_trap(8, 0, "#GP whose gate is absent");
  idt[13].low |= 1ull << 47;
  check((trap.cs & 0xffff) == kCode3Long, "#DF shows the context of the first fault");
  // A #PF that cannot push its frame: the second #PF makes #DF, which has its own stack.
  word rsp0 = tss.rsp[0];
  tss.rsp[0] = 0x0000700000000000;
  run_user(do_hlt);
  tss.rsp[0] = rsp0;
  check(trap.vector == 8, "#GP, then two #PF on an unmapped stack");
  check_value(trap_cr2 >> 40, 0x6f, "CR2 is on that stack");
  set_gate_ist(8, 0);
  run_user(do_hlt);
  expect_trap(13, 0, "all is well again");
}

static void fast_calls(void) {
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1);
  wrmsr(MSR_STAR, (uint64_t)kCode0 << 32 | (uint64_t)kCode3 << 48);
  wrmsr(MSR_LSTAR, (word)syscall_code);
  wrmsr(MSR_FMASK, kFlagIf | kFlagDf | kFlagTf);
  user_flags = 2 | kFlagIf;
  run_user(user_syscall);
  expect_trap(0x80, 0, "syscall and sysret");
  check(trap.r8 == (word)after_syscall, "RCX is the return address");
  check_value(trap.r9, 0x203, "R11 has the flags");
  check(!(trap.r14 & kFlagIf), "the mask clears IF");
  check(trap.r12 == kCode0 && trap.r13 == kData0, "CS and SS of ring 0");
  check(trap.r15 == (word)user_stack + sizeof user_stack, "RSP is unchanged");
  check(trap.cs == kCode3Long && trap.ss == kData3, "CS and SS of ring 3");
  check_value(trap.flags & 0xfff, 0x203, "flags come back");
  check(trap.bx == 0x1122334455667788 && trap.ax == 0x88, "registers pass");
  wrmsr(MSR_LSTAR, (word)syscall_code_32);
  run_user(user_syscall);
  expect_trap(0x80, 0, "sysret to 32 bits");
  check(trap.cs == kCode3 && trap.ss == kData3 && (trap.cx & 0xffff) == kCode3, "in compatibility mode");
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~1ull);
  run_user(user_syscall);
  expect_trap(6, 0, "syscall with SCE clear");
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1);

  wrmsr(kMsrSysenterCs, 0);
  run_user(user_sysenter);
  expect_trap(13, 0, "sysenter with CS 0");
  wrmsr(kMsrSysenterCs, kCode0);
  wrmsr(kMsrSysenterEsp, 0x5eac00);
  wrmsr(kMsrSysenterEip, (word)sysenter_code);
  run_user(user_sysenter);
  expect_trap(0x80, 0, "sysenter and sysexit");
  check(trap.r12 == kCode0 && trap.r13 == kData0 && trap.r14 == 0x5eac00, "CS, SS and RSP of ring 0");
  check(trap.cs == kCode3Long && trap.ss == kData3Too && trap.ax == 0x99, "back at ring 3");
  user_flags = 2;
}

static void bases(void) {
  wrmsr(MSR_FS_BASE, (word)areas[0]);
  wrmsr(MSR_GS_BASE, (word)areas[1]);
  wrmsr(MSR_KERNEL_GS_BASE, (word)areas[2]);
  run_user(user_bases);
  check(trap.ax == 0xf5f5 && trap.bx == 0x6566, "FS and GS bases");
  traps(kernel_swapgs);
  check(trap.ax == 0x9999 && trap.bx == 0x6565, "swapgs there and back");
  user_stack[4095] = 1;
  run_user_at((word)user_load_gs, (word)user_stack + 2048, kCode3Long, kData3);
  check(trap.vector == 0x80 && trap.bx == trap.cx, "loading GS loads its base from the descriptor");
  check(rdmsr(MSR_GS_BASE) == 0, "the base is 0 then");
}

static void compatibility(void) {
  run_user_at((word)compat_code, (word)user_stack + 4096, kCode3, kData3);
  expect_trap(0x80, 0, "32-bit code");
  check((trap.ax & 0xffff) == 0x105, "aaa");
  check(trap.bx == 1 && trap.di == 0xffffffff && (trap.cx & 0xffff) == kCode3, "32-bit registers and stack");
  run_user_at((word)compat_into, (word)user_stack + 4096, kCode3, kData3);
  expect_trap(4, 0, "into");
  run_user(to_compat_and_back);
  expect_trap(0x80, 0, "far return to 32 bits, far jump back");
  check(trap.di == 0x123456789 && trap.cs == kCode3Long, "in 64 bits");
}

int main(void) {
  exceptions();
  ist();
  double_fault();
  fast_calls();
  bases();
  compatibility();
  return 0;
}
