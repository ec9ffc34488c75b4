// Shows the A20 gate: with it closed, address bit 20 reads as 0 for every access, with it open memory is flat; closed
// and opened through port 0x92 and through the 8042's output port. Linked at 2 MiB, so that its own addresses have bit
// 20 clear.
//
// On a PC either source opens the gate; in QEMU the last one written decides. The order of the steps fits both.
#include "runtime.h"

static void wait_8042(void) {
  while (inb(0x64) & 2) {
  }
}

static void set_8042(bool open) {
  wait_8042();
  outb(0x64, 0xd1);
  wait_8042();
  outb(0x60, open ? 0xdf : 0xdd);
  wait_8042();
}

static void set_port_92(bool open) { outb(0x92, (uint8_t)((inb(0x92) & ~3) | (open ? 2 : 0))); }

static volatile uint32_t* const even = (uint32_t*)0x400000;
static volatile uint32_t* const odd = (uint32_t*)0x500000;

// Whether `odd` is another place than `even`, by stores and loads of each.
static bool is_open(void) {
  odd[0] = 0x0dd0dd0d;
  even[0] = 0x0e0e0e0e;
  const bool by_even = odd[0] != 0x0e0e0e0e;
  odd[1] = 0x11111111;
  const bool by_odd = even[1] != 0x11111111;
  even[1] = 0x22222222;
  if (by_even != by_odd) check(false, "loads and stores agree");
  return by_even;
}

static uint32_t run_at(volatile uint32_t* at) { return ((uint32_t(*)(void))(void*)at)(); }

int main(void) {
  check(is_open(), "open at the start");
  check(inb(0x92) == inb(0x92), "port 0x92 can be read");
  // Code in both places: mov eax, n; ret.
  even[64] = 0x000001b8;
  even[65] = 0x0000c300;
  odd[64] = 0x000002b8;
  odd[65] = 0x0000c300;
  check_value(run_at(odd + 64), 2, "code above");

  set_8042(false);
  set_port_92(false);
  check(!is_open(), "closed by both");
  check(!(inb(0x92) & 2), "port 0x92 shows it");
  check_value(run_at(odd + 64), 1, "code above is the code below");
  volatile uint32_t* straddle = (volatile uint32_t*)0x4ffffe;  // wraps from 4fffff to 400000
  *straddle = 0xaabbccdd;
  check(((volatile uint8_t*)even)[0] == 0xbb && ((volatile uint8_t*)0x4fffff)[0] == 0xcc,
        "a word across 0x500000 wraps");
  even[1000] = 0x77777777;
  uint32_t from = 0x500000 + 4000, to = 0x600000, count = 2;
  __asm__ volatile("rep movsl" : "+S"(from), "+D"(to), "+c"(count)::"memory");
  check_value(*(volatile uint32_t*)0x600000, 0x77777777, "rep movs from above");

  set_port_92(true);
  check(is_open(), "opened by port 0x92");
  check(inb(0x92) & 2, "port 0x92 shows it");
  check_value(run_at(odd + 64), 2, "code above is back");
  set_port_92(false);
  check(!is_open(), "closed by port 0x92");
  set_8042(true);
  check(is_open(), "opened by the 8042");
  set_8042(false);
  check(!is_open(), "closed by the 8042");
  set_8042(true);
  set_port_92(true);
  check(is_open(), "opened by both");
  return 0;
}
