// Shows when a pending interrupt is taken: not with IF clear, one instruction behind STI, at once behind POPF and IRET,
// never between STI and CLI, out of HLT, in the order of the 8259's priorities, once for each edge; and EOI, masks and
// ISR of the 8259 pair. SDM vol. 3A, 6.8; 8259A datasheet.
//
// Not tested: two shadows in a row (STI, MOV SS: the manual leaves it open).
#include "runtime.h"

extern uint8_t at_sti[], at_popf[], at_iret[], at_hlt[];
static volatile word taken_at;
static volatile uint32_t taken, taken_eax, order[4], count;

static void on_irq0(struct Frame* f) {
  taken_at = f->ip;
  taken_eax = (uint32_t)f->ax;
  ++taken;
  order[count++ % 4] = 0;
  pic_eoi(0);
}

static void on_irq8(struct Frame* f) {
  cmos_read(0x0c);
  order[count++ % 4] = 8;
  pic_eoi(8);
}

static uint8_t pic_register(uint8_t which) {  // 0x0a IRR, 0x0b ISR
  outb(0x20, which);
  return inb(0x20);
}

// Leaves IRQ 0 pending in the 8259 with IF clear.
static void make_pending(void) {
  pit_set(0, 0, 100);
  while (!(pic_register(0x0a) & 1)) {
  }
  taken = 0;
}

ASM_FUNCTION(by_sti, "xor %eax, %eax; sti; .globl at_sti; at_sti: inc %eax; inc %eax; inc %eax; cli; ret")
ASM_FUNCTION(by_sti_nop, "sti; cli; ret")
ASM_FUNCTION(by_sti_sti, "xor %eax, %eax; sti; sti; inc %eax; cli; ret")
ASM_FUNCTION(by_popf,
             "xor %eax, %eax; pushf; orl $0x200, (%esp); popf; .globl at_popf; at_popf: inc %eax; inc %eax; cli; ret")
ASM_FUNCTION(by_iret,
             "xor %eax, %eax; pushf; orl $0x200, (%esp); push %cs; push $at_iret; iret; .globl at_iret; at_iret: inc "
             "%eax; cli; ret")
ASM_FUNCTION(by_hlt, "xor %eax, %eax; sti; hlt; .globl at_hlt; at_hlt: inc %eax; cli; ret")

int main(void) {
  trap_handlers[0x20] = on_irq0;
  trap_handlers[0x28] = on_irq8;
  cmos_write(0x0b, (uint8_t)(cmos_read(0x0b) & ~0x70));
  cmos_read(0x0c);
  pic_unmask(0);

  make_pending();
  for (int i = 0; i < 1000; ++i) __asm__ volatile("nop");
  check_value(taken, 0, "interrupts taken with IF clear");
  check_value(pic_register(0x0a) & 1, 1, "it waits in IRR");
  by_sti();
  check(taken == 1 && taken_at == (word)at_sti + 1 && taken_eax == 1, "STI lets one instruction run first");
  check(!(pic_register(0x0a) & 1) && !(pic_register(0x0b) & 1), "IRR and ISR are clear");

  make_pending();
  for (int i = 0; i < 100; ++i) by_sti_nop();
  check_value(taken, 0, "interrupts taken between STI and CLI, 100 times");
  by_sti_sti();
  check(taken == 1, "STI, STI lets it in");

  make_pending();
  by_popf();
  check(taken == 1 && taken_at == (word)at_popf && taken_eax == 0, "POPF lets it in at once");
  make_pending();
  by_iret();
  check(taken == 1 && taken_at == (word)at_iret && taken_eax == 0, "IRET lets it in at once");
  make_pending();
  by_hlt();
  check(taken == 1, "pending before STI, HLT");
  pit_set(0, 0, 10000);
  taken = 0;
  by_hlt();
  check(taken == 1 && taken_at == (word)at_hlt, "HLT resumes behind itself");

  // One edge, one interrupt.
  make_pending();
  by_popf();
  sti();
  for (int i = 0; i < 10000; ++i) __asm__ volatile("nop");
  cli();
  check_value(taken, 1, "interrupts from one edge");

  // A masked line keeps its request.
  pic_mask_all();
  make_pending();
  sti();
  __asm__ volatile("nop; nop");
  cli();
  check_value(taken, 0, "interrupts while masked");
  pic_unmask(0);
  sti();
  __asm__ volatile("nop; nop");
  cli();
  check_value(taken, 1, "interrupts after unmasking");

  // IRQ 8 came first, IRQ 0 wins.
  const uint8_t a = cmos_read(0x0a), b = cmos_read(0x0b);
  cmos_write(0x0a, (uint8_t)((a & 0xf0) | 6));
  cmos_write(0x0b, (uint8_t)(b | 0x40));
  cmos_read(0x0c);
  pic_unmask(8);
  while (!(pic_register(0x0a) & 4)) {
  }
  make_pending();
  count = 0;
  sti();
  while (count < 2) __asm__ volatile("nop");
  cli();
  check(order[0] == 0 && order[1] == 8, "IRQ 0 before IRQ 8");
  cmos_write(0x0b, b);
  cmos_write(0x0a, a);
  return 0;
}
