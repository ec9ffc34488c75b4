// Shows real mode, entered from protected mode and left again: delivery through the IVT (INT n, #DE, #BP, #OF, #UD,
// single step, timer interrupts), a moved IVT, wrapping of offsets and segments, 32-bit operands, unreal mode (4 GiB
// limits kept from protected mode), and 16-bit protected mode (segment bases, 16-bit stack, 286 gates). SDM vol. 3B,
// chapter 20; vol. 3A, 9.9.
//
// The work is in real_mode_code.asm, which fills in a table of results; nothing is tested that needs data segment
// limits.
#include "runtime.h"

extern const uint8_t real_code[], real_code_end[];
enum { kBase = 0x10000 };
struct Results {
  uint16_t int_vector, int_flags_inside, int_flags_after, int_sp;
  uint16_t divide_ip, int3_ip, into_ip, undefined_ip;
  uint16_t steps, step_flags, ticks, moved;
  uint16_t wrapped_word, segment_wrap, stack_wrap, far_call;
  uint32_t wide, unreal_low, unreal_high, unreal_far;
  uint16_t string, loop_count, bound, iret_flags;
  uint16_t p16_sp, p16_int, p16_base, p16_error, p16_cs, p16_call, smsw, push_sp;
  uint32_t p16_eip;
};
void go_real(void);  // runtime state is reloaded by the caller

int main(void) {
  memcpy((void*)kBase, real_code, (size_t)(real_code_end - real_code));
  volatile struct Results* r = (volatile struct Results*)0x8000;
  memset((void*)r, 0, sizeof *r);
  *(volatile uint32_t*)0x300000 = 0x600dcafe;
  const uint16_t* offsets = (const uint16_t*)real_code;  // labels that the results are compared with
  outb(0x21, 0xff);
  go_real();
  load_tables();

  check_value(r->int_vector, 0x42, "INT 0x42 through the IVT");
  check(!(r->int_flags_inside & (kFlagIf | kFlagTf)), "IF and TF are clear inside");
  check((r->int_flags_after & (kFlagIf | kFlagCf)) == (kFlagIf | kFlagCf), "IRET brings back IF and CF");
  check_value(r->int_sp, 6, "bytes on the stack");
  check(r->divide_ip == offsets[1], "#DE pushes the address of DIV");
  check(r->int3_ip == offsets[2], "#BP pushes the address behind INT3");
  check(r->into_ip == offsets[3], "#OF pushes the address behind INTO");
  check(r->undefined_ip == offsets[4], "#UD pushes the address of UD2");
  check_value(r->bound, 1, "#BR of BOUND");
  check_value(r->steps, 5, "single steps");
  check(r->step_flags & kFlagTf, "TF is set in the pushed flags");
  check(r->ticks >= 3, "timer interrupts at vector 8");
  check_value(r->moved, 0x77, "IVT at another base");
  check_value(r->wrapped_word, 0xbbaa, "offset wraps at 64 KiB by address size");
  check_value(r->segment_wrap, 0x5a, "segment ffff reaches above 1 MiB");
  check_value(r->stack_wrap, 0xfffe, "SP wraps from 0 to fffe");
  check_value(r->far_call, 0x1234, "far call and return");
  check_value(r->wide, 0xdeadbeef, "32-bit operands");
  check_value(r->unreal_low, 0x600dcafe, "unreal mode reads above 1 MiB");
  check_value(r->unreal_high, 0x12345678, "unreal mode writes there");
  check_value(r->unreal_far, 0x600dcafe, "and still does after an interrupt");
  check_value(r->string, 0x100, "rep movsb with 16-bit registers");
  check_value(r->loop_count, 300, "loop counts CX");
  check_value(r->iret_flags & 0x7fd7, 0x4ed7, "real mode POPF changes NT and all of IF, DF, OF");
  check_value(r->push_sp, 0, "push sp pushes the old value: difference");
  check_value(r->smsw & 1, 1, "smsw in protected mode");
  check_value(r->p16_sp, 0x0ffe, "16-bit stack: SP after a push");
  check_value(r->p16_base, 0xabcd, "16-bit data segment with a base");
  check_value(r->p16_int, 0x33, "286 interrupt gate");
  check_value(r->p16_cs, 0x08, "CS");
  check_value(r->p16_error, 0x400, "#GP error code through a 286 gate");
  check(r->p16_eip == offsets[5], "IP of the faulting instruction");
  check_value(r->p16_call, 0x99, "286 call gate");
  return 0;
}
