// Shows the local APIC and the I/O APIC: enabling, the timer's one-shot and periodic modes with divide values against
// the PIT, masking, the task priority, self-IPIs with nested priorities, ISR and IRR, EOI, and the PIT routed through
// the I/O APIC with the 8259s masked (ISA IRQ 0 is pin 2 on a PC). SDM vol. 3A, chapter 11; 82093AA datasheet.
#include "runtime.h"

enum {
  kId = 0x20,
  kVersion = 0x30,
  kTpr = 0x80,
  kPpr = 0xa0,
  kEoi = 0xb0,
  kSvr = 0xf0,
  kIsr = 0x100,
  kIrr = 0x200,
  kEsr = 0x280,
  kIcrLow = 0x300,
  kIcrHigh = 0x310,
  kLvtTimer = 0x320,
  kLvtLint0 = 0x350,
  kLvtLint1 = 0x360,
  kLvtError = 0x370,
  kInitial = 0x380,
  kCurrent = 0x390,
  kDivide = 0x3e0,
};
enum { kTimerVector = 0x40, kLow = 0x51, kHigh = 0x91, kPitVector = 0x60, kMasked = 0x10000, kPeriodic = 0x20000 };

static volatile uint32_t* const apic = (volatile uint32_t*)0xfee00000;
static volatile uint32_t* const io_apic = (volatile uint32_t*)0xfec00000;
static uint32_t get(uint32_t reg) { return apic[reg / 4]; }
static void set(uint32_t reg, uint32_t v) { apic[reg / 4] = v; }
static bool bit(uint32_t reg, int vector) { return get(reg + (uint32_t)(vector / 32) * 0x10) >> (vector % 32) & 1; }
static uint32_t io_get(uint32_t reg) {
  io_apic[0] = reg;
  return io_apic[4];
}
static void io_set(uint32_t reg, uint32_t v) {
  io_apic[0] = reg;
  io_apic[4] = v;
}

static volatile uint32_t timer_ticks, pit_ticks, trail[8], traced, isr_inside, ppr_inside;

static void on_timer(struct Frame* f) {
  ++timer_ticks;
  set(kEoi, 0);
}
static void on_pit(struct Frame* f) {
  ++pit_ticks;
  set(kEoi, 0);
}
static void on_low(struct Frame* f) {
  trail[traced++ % 8] = 0x51;
  isr_inside = bit(kIsr, kLow);
  ppr_inside = get(kPpr);
  set(kIcrLow, 0x40000 | kLow);   // waits for the EOI
  set(kIcrLow, 0x40000 | kHigh);  // nests as soon as IF is set
  sti();
  __asm__ volatile("nop; nop");
  cli();
  trail[traced++ % 8] = 0x52;
  set(kEoi, 0);
}
static void on_low_again(struct Frame* f) {
  trail[traced++ % 8] = 0x53;
  set(kEoi, 0);
}
static void on_high(struct Frame* f) {
  trail[traced++ % 8] = 0x91;
  set(kEoi, 0);
  trap_handlers[kLow] = on_low_again;
}

static void open_window(void) {
  sti();
  __asm__ volatile("nop; nop; nop; nop");
  cli();
}

// Waits for `n` wraps of PIT channel 2, which interrupts no one: each takes 10 ms.
static void wait_10_ms(int n) {
  outb(0x61, (uint8_t)((inb(0x61) & ~2) | 1));
  for (int i = 0; i < n; ++i) {
    pit_set(2, 0, 11932);
    while (!(inb(0x61) & 0x20)) {
    }
  }
}

static void registers(void) {
  check(rdmsr(0x1b) & 0x800, "enabled in the MSR");
  check((rdmsr(0x1b) & 0xfffff000) == 0xfee00000, "at fee00000");
  check(rdmsr(0x1b) & 0x100, "boot processor");
  check((get(kVersion) & 0xf0) == 0x10, "integrated APIC");
  set(kSvr, 0x1ff);
  set(kTpr, 0);
  check_value(get(kSvr) & 0x1ff, 0x1ff, "SVR");
  set(kLvtTimer, kTimerVector | kMasked);
  check_value(get(kLvtTimer), kTimerVector | kMasked, "LVT timer");
  set(kLvtLint0, kMasked);
  set(kLvtLint1, kMasked);
  set(kLvtError, kMasked);
  set(kTpr, 0x35);
  check_value(get(kTpr), 0x35, "TPR");
  check_value(get(kPpr), 0x35, "PPR follows it");
  set(kTpr, 0);
  for (uint32_t i = 0; i < 8; ++i)
    if (get(kIsr + i * 16) || get(kIrr + i * 16)) check(false, "ISR and IRR are empty");
}

static uint32_t counts_in_10_ms(uint32_t divide) {
  set(kLvtTimer, kTimerVector | kMasked);
  set(kDivide, divide);
  set(kInitial, 0xffffffff);
  wait_10_ms(1);
  const uint32_t left = get(kCurrent);
  set(kInitial, 0);
  return 0xffffffff - left;
}

static bool about(uint32_t a, uint32_t b) { return a > b / 2 && a < b * 2; }

static void timer(void) {
  const uint32_t by_1 = counts_in_10_ms(0xb), by_4 = counts_in_10_ms(1), by_16 = counts_in_10_ms(3),
                 by_128 = counts_in_10_ms(0xa);
  check(by_1 > 10000, "the timer counts");
  check(about(by_4, by_1 / 4) && about(by_16, by_1 / 16) && about(by_128, by_1 / 128), "divide values");
  check_value(get(kCurrent), 0, "an initial count of 0 stops it");

  set(kDivide, 0xb);
  set(kLvtTimer, kTimerVector);
  set(kInitial, by_1 / 10);
  while (timer_ticks < 1) sleep_for_interrupt();
  check_value(get(kCurrent), 0, "one-shot: the count ends at 0");
  sti();
  wait_10_ms(1);
  cli();
  check_value(timer_ticks, 1, "and interrupts once");

  timer_ticks = 0;
  set(kLvtTimer, kTimerVector | kPeriodic);
  set(kInitial, by_1 / 10);
  while (timer_ticks < 50) sleep_for_interrupt();
  say("periodic: 50 ticks\n");
  set(kLvtTimer, kTimerVector | kPeriodic | kMasked);
  open_window();
  const uint32_t then = timer_ticks;
  sti();
  wait_10_ms(1);
  cli();
  check(timer_ticks == then, "none while masked");
  check(get(kCurrent) <= by_1 / 10, "which counts on");
  set(kInitial, 0);
}

static void priorities(void) {
  trap_handlers[kLow] = on_low;
  trap_handlers[kHigh] = on_high;
  set(kIcrLow, 0x40000 | kLow);
  check(bit(kIrr, kLow) && !bit(kIsr, kLow), "a self-IPI waits in IRR with IF clear");
  open_window();
  open_window();
  say("order: %x %x %x %x\n", trail[0], trail[1], trail[2], trail[3]);
  check(traced == 4 && trail[0] == 0x51 && trail[1] == 0x91 && trail[2] == 0x52 && trail[3] == 0x53,
        "nested by priority");
  check(isr_inside == 1, "ISR inside");
  check_value(ppr_inside, 0x50, "PPR inside");
  set(kTpr, 0x90);
  trap_handlers[kLow] = on_low_again;
  traced = 0;
  set(kIcrLow, 0x40000 | kLow);
  set(kIcrLow, 0x40000 | kHigh);
  open_window();
  check_value(traced, 0, "interrupts at TPR 0x90");
  set(kTpr, 0x80);
  open_window();
  check(traced == 1 && trail[0] == 0x91, "0x91 passes at TPR 0x80");
  set(kTpr, 0);
  open_window();
  check(traced == 2 && trail[1] == 0x53, "0x51 passes at TPR 0");
}

static void io_apic_routing(void) {
  check((io_get(1) >> 16 & 0xff) == 23, "24 pins");
  for (uint32_t pin = 0; pin < 24; ++pin) {
    io_set(0x10 + pin * 2, kMasked);
    io_set(0x11 + pin * 2, 0);
  }
  check_value(io_get(0x10 + 5 * 2) & kMasked, kMasked, "redirection entries are masked");
  pic_mask_all();
  trap_handlers[kPitVector] = on_pit;
  io_set(0x11 + 2 * 2, get(kId) & 0xff000000);
  io_set(0x10 + 2 * 2, kPitVector);
  check_value(io_get(0x10 + 2 * 2) & 0xfffff, kPitVector, "entry 2");
  pit_set(0, 2, 1193);
  while (pit_ticks < 20) sleep_for_interrupt();
  say("PIT through the I/O APIC: 20 ticks\n");
  io_set(0x10 + 2 * 2, kPitVector | kMasked);
  open_window();
  const uint32_t then = pit_ticks;
  sti();
  wait_10_ms(1);
  cli();
  check(pit_ticks == then, "none while masked");
  io_set(0x10 + 2 * 2, kPitVector);
  while (pit_ticks < then + 5) sleep_for_interrupt();
  check(true, "and again when unmasked");
  io_set(0x10 + 2 * 2, kMasked);
}

int main(void) {
  trap_handlers[kTimerVector] = on_timer;
  trap_handlers[0xff] = on_timer;
  registers();
  timer();
  priorities();
  io_apic_routing();
  return 0;
}
