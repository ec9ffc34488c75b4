// Shows periodic interrupts of the 8254 through the 8259 pair while the CPU sleeps in HLT: 100 ticks at 1 kHz, and that
// the PIT and the RTC's periodic interrupt (1024 Hz, IRQ 8 through the slave 8259) run at the same pace.
#include "runtime.h"

enum { kDivisor = 1193 };  // 1193182 Hz / 1193 = 1000.15 Hz

static volatile uint32_t pit_ticks, rtc_ticks;

static void on_pit(struct Frame* f) {
  ++pit_ticks;
  pic_eoi(0);
}

static void on_rtc(struct Frame* f) {
  ++rtc_ticks;
  cmos_read(0x0c);  // acknowledge, or no further interrupt comes
  pic_eoi(8);
}

static uint16_t latch_counter(void) {
  outb(0x43, 0x00);
  uint16_t low = inb(0x40);
  return (uint16_t)(low | inb(0x40) << 8);
}

int main(void) {
  trap_handlers[0x20] = on_pit;
  trap_handlers[0x28] = on_rtc;

  pit_set(0, 2, kDivisor);
  do outb(0x43, 0xe2);  // read-back of the status, until the null-count flag says that the count is loaded
  while (inb(0x40) & 0x40);
  bool in_range = true;
  for (int i = 0; i < 1000; ++i) {
    uint16_t count = latch_counter();
    in_range &= count >= 1 && count <= kDivisor;
  }
  check(in_range, "latched count stays between 1 and the divisor");
  check(pit_ticks == 0, "no tick while masked and IF=0");

  pic_unmask(0);
  while (pit_ticks < 100) sleep_for_interrupt();
  say("PIT ticks: %u\n", pit_ticks);
  check(rtc_ticks == 0, "no RTC tick while masked");

  // Count PIT ticks during 128 periodic RTC interrupts, which take 125 ms.
  uint8_t a = cmos_read(0x0a), b = cmos_read(0x0b);
  cmos_write(0x0a, (uint8_t)((a & 0xf0) | 6));
  cmos_write(0x0b, (uint8_t)(b | 0x40));
  cmos_read(0x0c);
  pic_unmask(8);
  while (rtc_ticks < 1) sleep_for_interrupt();
  uint32_t pit_start = pit_ticks;
  while (rtc_ticks < 129) sleep_for_interrupt();
  uint32_t elapsed = pit_ticks - pit_start;
  check(elapsed >= 115 && elapsed <= 135, "128 RTC periods of 1/1024 s are about 125 PIT ticks of 1 ms");

  cmos_write(0x0b, (uint8_t)(b & ~0x40));
  cmos_read(0x0c);
  uint32_t rtc_stop = rtc_ticks;
  uint32_t until = pit_ticks + 10;
  while (pit_ticks < until) sleep_for_interrupt();
  check(rtc_ticks == rtc_stop, "RTC is silent with PIE off");

  // Mode 0 interrupts once and not again.
  pit_set(0, 0, 1193);
  until = pit_ticks;
  while (pit_ticks == until) sleep_for_interrupt();
  cmos_write(0x0b, (uint8_t)(b | 0x40));
  cmos_read(0x0c);
  rtc_stop = rtc_ticks + 8;
  while (rtc_ticks < rtc_stop) sleep_for_interrupt();
  check(pit_ticks == until + 1, "mode 0 ticks once");
  cmos_write(0x0b, b);
  cmos_write(0x0a, a);

  // Channel 2 is polled through its gate and output at port 0x61.
  outb(0x61, (uint8_t)(inb(0x61) & ~3));
  pit_set(2, 0, 1193);
  check(!(inb(0x61) & 0x20), "channel 2 is low with the gate closed");
  outb(0x61, (uint8_t)((inb(0x61) & ~3) | 1));
  while (!(inb(0x61) & 0x20)) {
  }
  check(true, "channel 2 goes high after its count");
  return 0;
}
