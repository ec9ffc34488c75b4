// Shows faults and the ways between rings, in 32-bit protected mode: every exception of ring 0 and ring 3 with its
// error code, privileged instructions, DPL checks of INT n, the stack switch through the TSS, the I/O permission
// bitmap, conforming code, call gates with parameters and the far return, SYSENTER/SYSEXIT, and a double fault into a
// working handler (SDM vol. 3A, chapters 5 and 6; vol. 2 for SYSENTER).
//
// Not tested because TCG does not implement it: segment limits of data, null data segments, alignment checks (#AC), the
// EXT bit.
#include "runtime.h"

enum { kMsrSysenterCs = 0x174, kMsrSysenterEsp = 0x175, kMsrSysenterEip = 0x176 };
enum {
  kNotPresent = kFreeSelector,  // data, P=0
  kConforming = kFreeSelector + 8,
  kCallGate = kFreeSelector + 16,  // DPL 3, two parameters
  kGate0 = kFreeSelector + 24,     // call gate with DPL 0
  kReadOnly = kFreeSelector + 32,
  kCodeAbsent = kFreeSelector + 40,
  kBeyond = 0x400,  // behind the GDT's limit
};

// ---- exceptions that any ring can raise ----
ASM_FUNCTION(divide_by_zero, "xor %ecx, %ecx; mov $1, %eax; xor %edx, %edx; .globl at_div; at_div: div %ecx; int $0x80")
ASM_FUNCTION(divide_overflow, "mov $1, %ecx; mov $1, %edx; div %ecx; int $0x80")
ASM_FUNCTION(idiv_overflow, "mov $-1, %ecx; mov $0x80000000, %eax; cltd; idiv %ecx; int $0x80")
ASM_FUNCTION(aam_zero, "mov $5, %eax; .byte 0xd4, 0; int $0x80")
ASM_FUNCTION(breakpoint, "int3; .globl after_int3; after_int3: nop; int $0x80")
ASM_FUNCTION(int_3_long, ".byte 0xcd, 3; .globl after_int_3; after_int_3: nop; int $0x80")
ASM_FUNCTION(overflow, "mov $0x7fffffff, %eax; add $1, %eax; into; .globl after_into; after_into: nop; int $0x80")
ASM_FUNCTION(no_overflow, "xor %eax, %eax; into; int $0x80")
ASM_FUNCTION(bound_range, "push $9; push $2; mov $10, %eax; .globl at_bound; at_bound: bound %eax, (%esp); int $0x80")
ASM_FUNCTION(bound_inside, "push $9; push $2; mov $9, %eax; bound %eax, (%esp); int $0x80")
ASM_FUNCTION(undefined, ".globl at_ud; at_ud: ud2; int $0x80")
ASM_FUNCTION(mov_to_cs, "mov $0x23, %eax; .byte 0x8e, 0xc8; int $0x80")
ASM_FUNCTION(lea_of_register, ".byte 0x8d, 0xc0; int $0x80")
ASM_FUNCTION(load_absent, "mov $0x58, %eax; mov %eax, %ds; int $0x80")
ASM_FUNCTION(load_absent_ss, "mov $0x58, %eax; mov %eax, %ss; int $0x80")
ASM_FUNCTION(load_beyond, "mov $0x400, %eax; mov %eax, %es; int $0x80")
ASM_FUNCTION(load_null_ss, "xor %eax, %eax; mov %eax, %ss; int $0x80")
ASM_FUNCTION(load_read_only_ss, "mov $0x78, %eax; mov %eax, %ss; int $0x80")
ASM_FUNCTION(far_jump_null, "ljmp $0, $0")
ASM_FUNCTION(far_jump_data, "ljmp $0x10, $0")
ASM_FUNCTION(far_jump_absent, "ljmp $0x80, $0")
ASM_FUNCTION(far_jump_beyond, "ljmp $0x400, $0")
ASM_FUNCTION(x87, "fld1; int $0x80")
ASM_FUNCTION(do_wait, "fwait; int $0x80")

// ---- ring 3 only ----
ASM_FUNCTION(user_call, "mov $0x11111111, %ebx; int $0x80; .globl after_int_80; after_int_80: nop")
ASM_FUNCTION(user_cli, "cli; int $0x80")
ASM_FUNCTION(user_sti, "sti; int $0x80")
ASM_FUNCTION(user_hlt, "hlt; int $0x80")
ASM_FUNCTION(user_in, "in $0x21, %al; int $0x80")
ASM_FUNCTION(user_out, "mov $0x50, %eax; mov $0x70, %edx; out %al, %dx; int $0x80")
ASM_FUNCTION(user_in_word, "mov $0x70, %edx; in %dx, %ax; int $0x80")
ASM_FUNCTION(user_in_dword, "mov $0x6e, %edx; in %dx, %eax; int $0x80")
ASM_FUNCTION(user_ins, "lea -64(%esp), %edi; mov $0x21, %edx; insb; int $0x80")
ASM_FUNCTION(user_outs, "lea -64(%esp), %esi; mov $0x80, %edx; outsb; int $0x80")
ASM_FUNCTION(user_mov_cr0, "mov %cr0, %eax; int $0x80")
ASM_FUNCTION(user_mov_cr3, "mov %eax, %cr3; int $0x80")
ASM_FUNCTION(user_mov_dr7, "mov %dr7, %eax; int $0x80")
ASM_FUNCTION(user_lgdt, "lgdt (%esp); int $0x80")
ASM_FUNCTION(user_lidt, "lidt (%esp); int $0x80")
ASM_FUNCTION(user_lldt, "xor %eax, %eax; lldt %ax; int $0x80")
ASM_FUNCTION(user_ltr, "mov $0x48, %eax; ltr %ax; int $0x80")
ASM_FUNCTION(user_lmsw, "mov $1, %eax; lmsw %ax; int $0x80")
ASM_FUNCTION(user_clts, "clts; int $0x80")
ASM_FUNCTION(user_invlpg, "invlpg (%esp); int $0x80")
ASM_FUNCTION(user_invd, "invd; int $0x80")
ASM_FUNCTION(user_wbinvd, "wbinvd; int $0x80")
ASM_FUNCTION(user_rdmsr, "mov $0x10, %ecx; rdmsr; int $0x80")
ASM_FUNCTION(user_wrmsr, "mov $0x10, %ecx; wrmsr; int $0x80")
ASM_FUNCTION(user_sysexit, "sysexit; int $0x80")
ASM_FUNCTION(user_kernel_ds, "mov $0x10, %eax; mov %eax, %ds; int $0x80")
ASM_FUNCTION(user_kernel_ss, "mov $0x10, %eax; mov %eax, %ss; int $0x80")
ASM_FUNCTION(user_kernel_cs, "ljmp $0x8, $0")
ASM_FUNCTION(user_int_0, "int $0; nop")
ASM_FUNCTION(user_int_13, "int $13; nop")
ASM_FUNCTION(user_int_50, "int $0x50; nop")
ASM_FUNCTION(user_int_51, "int $0x51; nop")
ASM_FUNCTION(user_popf, "pushf; orl $0x3200, (%esp); popf; pushf; pop %eax; int $0x80")
ASM_FUNCTION(user_lar,
             "mov $0x1b, %ecx; xor %eax, %eax; lar %cx, %eax; setz %bl; mov $0x10, %ecx; "
             "lar %cx, %edx; setz %bh; movzwl %bx, %ebx; int $0x80")
ASM_FUNCTION(user_verr,
             "mov $0x23, %ecx; verr %cx; setz %al; verw %cx; setz %ah; mov $0x10, %ecx; verr %cx; "
             "setz %bl; movzwl %ax, %eax; movzbl %bl, %ebx; int $0x80")
ASM_FUNCTION(user_arpl, "mov $0x20, %eax; mov $3, %ecx; arpl %cx, %ax; setz %bl; int $0x80")
ASM_FUNCTION(user_conforming, "lcall $0x60, $0; mov %eax, %esi; int $0x80")
ASM_FUNCTION(user_call_gate,
             "push $0x22222222; push $0x11111111; mov %esp, %ebp; lcall $0x68, $0; "
             "sub %esp, %ebp; int $0x80")
ASM_FUNCTION(user_gate_0, "lcall $0x70, $0; int $0x80")
ASM_FUNCTION(user_sysenter, "mov %esp, %ecx; mov $back, %edx; mov $0x5e, %eax; sysenter; ud2; back: int $0x80")

ASM_FUNCTION(user_bad_stack, "int $0x80; ud2")
ASM_FUNCTION(ts_handler, "pop %eax; movl $0x10, tss + 8; int $0x80")  // repairs SS0: nothing protects the TSS here

// Ring 0 sides.
ASM_FUNCTION(conforming_code, "xor %eax, %eax; mov %cs, %ax; lret")
// The far return drops the parameters and nulls DS, ES, FS, GS which ring 3 may not use.
ASM_FUNCTION(gate_code,
             "mov 8(%esp), %eax; mov 12(%esp), %edx; mov %cs, %ebx; mov %ss, %ecx; mov 20(%esp), %edi;"
             "push %eax; mov $0x10, %eax; mov %eax, %fs; mov $0x23, %eax; mov %eax, %gs; pop %eax; lret $8")
ASM_FUNCTION(sysenter_code, "mov %cs, %ebx; mov %ss, %esi; pushf; pop %edi; mov %esp, %ebp; mov $0x99, %eax; sysexit")

extern uint8_t at_div[], after_int3[], after_int_3[], after_into[], at_bound[], at_ud[], after_int_80[];

static void at(const void* place, const char* what) {
  if (trap.ip != (word)place) check(false, what);
}

static void run_kernel(void (*code)(void)) { traps(code); }

static void general(bool user) {
  void (*run)(void (*)(void)) = user ? run_user : run_kernel;
  say("ring %u:\n", user ? 3u : 0u);
  run(divide_by_zero);
  expect_trap(0, 0, "div by 0");
  at(at_div, "#DE is a fault");
  check(trap.ax == 1 && trap.dx == 0, "registers of a fault are as before");
  run(divide_overflow);
  expect_trap(0, 0, "div overflow");
  run(idiv_overflow);
  expect_trap(0, 0, "idiv overflow");
  run(aam_zero);
  expect_trap(0, 0, "aam 0");
  run(breakpoint);
  expect_trap(3, 0, "int3");
  at(after_int3, "#BP is a trap");
  run(int_3_long);
  expect_trap(3, 0, "int 3, long form");
  at(after_int_3, "#BP is a trap");
  run(overflow);
  expect_trap(4, 0, "into with OF");
  at(after_into, "#OF is a trap");
  run(no_overflow);
  expect_trap(0x80, 0, "into without OF");
  run(bound_range);
  expect_trap(5, 0, "bound outside");
  at(at_bound, "#BR is a fault");
  run(bound_inside);
  expect_trap(0x80, 0, "bound inside");
  run(undefined);
  expect_trap(6, 0, "ud2");
  at(at_ud, "#UD is a fault");
  run(mov_to_cs);
  expect_trap(6, 0, "mov to cs");
  run(lea_of_register);
  expect_trap(6, 0, "lea of a register");
  run(load_absent);  // DPL is checked before P
  expect_trap(user ? 13 : 11, kNotPresent, "absent data segment");
  run(load_absent_ss);
  expect_trap(user ? 13 : 12, kNotPresent, "absent stack segment");
  run(load_beyond);
  expect_trap(13, kBeyond, "selector behind the GDT");
  run(load_null_ss);
  expect_trap(13, 0, "null in ss");
  run(load_read_only_ss);
  expect_trap(13, kReadOnly, "read-only segment in ss");
  run(far_jump_null);
  expect_trap(13, 0, "far jump to null");
  run(far_jump_data);
  expect_trap(13, kData0, "far jump to data");
  run(far_jump_absent);
  expect_trap(user ? 13 : 11, kCodeAbsent, "far jump to an absent segment");
  run(far_jump_beyond);
  expect_trap(13, kBeyond, "far jump behind the GDT");
  write_cr0(read_cr0() | kCr0Ts);
  run(x87);
  expect_trap(7, 0, "x87 with TS");
  run(do_wait);
  expect_trap(0x80, 0, "fwait with TS, MP clear");
  write_cr0(read_cr0() | kCr0Mp);
  run(do_wait);
  expect_trap(7, 0, "fwait with TS, MP set");
  write_cr0((read_cr0() & ~(word)(kCr0Ts | kCr0Mp)) | kCr0Em);
  run(x87);
  expect_trap(7, 0, "x87 with EM");
  write_cr0(read_cr0() & ~(word)kCr0Em);
  run(x87);
  expect_trap(0x80, 0, "x87");
  __asm__ volatile("fninit");
}

static void privileged(void) {
  static const struct {
    const char* name;
    void (*code)(void);
  } kForbidden[] = {
      {"cli", user_cli},         {"sti", user_sti},         {"hlt", user_hlt},       {"in", user_in},
      {"out", user_out},         {"ins", user_ins},         {"outs", user_outs},     {"mov cr0", user_mov_cr0},
      {"mov cr3", user_mov_cr3}, {"mov dr7", user_mov_dr7}, {"lgdt", user_lgdt},     {"lidt", user_lidt},
      {"lldt", user_lldt},       {"ltr", user_ltr},         {"lmsw", user_lmsw},     {"clts", user_clts},
      {"invlpg", user_invlpg},   {"invd", user_invd},       {"wbinvd", user_wbinvd}, {"rdmsr", user_rdmsr},
      {"wrmsr", user_wrmsr},     {"sysexit", user_sysexit}};
  for (unsigned i = 0; i < sizeof kForbidden / sizeof *kForbidden; ++i) {
    run_user(kForbidden[i].code);
    expect_trap(13, 0, kForbidden[i].name);
  }
  run_user(user_kernel_ds);
  expect_trap(13, kData0, "ring 0 data segment");
  run_user(user_kernel_ss);
  expect_trap(13, kData0, "ring 0 stack segment");
  run_user(user_kernel_cs);
  expect_trap(13, kCode0, "far jump to ring 0");
  run_user(user_popf);
  expect_trap(0x80, 0, "popf");
  check(!(trap.ax & (kFlagIf | kFlagIopl3)), "popf changes neither IF nor IOPL");
  run_user(user_lar);
  check(trap.bx == 1, "lar sees its own ring's segments only");
  check_value(trap.ax & 0xf0ff00, 0xc0fb00, "lar of the user's code");
  run_user(user_verr);
  check(trap.ax == 0x101 && trap.bx == 0, "verr and verw");
  run_user(user_arpl);
  check((trap.ax & 0xffff) == 0x23 && (trap.bx & 0xff) == 1, "arpl");
}

static void interrupts(void) {
  run_user(user_call);
  expect_trap(0x80, 0, "int 0x80");
  at(after_int_80, "INT n pushes the next address");
  check(trap.bx == 0x11111111, "registers arrive");
  check(trap.cs == kCode3 && trap.ss == kData3, "CS and SS of ring 3 are on the new stack");
  check(trap.sp == (word)user_stack + sizeof user_stack, "ESP of ring 3 is on the new stack");
  run_user(user_int_0);
  expect_trap(13, 0 * 8 + 2, "int 0 through a DPL 0 gate");
  run_user(user_int_13);
  expect_trap(13, 13 * 8 + 2, "int 13 through a DPL 0 gate");
  idt[3].low &= ~(3ull << 45);
  run_user(breakpoint);
  expect_trap(13, 3 * 8 + 2, "int3 through a DPL 0 gate");
  idt[3].low |= 3ull << 45;
  set_gate(0x50, (void*)0x1234, kCode0, 0x6e);
  run_user(user_int_50);
  expect_trap(11, 0x50 * 8 + 2, "int n through an absent gate");
  set_gate(0x51, (void*)0x1234, kData0, 0xee);
  run_user(user_int_51);
  expect_trap(13, kData0, "gate to a data segment");
  set_gate(0x51, (void*)0x1234, kCodeAbsent, 0xee);
  run_user(user_int_51);
  expect_trap(11, kCodeAbsent, "gate to an absent segment");
  set_gate(0x51, (void*)0x1234, 0, 0xee);
  run_user(user_int_51);
  expect_trap(13, 0, "gate to null");
  idt[0x51].low = 0;
  run_user(user_int_51);
  expect_trap(13, 0x51 * 8 + 2, "empty gate");

  // A bad ring 0 stack in the TSS: #TS, whose gate leads to conforming code, which runs at ring 3 without a stack
  // switch.
  struct Gate saved = idt[10];
  set_gate(10, (void*)((word)ts_handler - (word)conforming_code), kConforming, 0x8e);
  tss.ss0 = kBeyond;
  run_user(user_bad_stack);
  expect_trap(0x80, 0, "int 0x80 with a bad SS0 in the TSS came back from a #TS handler");
  check_value(trap.ax, kBeyond, "#TS error code");
  check((trap.cs & 0xffff) == (kConforming | 3), "the #TS handler ran in conforming code at ring 3");
  idt[10] = saved;
}

static void io_bitmap(void) {
  tss.io_map_base = offsetof(struct Tss, io_map);
  memset(tss.io_map, 0xff, sizeof tss.io_map);
  tss.io_map[0x70 / 8] &= (uint8_t)~1;
  run_user(user_out);
  expect_trap(0x80, 0, "out to an allowed port");
  run_user(user_in);
  expect_trap(13, 0, "in from a forbidden port");
  run_user(user_in_word);
  expect_trap(13, 0, "word of which one port is forbidden");
  tss.io_map[0x71 / 8] &= (uint8_t)~2;
  run_user(user_in_word);
  expect_trap(0x80, 0, "word of allowed ports");
  run_user(user_in_dword);
  expect_trap(13, 0, "dword of which two ports are forbidden");
  tss.io_map[0x6e / 8] &= (uint8_t)~0xc0;
  run_user(user_in_dword);
  expect_trap(0x80, 0, "dword across two bytes of the bitmap");
  tss.io_map[0x80 / 8] &= (uint8_t)~1;
  run_user(user_outs);
  expect_trap(0x80, 0, "outs to an allowed port");
  // A bitmap that ends before the port allows nothing.
  gdt[kTssSelector / 8] = descriptor((uint32_t)&tss, offsetof(struct Tss, io_map) + 0x70 / 8, 0x89);
  load_tables();
  run_user(user_out);
  expect_trap(13, 0, "port behind the limit of the TSS");
  tss.io_map_base = sizeof tss;
  gdt[kTssSelector / 8] = descriptor((uint32_t)&tss, sizeof tss - 1, 0x89);
  load_tables();
  run_user(user_out);
  expect_trap(13, 0, "no bitmap");
  user_flags = 2 | kFlagIopl3;
  run_user(user_out);
  expect_trap(0x80, 0, "out with IOPL 3");
  run_user(user_cli);
  expect_trap(0x80, 0, "cli with IOPL 3");
  check(!(trap.flags & kFlagIf), "IF is clear");
  run_user(user_sti);
  expect_trap(0x80, 0, "sti with IOPL 3");
  check(trap.flags & kFlagIf, "IF is set");
  run_user(user_hlt);
  expect_trap(13, 0, "hlt with IOPL 3");
  user_flags = 2;
}

static void transfers(void) {
  run_user(user_conforming);
  expect_trap(0x80, 0, "conforming code");
  check((trap.si & 0xffff) == (kConforming | 3), "keeps CPL 3");
  run_user(user_call_gate);
  expect_trap(0x80, 0, "call gate");
  check(trap.ax == 0x11111111 && trap.dx == 0x22222222, "parameters are copied");
  check((trap.bx & 0xffff) == kCode0 && (trap.cx & 0xffff) == kData0, "CS and SS of ring 0");
  check((trap.di & 0xffff) == kData3, "SS of ring 3 behind the parameters");
  check(trap.bp == -8u, "the return drops the parameters");
  check((trap.fs & 0xffff) == 0 && (trap.gs & 0xffff) == 0x23, "the return clears ring 0 segments only");
  run_user(user_gate_0);
  expect_trap(13, kGate0, "call gate of DPL 0");

  wrmsr(kMsrSysenterCs, 0);
  run_user(user_sysenter);
  expect_trap(13, 0, "sysenter with CS 0");
  wrmsr(kMsrSysenterCs, kCode0);
  wrmsr(kMsrSysenterEsp, 0x5eac00);
  wrmsr(kMsrSysenterEip, (word)sysenter_code);
  user_flags = 2 | kFlagIf;
  pic_mask_all();
  run_user(user_sysenter);
  user_flags = 2;
  expect_trap(0x80, 0, "sysenter and sysexit");
  check((trap.bx & 0xffff) == kCode0 && (trap.si & 0xffff) == kData0, "CS and SS from the MSR");
  check(trap.bp == 0x5eac00, "ESP from the MSR");
  check(!(trap.di & kFlagIf), "IF is clear in the kernel");
  check(trap.cs == kCode3 && trap.ss == kData3 && trap.ax == 0x99, "back at ring 3");
}

// IRET checks what it pops.
word iret_frame[5];
ASM_FUNCTION(do_iret,
             "mov $iret_frame, %eax; push 16(%eax); push 12(%eax); push 8(%eax); push 4(%eax); push (%eax); iret")

static void iret_of(word cs, word ss, const char* what, word vector, word error) {
  iret_frame[0] = (word)user_call;
  iret_frame[1] = cs;
  iret_frame[2] = 2;
  iret_frame[3] = (word)user_stack + sizeof user_stack;
  iret_frame[4] = ss;
  traps(do_iret);
  expect_trap(vector, error, what);
}

static void irets(void) {
  iret_of(kCode3, kData3, "iret to ring 3", 0x80, 0);
  iret_of(kCode3, kData0, "iret to ring 3 with a ring 0 stack", 13, kData0);
  iret_of(kCode3, 0, "iret to ring 3 with a null stack", 13, 0);
  iret_of(0, kData3, "iret to null", 13, 0);
  iret_of(kCode3 & ~3, kData3, "iret with RPL below DPL", 13, kCode3 & ~3);
  iret_of(kData3, kData3, "iret to data", 13, kData3 & ~3);
  iret_of(kCodeAbsent | 3, kData3, "iret to an absent segment of ring 0 with RPL 3", 13, kCodeAbsent);
  iret_of(kCode3, kNotPresent | 3, "iret with a ring 0 absent stack", 13, kNotPresent);
}

// A contributory exception while delivering another one makes #DF (SDM vol. 3A, table 6-5).
static void double_fault(void) {
  idt[13].low &= ~(1ull << 47);
  run_user(user_hlt);
  expect_trap(8, 0, "#GP whose gate is absent");
  traps(load_beyond);
  expect_trap(8, 0, "the same at ring 0");
  idt[13].low |= 1ull << 47;
  idt[0].low &= ~(1ull << 47);
  traps(divide_by_zero);
  expect_trap(8, 0, "#DE whose gate is absent");
  idt[0].low |= 1ull << 47;
  // #UD and #BP are benign: the second fault is delivered by itself.
  idt[6].low &= ~(1ull << 47);
  traps(undefined);
  check(trap.vector == 11 && (trap.error & ~1u) == 6 * 8 + 2, "#UD whose gate is absent raises #NP");
  idt[6].low |= 1ull << 47;
  traps(undefined);
  expect_trap(6, 0, "all is well again");
  // A bad ring 0 stack in the TSS is #TS(selector); its handler cannot switch stacks either: #TS again, so #DF, which
  // takes its own stack through a task gate in task_switch.c.
}

int main(void) {
  gdt[kNotPresent / 8] = descriptor(0, 0xfffff, 0xc013);
  gdt[kConforming / 8] = descriptor((uint32_t)conforming_code, 0xfffff, 0xc09f);
  gdt[kCallGate / 8] =
      ((word)gate_code & 0xffff) | kCode0 << 16 | 2ull << 32 | 0xecull << 40 | (uint64_t)((word)gate_code >> 16) << 48;
  gdt[kGate0 / 8] = (gdt[kCallGate / 8] & ~(3ull << 45));
  gdt[kReadOnly / 8] = descriptor(0, 0xfffff, 0xc091);
  gdt[kCodeAbsent / 8] = descriptor(0, 0xfffff, 0xc01b);
  general(false);
  general(true);
  privileged();
  interrupts();
  io_bitmap();
  transfers();
  irets();
  double_fault();
  return 0;
}
